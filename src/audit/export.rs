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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use actors::hash_chain::Head;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::audit::{Checkpoint, Finding};
    use crate::signature::SigningKey;

    const WRITERS: [&str; 3] = ["command-line", "lane/0", "service/1"];

    /// Chains of so many rows, each row with other texts.
    fn log(lengths: [usize; 3]) -> Vec<StoredAccess> {
        let mut rows = Vec::new();
        for (writer, length) in WRITERS.into_iter().zip(lengths) {
            let mut head = Head::default();
            for number in 1..=length {
                let seed = rows.len() as u64;
                let access = access(writer, seed, number as u64);
                head = push(&mut rows, writer, head, access);
            }
        }
        rows
    }

    fn access(writer: &str, seed: u64, number: u64) -> Access {
        let number = i64::try_from(number).expect("small");
        Access {
            user_id: seed.is_multiple_of(3).then(|| format!("u{seed}")),
            accessor_id: format!("who {seed}"),
            access_type: "READ".to_owned(),
            table_name: "users".to_owned(),
            record_id: writer
                .starts_with("lane")
                .then(|| format!("lane 0 batch {number}; 3 users")),
            records: number,
            time: Timestamp::from_micros(1_740_988_800_000_000 + number),
        }
    }

    fn push(rows: &mut Vec<StoredAccess>, writer: &str, head: Head, access: Access) -> Head {
        let link = head.follow(writer, &access.content());
        rows.push(StoredAccess {
            id: i64::try_from(rows.len()).expect("few") + 1,
            access,
            writer: Some(writer.to_owned()),
            sequence: Some(link.sequence),
            previous_hash: link.previous.map(actors::hash_chain::RowHash::to_bytes),
            hash: Some(link.hash.to_bytes()),
        });
        link.head()
    }

    fn exported(rows: &[StoredAccess]) -> Vec<u8> {
        let mut text = Vec::new();
        let mut exporting = Exporting::begin(&mut text).expect("written");
        rows.iter().for_each(|row| exporting.row(row.clone()).expect("written"));
        exporting.end().expect("written");
        text
    }

    /// What three checkpoints say, each of the chains as they were when a third more was there.
    fn claims(rows: &[StoredAccess]) -> Claims {
        let key = SigningKey::generate().expect("a key");
        let mut claims = Claims::new(vec![key.public()]);
        claims.begin("a file");
        let mut previous = None;
        for number in 1..=3 {
            let upto = |row: &&StoredAccess| row.id * 3 <= rows.len() as i64 * number;
            let mut heads = BTreeMap::new();
            for row in rows.iter().filter(upto) {
                let hash = row.hash.as_deref().and_then(actors::hash_chain::RowHash::from_bytes);
                let head = Head { sequence: row.sequence.expect("a number"), hash };
                heads.insert(row.writer.clone().expect("a writer"), head);
            }
            let checkpoint = Checkpoint {
                key: key.public().id(),
                signer: "service/1".to_owned(),
                number,
                time_us: number,
                previous,
                chains: heads.into_iter().collect(),
            };
            previous = Some(checkpoint.hash());
            claims.add(checkpoint.sign(&key).to_line().as_bytes());
        }
        claims
    }

    fn found(rows: &[StoredAccess], claims: Claims) -> Vec<Finding> {
        verify(exported(rows).as_slice(), claims, |_| ()).expect("an export").findings
    }

    /// Something that somebody does to the log.
    #[derive(Clone, Debug)]
    enum Deed {
        Edit(Index, usize),
        EditAndHash(Index),
        EditAndHashAllBehind(Index),
        Delete(Index),
        Repeat(Index, Index),
        Swap(Index, Index),
        Exchange(Index, Index),
        CutTail(Index),
        Unchain(Index),
        SwapWriters,
        Append,
    }

    fn deed() -> impl Strategy<Value = Deed> {
        let index = any::<Index>;
        prop_oneof![
            (index(), 0..9_usize).prop_map(|(row, field)| Deed::Edit(row, field)),
            index().prop_map(Deed::EditAndHash),
            index().prop_map(Deed::EditAndHashAllBehind),
            index().prop_map(Deed::Delete),
            (index(), index()).prop_map(|(row, to)| Deed::Repeat(row, to)),
            (index(), index()).prop_map(|(one, other)| Deed::Swap(one, other)),
            (index(), index()).prop_map(|(one, other)| Deed::Exchange(one, other)),
            index().prop_map(Deed::CutTail),
            index().prop_map(Deed::Unchain),
            Just(Deed::SwapWriters),
            Just(Deed::Append),
        ]
    }

    fn hash_anew(row: &mut StoredAccess) {
        let previous = row.previous_hash.as_deref();
        let hash = previous.and_then(actors::hash_chain::RowHash::from_bytes);
        let before = Head { sequence: row.sequence.unwrap_or_default() - 1, hash };
        let link = before.follow(row.writer.as_deref().unwrap_or_default(), &row.access.content());
        row.hash = Some(link.hash.to_bytes());
    }

    impl Deed {
        fn does(&self, rows: &mut Vec<StoredAccess>) {
            let count = rows.len();
            match self {
                Self::Edit(row, field) => edit(&mut rows[row.index(count)], *field),
                Self::EditAndHash(row) => {
                    let row = &mut rows[row.index(count)];
                    edit(row, 2);
                    hash_anew(row);
                }
                Self::EditAndHashAllBehind(row) => {
                    let first = row.index(count);
                    edit(&mut rows[first], 2);
                    hash_anew(&mut rows[first]);
                    for row in first + 1..count {
                        if rows[row].writer == rows[row - 1].writer {
                            rows[row].previous_hash = rows[row - 1].hash.clone();
                            hash_anew(&mut rows[row]);
                        } else {
                            break;
                        }
                    }
                }
                Self::Delete(row) => _ = rows.remove(row.index(count)),
                Self::Repeat(row, to) => {
                    let row = rows[row.index(count)].clone();
                    rows.insert(to.index(count + 1), row);
                }
                Self::Swap(one, other) => rows.swap(one.index(count), other.index(count)),
                Self::Exchange(one, other) => {
                    // What two rows say changes places; the chain stays where it was.
                    let (one, other) = (one.index(count), other.index(count));
                    let access = rows[one].access.clone();
                    rows[one].access = std::mem::replace(&mut rows[other].access, access);
                }
                Self::CutTail(row) => {
                    let first = row.index(count);
                    let writer = rows[first].writer.clone();
                    let mut place = 0;
                    rows.retain(|row| {
                        place += 1;
                        row.writer != writer || place <= first
                    });
                }
                Self::Unchain(row) => {
                    let row = &mut rows[row.index(count)];
                    (row.writer, row.sequence) = (None, None);
                }
                Self::SwapWriters => {
                    for row in rows {
                        let writer = row.writer.as_deref().unwrap_or_default();
                        let place = WRITERS.iter().position(|it| *it == writer).unwrap_or_default();
                        row.writer = Some(WRITERS[(place + 1) % 3].to_owned());
                    }
                }
                Self::Append => {
                    let mut row = rows[count - 1].clone();
                    row.sequence = row.sequence.map(|sequence| sequence + 1);
                    row.previous_hash = row.hash.clone();
                    row.id += 1;
                    rows.push(row);
                }
            }
        }
    }

    fn by_chain(rows: &[StoredAccess]) -> BTreeMap<Option<&str>, Vec<&StoredAccess>> {
        let mut chains = BTreeMap::<_, Vec<_>>::new();
        for row in rows {
            chains.entry(row.writer.as_deref()).or_default().push(row);
        }
        chains
    }

    fn edit(row: &mut StoredAccess, field: usize) {
        let access = &mut row.access;
        match field {
            0 => access.user_id = access.user_id.take().map_or(Some(String::new()), |_| None),
            1 => access.accessor_id.push(' '),
            2 => access.access_type.insert(0, 'x'),
            3 => access.table_name = access.table_name.to_uppercase(),
            4 => access.record_id = access.record_id.take().map_or(Some(String::new()), |_| None),
            5 => access.records += 1,
            6 => access.time = Timestamp::from_micros(access.time.as_micros() - 1),
            7 => row.hash.iter_mut().for_each(|hash| hash[7] ^= 1),
            _ => {
                let other = row.previous_hash.take().map_or_else(|| vec![1; 33], |_| vec![1; 2]);
                row.previous_hash = Some(other);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_done_to_a_log_is_found(
            lengths in [1..8_usize, 1..8_usize, 1..8_usize],
            deed in deed(),
        ) {
            let rows = log(lengths);
            prop_assert_eq!(found(&rows, claims(&rows)), vec![]);
            let mut changed = rows.clone();
            deed.does(&mut changed);
            // Chains have no order among each other.
            if by_chain(&changed) != by_chain(&rows) {
                prop_assert_ne!(found(&changed, claims(&rows)), vec![], "{:?}", deed);
            }
        }

        #[test]
        fn an_export_with_a_byte_changed_is_none_or_says_the_same_or_is_found(
            place in any::<Index>(),
            byte in any::<u8>(),
        ) {
            let rows = log([3, 2, 3]);
            let mut text = exported(&rows);
            let place = place.index(text.len());
            text[place] = byte;
            let said = |text: &[u8]| -> Option<Vec<_>> {
                let lines = text.split(|byte| *byte == b'\n').skip(1);
                let rows = lines.filter(|line| !line.is_empty() && !line.starts_with(b"{\"rows\""));
                // The id is the database's own, and no hash covers it.
                rows.map(|line| {
                    let row = serde_json::from_slice::<Row>(line).ok()?.stored()?;
                    let said = (row.access.user_id, row.access.accessor_id, row.access.records);
                    let when = (row.access.time, row.access.access_type, row.access.table_name);
                    let place = (row.writer, row.sequence, row.previous_hash, row.hash);
                    Some((said, when, place, row.access.record_id))
                }).collect()
            };
            let is_same = said(&text) == said(&exported(&rows));
            let verified = verify(text.as_slice(), claims(&rows), |_| ());
            let is_found = verified.map_or(true, |report| !report.findings.is_empty());
            prop_assert!(is_same || is_found, "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn a_file_that_is_no_whole_export_is_told_from_a_log_that_was_cut() {
        let whole = exported(&log([2, 2, 2]));
        let read = |text: &[u8]| verify(text, Claims::new(Vec::new()), |_| ());
        assert!(read(&whole).is_ok());
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        for (text, line) in [
            (&b""[..], None),
            (b"\n", Some(1)),
            (b"{\"format\":\"another\",\"version\":1}\n", Some(1)),
            (&lines[..lines.len() - 1].concat(), None),
            (&[&lines[..2], &lines[3..]].concat().concat(), None),
            (&[&whole[..], b"{\"rows\":6}\n"].concat(), None),
            (&[lines[0], b"not JSON\n"].concat(), Some(2)),
        ] {
            let error = read(text).expect_err("no export");
            let found = if let Unreadable::Line(number) = error { Some(number) } else { None };
            assert_eq!(found, line, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn checkpoints_of_others_and_missing_ones_are_found() {
        let (key, other) = (SigningKey::generate().expect("a key"), SigningKey::generate());
        let other = other.expect("a key");
        let checkpoint = |number, previous| Checkpoint {
            key: key.public().id(),
            signer: "service/1".to_owned(),
            number,
            time_us: number,
            previous,
            chains: Vec::new(),
        };
        let first = checkpoint(1, None);
        let second = checkpoint(2, Some(first.hash()));
        let third = checkpoint(3, Some(second.hash()));
        let told = |lines: &[String]| -> Vec<String> {
            let mut claims = Claims::new(vec![key.public()]);
            claims.begin("f");
            lines.iter().for_each(|line| claims.add(line.as_bytes()));
            claims.take_findings().into_iter().map(|finding| finding.text).collect()
        };
        let [one, two, three] =
            [first.clone(), second, third].map(|checkpoint| checkpoint.sign(&key).to_line());
        assert_eq!(told(&[one.clone(), two.clone(), three.clone()]), [""; 0]);
        assert_eq!(told(&[one.clone(), two.clone(), two.clone()]), [""; 0], "written again");
        let gap = ["f, line 2: checkpoints 2 to 2 of service/1 are missing"];
        assert_eq!(told(&[one.clone(), three.clone()]), gap);
        let back = ["f, line 3: checkpoint 1 of service/1 comes after its 2"];
        assert_eq!(told(&[one.clone(), two.clone(), one.clone()])[..1], back);
        let unlinked = checkpoint(2, None).sign(&key).to_line();
        let said = &told(&[one.clone(), unlinked])[0];
        assert!(said.ends_with("does not follow on the one before it"), "{said}");
        let forged = first.sign(&other).to_line();
        assert!(told(&[forged])[0].contains("the signature is bad"));
        let foreign = Checkpoint { key: other.public().id(), ..checkpoint(1, None) };
        let said = &told(&[foreign.sign(&other).to_line()])[0];
        assert!(said.contains("which was not given"), "{said}");
        assert_eq!(
            told(&["{}".to_owned()]),
            ["f, line 1: it is no checkpoint that this release knows"]
        );
    }
}
