//! Recorded logs: one record a line, as JSON, in the order in which the records were written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};

use neuros::time::Timestamp;
use neuros::wire::{Headers, Message};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Bytes of one line, at most: a record of the largest size with all its bytes escaped fits.
pub const LINE_BYTES_MAX: u64 = 16 << 20;

/// One record of a log.
#[derive(Deserialize)]
pub struct Line<'a> {
    /// The Kafka timestamp, ms since 1970; `None` when the record had none.
    #[serde(deserialize_with = "Option::deserialize")]
    record_time_ms: Option<i64>,
    #[serde(borrow, default)]
    headers: Option<BTreeMap<Cow<'a, str>, Option<Cow<'a, str>>>>,
    /// A string is the raw message; anything else stands for its bytes as they are written.
    #[serde(borrow)]
    value: &'a RawValue,
}

/// A line that is no record of a log.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is longer than the limit.
    #[error("longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// It is no JSON object of the log's form. Holds no part of the line.
    #[error(
        "not an object with `record_time_ms` (a number or null), `value` and perhaps `headers`: {0}"
    )]
    NotARecord(String),
    /// It is no JSON object. Holds no part of the line.
    #[error("not one event as a JSON object: {0}")]
    NotAnEvent(Cow<'static, str>),
    /// Its message is too large for the producer.
    #[error("its message of {0} bytes is larger than what may be sent; see `events.max_bytes`")]
    TooLarge(usize),
}

impl<'a> Line<'a> {
    /// Reads one line.
    ///
    /// # Errors
    ///
    /// [`Malformed::NotARecord`] when it is not of the log's form.
    pub fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        let line = std::str::from_utf8(line)
            .map_err(|error| not_a_record(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
        if line.starts_with('\u{feff}') {
            return Err(not_a_record("it begins with a byte order mark"));
        }
        if line.trim_start().starts_with('[') {
            return Err(not_a_record("a list"));
        }
        let line: Self = serde_json::from_str(line).map_err(|error| {
            // Error texts of the library may quote values, and values are health data.
            let kind = match error.classify() {
                serde_json::error::Category::Data => "a field has the wrong type or is missing",
                _ => "not JSON",
            };
            not_a_record(format!("{kind} at column {}", error.column()))
        })?;
        line.raw_string().map(|_| line)
    }

    /// The message's value.
    pub fn value(&self) -> Cow<'a, str> {
        // `parse` has accepted the string.
        self.raw_string().ok().flatten().unwrap_or(Cow::Borrowed(self.value.get()))
    }

    /// The message, its value borrowed from what [`Line::value`] gave.
    pub fn message<'m>(&'m self, value: &'m str) -> Message<'m> {
        let headers: Headers<'m> = self.headers().collect();
        Message {
            value: value.as_bytes(),
            headers,
            record_time: self.record_time_ms.map(Timestamp::from_millis),
        }
    }

    /// When the record was written, ms since 1970.
    pub fn record_time_ms(&self) -> Option<i64> {
        self.record_time_ms
    }

    /// The headers, by name.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.headers.iter().flatten();
        headers
            .map(|(name, value)| (name.as_ref(), value.as_deref().unwrap_or_default().as_bytes()))
    }

    fn raw_string(&self) -> Result<Option<Cow<'a, str>>, Malformed> {
        if !self.value.get().starts_with('"') {
            return Ok(None);
        }
        Text::parse(self.value.get()).map(|text| Some(text.0))
    }
}

fn not_a_record(problem: impl Into<String>) -> Malformed {
    Malformed::NotARecord(problem.into())
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Text<'a> {
    fn parse(json: &'a str) -> Result<Self, Malformed> {
        serde_json::from_str(json).map_err(|_| not_a_record("`value` is not a valid string"))
    }
}

/// A line in its place, as a record or as bytes.
pub struct Numbered<T> {
    /// Its number, from 0.
    pub number: u64,
    /// Its length.
    pub bytes: usize,
    /// What stands in it, unless it is malformed.
    pub line: Result<T, Malformed>,
}

/// The lines of a log, numbered from 0; blank ones are counted and skipped.
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    next: u64,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `reader`, of which the first has the number `first`.
    pub fn numbered_from(first: u64, reader: R) -> Self {
        Self { reader, buffer: Vec::new(), next: first }
    }

    /// The number that the next line has.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// The next line, if there is one.
    ///
    /// # Errors
    ///
    /// What the reader says. A malformed line is no such error: the next call goes on behind it.
    pub fn read(&mut self) -> io::Result<Option<Numbered<Line<'_>>>> {
        let Some(Numbered { number, bytes, line }) = self.read_bytes()? else { return Ok(None) };
        Ok(Some(Numbered { number, bytes, line: line.and_then(Line::parse) }))
    }

    /// The next line as it is written, of whatever form; only one that is too long is malformed.
    ///
    /// # Errors
    ///
    /// As [`Lines::read`].
    pub fn read_bytes(&mut self) -> io::Result<Option<Numbered<&[u8]>>> {
        loop {
            self.buffer.clear();
            let mut bounded = self.reader.by_ref().take(LINE_BYTES_MAX + 1);
            let bytes = bounded.read_until(b'\n', &mut self.buffer)?;
            if bytes == 0 {
                return Ok(None);
            }
            let number = self.next;
            self.next += 1;
            if bounded.limit() == 0 && self.buffer.last() != Some(&b'\n') {
                self.reader.skip_until(b'\n')?;
                return Ok(Some(Numbered { number, bytes, line: Err(Malformed::TooLong) }));
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        let number = self.next - 1;
        Ok(Some(Numbered { number, bytes: self.buffer.len(), line: Ok(&self.buffer) }))
    }
}
