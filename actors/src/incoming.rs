//! A record as it lies in the log, before anything is known of it.

use neuros::time::Timestamp;

use crate::lane::Source;

/// One record of one of a lane's partitions, borrowed from the client's buffer.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// Which of the lane's partitions.
    pub source: Source,
    /// Its offset there.
    pub offset: i64,
    /// The log's timestamp; `None` when it has none.
    pub record_time: Option<Timestamp>,
    /// The key, when there is one.
    pub key: Option<&'a [u8]>,
    /// The value, when there is one: none is not the same as an empty one.
    pub value: Option<&'a [u8]>,
    /// The headers, in order; one may have no value.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// The same, owned: kept as a dead letter or sent on.
#[derive(Clone, Default, PartialEq, serde::Serialize, serde::Deserialize, zeroize::Zeroize)]
pub struct Raw {
    /// The key, when there is one.
    pub key: Option<Vec<u8>>,
    /// The value, when there is one.
    pub value: Option<Vec<u8>>,
    /// The headers, in order; one may have no value.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Bytes that the log's format adds to a header, at most.
pub const HEADER_OVERHEAD: usize = 10;

impl Incoming<'_> {
    /// Bytes of key, value and headers together, as the log counts them at most.
    pub fn bytes(&self) -> usize {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| name.len() + length(*value) + HEADER_OVERHEAD);
        length(self.key) + length(self.value) + headers.sum::<usize>()
    }

    /// A copy that outlives the client's buffer.
    pub fn to_raw(&self) -> Raw {
        let headers = self.headers.iter();
        Raw {
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").finish_non_exhaustive()
    }
}

/// Where a forwarded record comes from: its `origin.*` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The generation in which it was forwarded.
    pub generation: i32,
    /// The partition of `biometric.events` that it came in on.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// The offset of the record forwarded before it from there to the same home; -1 for the first.
    pub previous: i64,
    /// Its record time there, ms since 1970; `None` when it had none.
    pub time: Option<i64>,
}

impl Origin {
    const GENERATION: &'static str = "origin.generation";
    const PARTITION: &'static str = "origin.partition";
    const OFFSET: &'static str = "origin.offset";
    const PREVIOUS: &'static str = "origin.previous";
    const TIME: &'static str = "origin.time";
    /// Bytes that the five headers take at most, with what the log adds for each.
    pub const HEADER_BYTES_MAX: usize = 5 * (20 + 20 + 10);

    /// Whether `name` is one of these headers.
    pub fn owns(name: &str) -> bool {
        matches!(
            name,
            Self::GENERATION | Self::PARTITION | Self::OFFSET | Self::PREVIOUS | Self::TIME
        )
    }

    /// Reads the headers; of one given twice the last counts, for a producer may have made up its
    /// own. `None` when one is missing or is no number.
    pub fn of_headers(headers: &[(&str, Option<&[u8]>)]) -> Option<Self> {
        let text = |wanted: &str| {
            let value = headers.iter().rev().find(|(name, _)| *name == wanted)?.1;
            std::str::from_utf8(value?).ok()
        };
        let number = |name| text(name)?.parse::<i64>().ok();
        Some(Self {
            generation: i32::try_from(number(Self::GENERATION)?).ok()?,
            partition: i32::try_from(number(Self::PARTITION)?).ok()?,
            offset: number(Self::OFFSET)?,
            previous: number(Self::PREVIOUS)?,
            time: match text(Self::TIME)? {
                "" => None,
                time => Some(time.parse().ok()?),
            },
        })
    }

    /// The headers to send along.
    pub fn to_headers(self) -> [(&'static str, String); 5] {
        [
            (Self::GENERATION, self.generation.to_string()),
            (Self::PARTITION, self.partition.to_string()),
            (Self::OFFSET, self.offset.to_string()),
            (Self::PREVIOUS, self.previous.to_string()),
            (Self::TIME, self.time.map(|time| time.to_string()).unwrap_or_default()),
        ]
    }
}
