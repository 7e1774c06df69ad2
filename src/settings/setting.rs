//! The kinds of value that a setting can have: how each is read, bounded and shown. Here numbers,
//! durations, sizes, switches, and what may be absent.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::node::Content;

/// A kind of value.
pub(super) trait Setting: Sized {
    /// What bounds it.
    type Limits;

    /// Whether its text must never be shown as it is.
    const SECRET: bool = false;

    /// Reads the value.
    fn read(given: &Content, limits: &Self::Limits) -> Result<Self, Wrong>;

    /// The value as YAML that reads back as the same value; of a secret, what may be seen of it.
    fn show(&self) -> String;

    /// What would be right.
    fn wanted(limits: &Self::Limits) -> String;
}

/// Why a value cannot be taken.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It is not what is wanted.
    Kind,
    /// For this reason, which quotes no secret.
    Because(String),
}

/// The bounds of a number.
pub(super) type Range<T> = RangeInclusive<T>;

macro_rules! whole_numbers {
    ($($Number:ty),+) => { $(
        impl Setting for $Number {
            type Limits = Range<Self>;

            fn read(given: &Content, limits: &Self::Limits) -> Result<Self, Wrong> {
                let number = given.word().and_then(|word| word.trim().parse().ok());
                number.filter(|number| limits.contains(number)).ok_or(Wrong::Kind)
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn wanted(limits: &Self::Limits) -> String {
                from_to("a whole number", limits.start(), limits.end())
            }
        }
    )+ };
}

whole_numbers!(u32, usize);

fn from_to(what: &str, low: impl Display, high: impl Display) -> String {
    format!("{what} from {low} to {high}")
}

impl Setting for bool {
    type Limits = ();

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        match given.word().map(str::trim) {
            Some(word) if word.eq_ignore_ascii_case("true") => Ok(true),
            Some(word) if word.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(Wrong::Kind),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn wanted((): &()) -> String {
        "true or false".to_owned()
    }
}

/// The bounds of a duration.
pub(super) struct Span {
    /// The shortest, zero aside.
    least: Duration,
    /// The longest.
    most: Duration,
    /// What zero stands for, if it is allowed outside the bounds.
    zero: Option<&'static str>,
}

/// Durations between the two.
pub(super) const fn between(least: Duration, most: Duration) -> Span {
    Span { least, most, zero: None }
}

/// Durations between the two, or zero, which stands for `meaning`.
pub(super) const fn zero_or_between(
    meaning: &'static str,
    least: Duration,
    most: Duration,
) -> Span {
    Span { least, most, zero: Some(meaning) }
}

impl Setting for Duration {
    type Limits = Span;

    fn read(given: &Content, limits: &Span) -> Result<Self, Wrong> {
        let word = given.word().ok_or(Wrong::Kind)?;
        let duration = humantime::parse_duration(word.trim()).map_err(|_| Wrong::Kind)?;
        let is_whole = duration.subsec_nanos() % 1_000_000 == 0;
        let is_allowed = (limits.least..=limits.most).contains(&duration)
            || (limits.zero.is_some() && duration.is_zero());
        if is_whole && is_allowed { Ok(duration) } else { Err(Wrong::Kind) }
    }

    fn show(&self) -> String {
        let millis = self.as_millis();
        let units: [(&str, u128); 5] =
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        match units.iter().find(|(_, unit)| millis != 0 && millis.is_multiple_of(*unit)) {
            Some((name, unit)) => format!("{}{name}", millis / unit),
            None => "0s".to_owned(),
        }
    }

    fn wanted(limits: &Span) -> String {
        let what = "a duration with its unit (d, h, m, s or ms)";
        let text = from_to(what, limits.least.show(), limits.most.show());
        match limits.zero {
            Some(meaning) => format!("{text}, or 0s for {meaning}"),
            None => text,
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

/// The units of sizes, the largest first.
const UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    pub(super) const fn kib(count: usize) -> Self {
        Self(count << 10)
    }

    pub(super) const fn mib(count: usize) -> Self {
        Self(count << 20)
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|character: char| !character.is_ascii_digit());
        let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
        let unit = match unit.trim() {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
        };
        number.parse::<usize>().ok()?.checked_mul(unit).map(Self)
    }
}

impl Setting for ByteSize {
    type Limits = Range<Self>;

    fn read(given: &Content, limits: &Self::Limits) -> Result<Self, Wrong> {
        let size = given.word().and_then(Self::parse);
        size.filter(|size| limits.contains(size)).ok_or(Wrong::Kind)
    }

    fn show(&self) -> String {
        let fits = UNITS.iter().find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        match fits {
            Some((name, unit)) => format!("{} {name}", self.0 / unit),
            None => "0 B".to_owned(),
        }
    }

    fn wanted(limits: &Self::Limits) -> String {
        let what = "a size with its unit (B, KiB, MiB or GiB)";
        from_to(what, limits.start().show(), limits.end().show())
    }
}

impl<T: Setting> Setting for Option<T> {
    type Limits = T::Limits;

    const SECRET: bool = T::SECRET;

    fn read(given: &Content, limits: &Self::Limits) -> Result<Self, Wrong> {
        match given {
            Content::Null => Ok(None),
            // The environment and the command line have texts only.
            Content::Text(text) if text.is_empty() || text == "null" => Ok(None),
            given => T::read(given, limits).map(Some),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "null".to_owned(), T::show)
    }

    fn wanted(limits: &Self::Limits) -> String {
        format!("{}, or null", T::wanted(limits))
    }
}

/// A part of a whole, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ratio(pub f64);

impl Setting for Ratio {
    type Limits = ();

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        let number = given.word().and_then(|word| word.trim().parse().ok());
        number.filter(|number| (0.0..=1.0).contains(number)).map(Self).ok_or(Wrong::Kind)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }

    fn wanted((): &()) -> String {
        "a number from 0 to 1".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Content {
        Content::Text(text.to_owned())
    }

    #[test]
    fn durations_need_units_and_show_in_the_largest_whole_one() {
        let limits = between(Duration::ZERO, Duration::from_hours(24 * 365));
        for (given, shown) in
            [("36h", "36h"), ("1m30s", "90s"), ("0s", "0s"), ("5ms", "5ms"), ("7 days", "7d")]
        {
            assert_eq!(Duration::read(&text(given), &limits).expect("read").show(), shown);
        }
        for given in ["15", "", "s", "-1s", "1.0001s", "5us", "999999d", "99999999999999999999999d"]
        {
            assert!(Duration::read(&text(given), &limits).is_err(), "{given}");
        }
    }

    #[test]
    fn zero_may_stand_for_something_outside_the_bounds() {
        let day = Duration::from_hours(24);
        let limits = zero_or_between("ever", day, day * 7);
        assert!(Duration::read(&text("0s"), &limits).is_ok());
        assert!(Duration::read(&text("1h"), &limits).is_err());
        assert!(Duration::wanted(&limits).ends_with("from 1d to 7d, or 0s for ever"));
    }

    #[test]
    fn sizes_are_whole_numbers_of_a_unit() {
        for (given, bytes, shown) in [
            ("1 MiB", 1 << 20, "1 MiB"),
            ("1mib", 1 << 20, "1 MiB"),
            ("1536", 1536, "1536 B"),
            ("2048 B", 2048, "2 KiB"),
        ] {
            let size = ByteSize::parse(given).expect("a size");
            assert_eq!((size.0, size.show().as_str()), (bytes, shown));
        }
        for given in ["", "MiB", "1 MB", "1.5 MiB", "-1", "99999999999999999999", "1 MiB x"] {
            assert_eq!(ByteSize::parse(given), None, "{given}");
        }
    }

    #[test]
    fn a_ratio_is_no_more_than_all_and_no_less_than_nothing() {
        for (given, shown) in [("0", "0"), ("0.01", "0.01"), ("1", "1"), ("1.0", "1")] {
            assert_eq!(Ratio::read(&text(given), &()).expect("read").show(), shown);
        }
        for given in ["", "-0.1", "1.1", "NaN", "1%"] {
            assert!(Ratio::read(&text(given), &()).is_err(), "{given}");
        }
    }

    #[test]
    fn absence_is_said_by_null() {
        for given in [Content::Null, text(""), text("null")] {
            assert_eq!(Option::<u32>::read(&given, &(0..=9)).expect("absent"), None);
        }
        assert_eq!(Option::<u32>::read(&text("3"), &(0..=9)).expect("a number"), Some(3));
    }
}
