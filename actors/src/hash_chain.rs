//! The hash chains of the log of accesses: of what a row's hash is made, and what follows on what. Never
//! reads a clock, and knows no table.
//!
//! Each writer has a chain of its own, so that none waits for another: a lane for its batches, a service
//! for what it shows, the command line for what its commands show. A row's hash covers all that the row
//! says, its place in the chain, and the hash of the row before it.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::lane::Lane;

/// The version of [`Encoding`]; stands before every hash, and in it.
pub const VERSION: u8 = 1;

/// The hash of a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowHash([u8; 32]);

impl RowHash {
    /// As it is stored: the version, then the hash.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.0.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.0);
        bytes
    }

    /// From what is stored; `None` when it is no hash of a version that is known.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, hash) = bytes.split_first()?;
        (*version == VERSION).then(|| hash.try_into().ok().map(Self)).flatten()
    }
}

impl fmt::Debug for RowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a row says, its place aside.
#[derive(Clone, Copy)]
pub struct Content<'c> {
    /// Whose, when it was one person's.
    pub user_id: Option<&'c str>,
    /// Who.
    pub accessor_id: &'c str,
    /// What they did.
    pub access_type: &'c str,
    /// To which table, mainly.
    pub table_name: &'c str,
    /// To which part of it.
    pub record_id: Option<&'c str>,
    /// To how many records.
    pub records: i64,
    /// When, in microseconds since 1970.
    pub time_us: i64,
}

/// Where a chain ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The number of its newest row; 0 before the first.
    pub sequence: i64,
    /// The hash of that row; `None` before the first.
    pub hash: Option<RowHash>,
}

/// A row's place in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Numbers the chain's rows, from 1.
    pub sequence: i64,
    /// The hash of the row before it; `None` for the first.
    pub previous: Option<RowHash>,
    /// Its own.
    pub hash: RowHash,
}

impl Head {
    /// The place of the row that comes next.
    pub fn follow(self, writer: &str, content: &Content<'_>) -> Link {
        // A number that somebody has set to the last one there is must not stop a lane.
        let (sequence, previous) = (self.sequence.wrapping_add(1), self.hash);
        Link { sequence, previous, hash: hash_of(writer, sequence, previous, content) }
    }
}

impl Link {
    /// Where the chain ends with this row.
    pub fn head(self) -> Head {
        Head { sequence: self.sequence, hash: Some(self.hash) }
    }
}

/// The hash of a row at a place.
pub fn hash_of(
    writer: &str,
    sequence: i64,
    previous: Option<RowHash>,
    content: &Content<'_>,
) -> RowHash {
    let mut encoding = Encoding::of("biometric-bridge audit row");
    encoding.text(writer);
    encoding.number(sequence);
    encoding.optional(previous.map(|hash| hash.0).as_ref().map(|hash| &hash[..]));
    encoding.optional(content.user_id.map(str::as_bytes));
    encoding.text(content.accessor_id);
    encoding.text(content.access_type);
    encoding.text(content.table_name);
    encoding.optional(content.record_id.map(str::as_bytes));
    encoding.number(content.records);
    encoding.number(content.time_us);
    RowHash(Sha256::digest(encoding.into_bytes()).into())
}

/// Fields one after the other so that no two rows are the same bytes: each text behind its length.
pub struct Encoding(Vec<u8>);

impl Encoding {
    /// Begins with what is encoded, and the version of how.
    pub fn of(what: &str) -> Self {
        let mut encoding = Self(Vec::with_capacity(512));
        encoding.text(what);
        encoding.0.push(VERSION);
        encoding
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    /// A number.
    pub fn number(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    /// Bytes that may be absent, which is not the same as empty.
    pub fn optional(&mut self, bytes: Option<&[u8]>) {
        self.0.push(u8::from(bytes.is_some()));
        self.bytes(bytes.unwrap_or_default());
    }

    /// All of it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The writer of a lane's rows, whoever owns the lane.
pub fn writer_of(lane: Lane) -> String {
    format!("lane/{lane}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: Content<'static> = Content {
        user_id: Some("u1"),
        accessor_id: "bridge/it",
        access_type: "INSERT",
        table_name: "biometric_events",
        record_id: None,
        records: 3,
        time_us: 1_740_988_800_123_456,
    };

    #[test]
    fn the_encoding_of_version_1_stays_as_it_is() {
        let link = Head::default().follow("lane/0", &CONTENT);
        assert_eq!(
            format!("{:?}", link.hash),
            "628bdb6c29f67056ff5596961a41b05a448b0d75cddf66a72bd87a79c80a1b95"
        );
        assert_eq!(RowHash::from_bytes(&link.hash.to_bytes()), Some(link.hash));
        assert_eq!(RowHash::from_bytes(&[0; 33]), None, "another version");
        assert_eq!(RowHash::from_bytes(&[VERSION; 32]), None, "too short");
    }

    #[test]
    fn whatever_is_changed_in_a_row_changes_its_hash() {
        let first = Head::default().follow("lane/0", &CONTENT);
        let hash = |writer: &str, sequence, previous, content: &Content<'_>| {
            hash_of(writer, sequence, previous, content)
        };
        let changed = [
            hash("lane/1", 1, None, &CONTENT),
            hash("lane/0", 2, None, &CONTENT),
            hash("lane/0", 1, Some(first.hash), &CONTENT),
            hash("lane/0", 1, None, &Content { user_id: None, ..CONTENT }),
            hash("lane/0", 1, None, &Content { user_id: Some(""), ..CONTENT }),
            hash("lane/0", 1, None, &Content { accessor_id: "bridge/i", ..CONTENT }),
            hash("lane/0", 1, None, &Content { access_type: "tINSERT", ..CONTENT }),
            hash("lane/0", 1, None, &Content { table_name: "users", ..CONTENT }),
            hash("lane/0", 1, None, &Content { record_id: Some(""), ..CONTENT }),
            hash("lane/0", 1, None, &Content { records: 4, ..CONTENT }),
            hash("lane/0", 1, None, &Content { time_us: 1_740_988_800_123_457, ..CONTENT }),
        ];
        let mut all = changed.to_vec();
        all.push(first.hash);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), changed.len() + 1);
    }

    #[test]
    fn a_row_follows_on_the_one_before_it() {
        let first = Head::default().follow("lane/0", &CONTENT);
        let second = first.head().follow("lane/0", &CONTENT);
        assert_eq!((first.sequence, first.previous), (1, None));
        assert_eq!((second.sequence, second.previous), (2, Some(first.hash)));
        assert_ne!(first.hash, second.hash);
    }
}
