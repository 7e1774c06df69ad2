//! A pull scanner for JSON (RFC 8259): one pass, text borrowed, depth bounded, never recursing
//! deeper than `DEPTH_MAX`.
//!
//! Why not a general library: the wire format rejects lone surrogates even in fields nobody reads,
//! counts depth to 64, lets the last of two equal keys win, and turns `1e999` into a reading that
//! is kept but excluded. Parsers at hand skip, recurse or fail there.

use std::borrow::Cow;

use super::number::{Number, number_length};

/// How many objects and arrays may be open at once, the outermost included.
const DEPTH_MAX: u8 = 64;

/// Where the text stops being JSON, and what would have had to stand there.
///
/// Boxed, so that the results of the scanner's many small steps travel in registers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(Box<Fault>);

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    /// Offset in bytes.
    at: usize,
    wanted: &'static str,
}

/// Reads one JSON text from left to right.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

/// A value whose scalar is read whole and whose container has just been opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool,
    Number(Number<'a>),
    Text(Text<'a>),
    /// Opened: its keys come from [`Scanner::next_key`] until that says `None`.
    Object,
    /// Opened: its elements follow as long as [`Scanner::next_element`] says so.
    Array,
}

/// A string between its quotes, escapes checked but not yet replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Text<'a> {
    /// Holds no escape: it is what it says.
    Plain(&'a str),
    Escaped(&'a str),
}

/// The place inside an open container: whether a comma must come before the next entry.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    begun: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Reads the start of a value: a scalar whole, an object or array only its bracket.
    #[inline(always)]
    pub(crate) fn open(&mut self) -> Result<Value<'a>, Malformed> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Value::Text(self.text_to_quote()?))
            }
            Some(b'-' | b'0'..=b'9') => Ok(Value::Number(self.number()?)),
            Some(b'{') => self.enter(Value::Object),
            Some(b'[') => self.enter(Value::Array),
            Some(b'n') => self.literal("null", Value::Null),
            Some(b't') => self.literal("true", Value::Bool),
            Some(b'f') => self.literal("false", Value::Bool),
            _ => Err(self.wanted("a value")),
        }
    }

    /// Skips what is left of a value that [`Scanner::open`] returned.
    pub(crate) fn close(&mut self, value: &Value<'a>) -> Result<(), Malformed> {
        let mut entries = Entries::default();
        match value {
            Value::Object => {
                while self.next_key(&mut entries)?.is_some() {
                    self.skip()?;
                }
            }
            Value::Array => {
                while self.next_element(&mut entries)? {
                    self.skip()?;
                }
            }
            Value::Null | Value::Bool | Value::Number(_) | Value::Text(_) => {}
        }
        Ok(())
    }

    /// Skips one whole value; nesting, and so recursion, ends at [`DEPTH_MAX`].
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let value = self.open()?;
        self.close(&value)
    }

    /// The next key of the open object, its colon read; `None` when the object closes.
    #[inline(always)]
    pub(crate) fn next_key(
        &mut self,
        entries: &mut Entries,
    ) -> Result<Option<Text<'a>>, Malformed> {
        if !self.next_entry(entries, b'}')? {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err(self.wanted("a key"));
        }
        self.at += 1;
        let key = self.text_to_quote()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.wanted("`:`"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Whether another element follows in the open array; `false` when the array closes.
    pub(crate) fn next_element(&mut self, entries: &mut Entries) -> Result<bool, Malformed> {
        self.next_entry(entries, b']')
    }

    /// Checks that nothing but white space is left.
    pub(crate) fn finish(&mut self) -> Result<(), Malformed> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.wanted("the end")) }
    }

    /// The offset of the next value, white space before it skipped.
    pub(crate) fn start_of_value(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// What was read from `start` to here.
    pub(crate) fn read_since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    #[inline]
    fn next_entry(&mut self, entries: &mut Entries, closing: u8) -> Result<bool, Malformed> {
        self.skip_space();
        let begun = std::mem::replace(&mut entries.begun, true);
        match self.peek() {
            Some(byte) if byte == closing => {
                self.at += 1;
                self.depth = self.depth.saturating_sub(1);
                return Ok(false);
            }
            Some(b',') if begun => {
                self.at += 1;
                self.skip_space();
                // A bracket here would be a trailing comma: whoever reads the entry refuses it.
            }
            _ if begun => return Err(self.wanted("`,` or the closing bracket")),
            _ => {}
        }
        Ok(true)
    }

    fn enter(&mut self, container: Value<'a>) -> Result<Value<'a>, Malformed> {
        if self.depth == DEPTH_MAX {
            return Err(self.wanted("at most 64 levels of nesting"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(container)
    }

    fn literal(&mut self, word: &'static str, value: Value<'a>) -> Result<Value<'a>, Malformed> {
        if self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()))
        {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.wanted("a value"))
        }
    }

    #[inline]
    fn number(&mut self) -> Result<Number<'a>, Malformed> {
        let start = self.at;
        let length = number_length(self.text.as_bytes().get(start..).unwrap_or_default());
        match length {
            Ok(length) => {
                self.at += length;
                Ok(Number::accepted(self.read_since(start)))
            }
            Err(length) => {
                self.at += length;
                Err(self.wanted("a digit"))
            }
        }
    }

    /// Reads a string whose opening quote is behind us.
    #[inline(always)]
    fn text_to_quote(&mut self) -> Result<Text<'a>, Malformed> {
        let start = self.at;
        self.at += plain_length(self.text.as_bytes().get(start..).unwrap_or_default());
        if self.peek() == Some(b'"') {
            let text = Text::Plain(self.read_since(start));
            self.at += 1;
            return Ok(text);
        }
        self.escaped_text_to_quote(start)
    }

    /// Reads on in a string that began at `start`, up to what is neither plain nor its end.
    #[cold]
    fn escaped_text_to_quote(&mut self, start: usize) -> Result<Text<'a>, Malformed> {
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = Text::Escaped(self.read_since(start));
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(self.wanted("an escape for a control character")),
                None => return Err(self.wanted("a closing quote")),
            }
            self.at += plain_length(self.text.as_bytes().get(self.at..).unwrap_or_default());
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => match self.code_unit()? {
                0xD800..0xDC00 if self.peek() == Some(b'\\') => {
                    self.at += 1;
                    match self.code_unit()? {
                        0xDC00..0xE000 => Ok(()),
                        _ => Err(self.wanted("the second half of a surrogate pair")),
                    }
                }
                0xD800..0xE000 => Err(self.wanted("no lone surrogate")),
                _ => Ok(()),
            },
            _ => Err(self.wanted("an escape")),
        }
    }

    /// Reads `uXXXX` behind a backslash.
    fn code_unit(&mut self) -> Result<u16, Malformed> {
        if self.peek() != Some(b'u') {
            return Err(self.wanted("the second half of a surrogate pair"));
        }
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5).unwrap_or_default();
        let unit = hexadecimal(digits).ok_or_else(|| self.wanted("four hexadecimal digits"))?;
        self.at += 5;
        Ok(unit)
    }

    #[inline]
    fn skip_space(&mut self) {
        // Most producers write none: one comparison then suffices.
        while let Some(0..=b' ') = self.peek() {
            let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() else { return };
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[cold]
    fn wanted(&self, wanted: &'static str) -> Malformed {
        Malformed(Box::new(Fault { at: self.at, wanted }))
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at byte {}: expected {}", self.0.at, self.0.wanted)
    }
}

impl<'a> Text<'a> {
    /// The string's content, borrowed when it holds no escape.
    #[inline]
    pub(crate) fn unescaped(self) -> Cow<'a, str> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Escaped(raw) => Cow::Owned(unescape(raw)),
        }
    }
}

