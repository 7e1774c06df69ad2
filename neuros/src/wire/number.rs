//! Numbers in JSON's grammar, kept as they were written until somebody asks for their value.

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number<'a>(&'a str);

impl<'a> Number<'a> {
    /// The number that a scanner has found `text` to be.
    pub(crate) fn accepted(text: &'a str) -> Self {
        Self(text)
    }

    /// The number that `text` is in JSON's grammar, nothing around it.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        (number_length(text.as_bytes()) == Ok(text.len())).then_some(Self(text))
    }

    /// The nearest double; `None` beyond all finite ones. Minus zero is zero.
    #[inline]
    pub(crate) fn finite(self) -> Option<f64> {
        let value = short_decimal(self.0).or_else(|| self.0.parse().ok())?;
        // Adding zero turns minus zero into zero and leaves every other double as it is.
        value.is_finite().then_some(value + 0.0)
    }

    /// The whole number, when it is written without fraction and exponent.
    ///
    /// `Some(None)` is a whole number outside 64 bits.
    pub(crate) fn whole(self) -> Option<Option<i64>> {
        let whole = !self.0.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        whole.then(|| self.0.parse().ok())
    }
}

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The value of a plain decimal of at most 15 digits: digits and power of ten are then exact
/// doubles, so that their quotient is the correctly rounded value (Clinger 1990).
#[inline]
fn short_decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() > 16 {
        return None;
    }
    let (mut mantissa, mut count) = (0_u64, 0);
    let mut point_at = None;
    for byte in digits.bytes() {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                count += 1;
            }
            b'.' => point_at = Some(count),
            _ => return None,
        }
    }
    if count > 15 {
        return None;
    }
    let fraction_digits = count - point_at.unwrap_or(count);
    #[expect(clippy::cast_precision_loss, reason = "15 digits are fewer than 2^53")]
    let mut value = mantissa as f64;
    if fraction_digits > 0 {
        value /= EXACT_POWERS.get(fraction_digits)?;
    }
    Some(if digits.len() == text.len() { value } else { -value })
}

/// The length of the number at the start of `bytes`; as an error, where it breaks off.
#[inline]
pub(crate) fn number_length(bytes: &[u8]) -> Result<usize, usize> {
    let byte_at = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let digits = |start: usize| {
        let mut at = start;
        while byte_at(at).is_ascii_digit() {
            at += 1;
        }
        if at > start { Ok(at) } else { Err(at) }
    };
    let start = usize::from(byte_at(0) == b'-');
    let mut at = if byte_at(start) == b'0' { start + 1 } else { digits(start)? };
    if byte_at(at) == b'.' {
        at = digits(at + 1)?;
    }
    if matches!(byte_at(at), b'e' | b'E') {
        let signed = matches!(byte_at(at + 1), b'+' | b'-');
        at = digits(at + 1 + usize::from(signed))?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_decimals_equal_the_library_s_correctly_rounded_ones() {
        for text in ["0", "-0.1", "72", "47.9", "123456789012345", "0.00000000000001", "-99.95"] {
            assert_eq!(short_decimal(text), text.parse().ok(), "{text}");
        }
        for text in ["1e5", "1234567890123456", "0.1234567890123456"] {
            assert_eq!(short_decimal(text), None, "{text}");
        }
    }

    #[test]
    fn infinities_are_no_finite_number_and_minus_zero_is_zero() {
        let finite = |text| Number::parse(text).and_then(Number::finite);
        assert_eq!(finite("1e999"), None);
        assert_eq!(finite("-1e999"), None);
        assert_eq!(finite("-0").map(f64::to_bits), Some(0));
        assert_eq!(finite("-0.0e5").map(f64::to_bits), Some(0));
        assert_eq!(finite("1e-999"), Some(0.0));
        assert_eq!(Number::parse("1 "), None);
        assert_eq!(Number::parse("0x1"), None);
    }
}
