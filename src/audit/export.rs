//! The log of accesses as JSON Lines: a heading, a row a line, and an end that says how many there were, so
//! that a file that was cut is not taken for a log that was.

use std::io::{self, BufRead, Read as _, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use neuros::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::claims::Claims;
use super::verify::{Report, Verifier};
use crate::store::{Access, StoredAccess, Unchained};

const FORMAT: &str = "biometric-bridge audit export";
const VERSION: u8 = 1;

/// Bytes of a line, at most: texts of a row are short.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It cannot be read.
    #[error(transparent)]
    Input(#[from] io::Error),
    /// It is something else.
    #[error(
        "line {0}: it is no line of an export that this release knows; `biometric-bridge audit export` \
         makes one"
    )]
    Line(u64),
    /// Its last line is missing, or counts other rows than there are.
    #[error("the export was cut, or rows of it were taken out or put in: {0}")]
    Cut(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    format: String,
    version: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    rows: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: i64,
    user_id: Option<String>,
    accessor_id: String,
    access_type: String,
    table_name: String,
    record_id: Option<String>,
    records: i64,
    access_time: String,
    writer: Option<String>,
    sequence: Option<i64>,
    previous_hash: Option<String>,
    hash: Option<String>,
}

/// Writes an export.
pub struct Exporting<W: Write> {
    output: W,
    rows: u64,
}

impl<W: Write> Exporting<W> {
    /// Begins with the heading.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn begin(output: W) -> io::Result<Self> {
        let mut exporting = Self { output, rows: 0 };
        exporting.line(&Heading { format: FORMAT.to_owned(), version: VERSION })?;
        Ok(exporting)
    }

    /// Writes a row: those in no chain first, then chain by chain, each in order.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn row(&mut self, row: StoredAccess) -> io::Result<()> {
        self.rows += 1;
        self.line(&Row::of(row))
    }

    /// Writes the end; says how many rows there are.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn end(mut self) -> io::Result<u64> {
        self.line(&End { rows: self.rows })?;
        self.output.flush()?;
        Ok(self.rows)
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, line)?;
        self.output.write_all(b"\n")
    }
}

/// Verifies an export; `progress` is told the bytes of each line.
///
/// # Errors
///
/// When it cannot be read as one.
pub fn verify(
    mut input: impl BufRead,
    claims: Claims,
    mut progress: impl FnMut(usize),
) -> Result<Report, Unreadable> {
    let mut verifier = Verifier::new(claims, std::collections::BTreeMap::new());
    let (mut number, mut rows, mut end) = (0, 0, None);
    let mut unchained = Unchained::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let bytes = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if bytes == 0 {
            break;
        }
        progress(bytes);
        number += 1;
        let wrong = |_| Unreadable::Line(number);
        if number == 1 {
            let heading: Heading = serde_json::from_slice(&line).map_err(wrong)?;
            if (heading.format.as_str(), heading.version) != (FORMAT, VERSION) {
                return Err(Unreadable::Line(number));
            }
        } else if end.is_some() {
            return Err(Unreadable::Cut(format!("line {number} stands behind the end")));
        } else if let Ok(last) = serde_json::from_slice::<End>(&line) {
            end = Some(last.rows);
        } else {
            let row: Row = serde_json::from_slice(&line).map_err(wrong)?;
            rows += 1;
            let row = row.stored().ok_or(Unreadable::Line(number))?;
            unchained.note(&row);
            verifier.row(&row);
        }
    }
    match end {
        Some(counted) if counted == rows => {}
        Some(counted) => {
            return Err(Unreadable::Cut(format!("it counts {counted} rows, and has {rows}")));
        }
        None => return Err(Unreadable::Cut("its last line is missing".to_owned())),
    }
    verifier.unchained(&unchained);
    Ok(verifier.finish())
}

impl Unchained {
    fn note(&mut self, row: &StoredAccess) {
        if row.writer.is_some() && row.sequence.is_some() {
            self.first_chained = Some(self.first_chained.map_or(row.id, |id| id.min(row.id)));
        } else {
            self.rows += 1;
            self.newest = self.newest.max(Some(row.id));
        }
    }
}

impl Row {
    fn of(row: StoredAccess) -> Self {
        let time = DateTime::from_timestamp_micros(row.access.content().time_us);
        let Access { user_id, accessor_id, access_type, table_name, record_id, records, .. } =
            row.access;
        Self {
            id: row.id,
            user_id,
            accessor_id,
            access_type,
            table_name,
            record_id,
            records,
            access_time: time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Micros, true),
            writer: row.writer,
            sequence: row.sequence,
            previous_hash: row.previous_hash.map(hex::encode),
            hash: row.hash.map(hex::encode),
        }
    }

    /// `None` when a time or a hash is none.
    fn stored(self) -> Option<StoredAccess> {
        let bytes = |hash: Option<String>| hash.map(hex::decode).transpose().ok();
        let time: DateTime<Utc> = self.access_time.parse().ok()?;
        Some(StoredAccess {
            id: self.id,
            access: Access {
                user_id: self.user_id,
                accessor_id: self.accessor_id,
                access_type: self.access_type,
                table_name: self.table_name,
                record_id: self.record_id,
                records: self.records,
                time: Timestamp::from_micros(time.timestamp_micros()),
            },
            writer: self.writer,
            sequence: self.sequence,
            previous_hash: bytes(self.previous_hash)?,
            hash: bytes(self.hash)?,
        })
    }
}