/// How many bytes come before a quote, a backslash or a control character.
///
/// Eight bytes at a time: the high bit of a byte of `marks` is set where that byte is one of them
/// (perhaps also above the first such byte, which alone is asked for).
#[inline(always)]
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let is_quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
        let is_backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
        let is_control = word.wrapping_sub(ONES * 0x20);
        let marks = (is_quote | is_backslash | is_control) & !word & HIGHS;
        if marks != 0 {
            return length + (marks.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    length + rest.iter().take_while(|&&byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

/// Whether a byte is a control character of ASCII or no ASCII at all.
#[inline]
pub(crate) fn holds_unprintable(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    let marks = words.iter().fold(0, |marks, word| {
        let word = u64::from_le_bytes(*word);
        // Below 0x20 the subtraction borrows; 0x7f and all above 0x80 have or reach the high bit.
        marks | word.wrapping_sub(ONES * 0x20) | (word & !HIGHS).wrapping_add(ONES) | word
    });
    marks & HIGHS != 0 || rest.iter().any(|byte| !matches!(byte, 0x20..0x7f))
}

fn hexadecimal(digits: &[u8]) -> Option<u16> {
    if digits.len() != 4 {
        return None;
    }
    digits.iter().try_fold(0_u16, |unit, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}

/// Replaces the escapes of a string that the scanner has accepted.
fn unescape(raw: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(backslash) = rest.find('\\') {
        let (plain, escape) = rest.split_at(backslash);
        text.push_str(plain);
        let kind = escape.as_bytes().get(1).copied().unwrap_or(b'\\');
        let mut length = 2;
        match kind {
            b'u' => {
                // Collects a run of code units, so that surrogate pairs find each other.
                units.clear();
                length = 0;
                while let Some(digits) =
                    escape.get(length..length + 6).and_then(|unit| unit.strip_prefix("\\u"))
                {
                    units.extend(hexadecimal(digits.as_bytes()));
                    length += 6;
                }
                text.extend(
                    char::decode_utf16(units.iter().copied())
                        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)),
                );
            }
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            other => text.push(char::from(other)),
        }
        // An accepted escape is never cut short; if it were, nothing would be left to read.
        rest = escape.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Result<(), Malformed> {
        let mut scanner = Scanner::new(text);
        scanner.skip()?;
        scanner.finish()
    }

    #[test]
    fn what_is_json_is_accepted() {
        let texts = [
            "{}",
            "[]",
            " [ 1 , -0.5e+3 , \"x\" ] ",
            "{\"a\":{\"b\":[true,false,null]}}",
            "\"\"",
            "-0",
            "1E5",
            "\"\\ud83d\\ude00\"",
            "\"\u{7f}\"",
            "0.0000001",
        ];
        for text in texts {
            assert_eq!(whole(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let texts = [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{,}",
            "[,1]",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "NaN",
            "Infinity",
            "nul",
            "tru",
            "'a'",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\ud800x\"",
            "\"\\ud800\\n\"",
            "\"\\udc00\"",
            "\"\\ud800\\ud800\"",
            "1 2",
            "{\"a\" 1}",
            "{1:2}",
            "\u{feff}{}",
            "[1}",
            "{\"a\":1]",
            "\"",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
        ];
        for text in texts {
            assert!(whole(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sixty_four_levels_are_accepted_and_one_more_is_not() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(whole(&nested(64)), Ok(()));
        assert!(whole(&nested(65)).is_err());
        let wide = format!("[{}]", vec![nested(63); 3].join(","));
        assert_eq!(whole(&wide), Ok(()));
    }

    #[test]
    fn escapes_are_replaced() {
        let mut scanner = Scanner::new(r#""a\"\\\/\b\f\n\r\t\u0041\ud83d\ude00é""#);
        let Ok(Value::Text(text)) = scanner.open() else { panic!("not a string") };
        assert_eq!(text.unescaped(), "a\"\\/\u{8}\u{c}\n\r\tA😀é");
    }
}
