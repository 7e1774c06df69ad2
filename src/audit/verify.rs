//! Whether the log of accesses is as it was written: every chain row by row, and each as the checkpoints
//! say. Holds one row of a chain at a time, and writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use actors::hash_chain::{Head, RowHash, hash_of};
use serde::Serialize;

use super::ENDED;
use super::claims::{Claim, Claims};
use crate::store::{StoredAccess, Unchained};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// A row does not say what it said when it was written.
    Changed,
    /// A row stands where another row was: of this chain, or of another.
    Moved,
    /// Rows are missing in the middle.
    Missing,
    /// A row does not belong where it stands.
    Inserted,
    /// The rest of a chain is missing.
    CutTail,
    /// A row is in no chain though there were chains when it was written.
    Unchained,
    /// The chain was made anew from some row on, or goes on from an older copy.
    Rewritten,
    /// A checkpoint is not as it was signed, or missing.
    Checkpoint,
}

/// Something that is wrong, and with which row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub wrong: Wrong,
    /// In whose chain.
    pub writer: Option<String>,
    /// The number of the first bad row there.
    pub sequence: Option<i64>,
    /// Its id in the table, if it is there.
    pub id: Option<i64>,
    /// The same for people.
    pub text: String,
}

impl Finding {
    pub(super) fn of_no_row(wrong: Wrong, text: String) -> Self {
        Self { wrong, writer: None, sequence: None, id: None, text }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rows in chains.
    pub rows: u64,
    /// Chains.
    pub chains: u64,
    /// Chains of services that have not said that they end: they run, or were cut off.
    pub open: u64,
    /// Rows of before there were chains, which nothing covers.
    pub unchained: u64,
    /// Checkpoints that were looked at.
    pub checkpoints: u64,
    /// Rows behind the newest checkpoint of their chain: were they cut off, it would not show.
    pub unsigned: u64,
    /// What is wrong: of each chain the first row.
    pub findings: Vec<Finding>,
}

/// A chain as far as it was looked at.
struct Chain {
    writer: String,
    end: Head,
    end_id: i64,
    /// What is said of rows to come, the next one last.
    claims: Vec<Claim>,
    /// Up to where checkpoints have said something.
    signed: i64,
    /// The number of the newest batch, of a lane's chain.
    batch: Option<i64>,
    has_ended: bool,
    is_bad: bool,
}

/// Verifies; rows come in order, chain by chain.
pub struct Verifier {
    claims: Claims,
    /// Of lanes, by the name of their chain: the batch that was committed before anything was read.
    batches: BTreeMap<String, i64>,
    chain: Option<Chain>,
    seen: BTreeSet<String>,
    /// Writers whose rows may have been moved elsewhere.
    writers: BTreeSet<String>,
    report: Report,
}

/// How far from where it stands it is looked where a row was.
const MOVED_MAX: i64 = 10_000;

impl Verifier {
    /// Begins, with what checkpoints say and how far lanes have come.
    pub fn new(claims: Claims, batches: BTreeMap<String, i64>) -> Self {
        let (chain, seen, writers) = (None, BTreeSet::new(), BTreeSet::new());
        let checkpoints = claims.checkpoints();
        let report = Report { checkpoints, ..Report::default() };
        let mut verifier = Self { claims, batches, chain, seen, writers, report };
        verifier.report.findings = verifier.claims.take_findings();
        verifier
    }

    /// These have chains, too: a row that does not belong may be theirs.
    pub fn know(&mut self, writers: impl Iterator<Item = String>) {
        self.writers.extend(writers);
    }

    /// Takes the next row of a chain.
    pub fn row(&mut self, row: &StoredAccess) {
        let (Some(writer), Some(sequence)) = (&row.writer, row.sequence) else { return };
        if self.chain.as_ref().is_none_or(|chain| chain.writer != *writer) {
            self.begin(writer);
        }
        self.report.rows += 1;
        let Some(chain) = &mut self.chain else { return };
        if !chain.is_bad
            && let Err((wrong, sequence, text)) =
                check(chain, row, sequence, &self.writers, &self.claims)
        {
            chain.is_bad = true;
            let id = (sequence == row.sequence.unwrap_or_default()).then_some(row.id);
            let id = id.or((sequence == chain.end.sequence).then_some(chain.end_id));
            let (writer, sequence) = (Some(writer.clone()), Some(sequence));
            self.report.findings.push(Finding { wrong, writer, sequence, id, text });
        }
        chain.end = Head { sequence, hash: row.hash.as_deref().and_then(RowHash::from_bytes) };
        chain.end_id = row.id;
        chain.batch = batch_of(row);
        chain.has_ended = row.access.access_type == ENDED;
    }

    fn begin(&mut self, writer: &str) {
        self.end_chain();
        let mut claims = self.claims.of(writer);
        claims.reverse();
        let is_new = self.seen.insert(writer.to_owned());
        self.writers.insert(writer.to_owned());
        self.chain = Some(Chain {
            writer: writer.to_owned(),
            end: Head::default(),
            end_id: 0,
            claims,
            signed: 0,
            batch: None,
            has_ended: false,
            is_bad: !is_new,
        });
        if !is_new {
            let text = format!("rows of {} stand in two places", escaped(writer));
            self.report.findings.push(Finding {
                writer: Some(writer.to_owned()),
                ..Finding::of_no_row(Wrong::Moved, text)
            });
        }
    }

    /// What is in no chain: of before there were any, or written past them.
    pub fn unchained(&mut self, unchained: &Unchained) {
        self.report.unchained = unchained.rows;
        let (Some(newest), Some(first)) = (unchained.newest, unchained.first_chained) else {
            return;
        };
        if newest > first {
            let text = format!(
                "the row with the id {newest} is in no chain, and was written after the one with the id \
                 {first}, which is in one: it was inserted past the service, or taken out of a chain"
            );
            let finding = Finding::of_no_row(Wrong::Unchained, text);
            self.report.findings.push(Finding { id: Some(newest), ..finding });
        }
    }

    /// Chains whose rows were all read; the rest of what checkpoints say is missing.
    pub fn finish(mut self) -> Report {
        self.end_chain();
        for writer in self.claims.left() {
            self.begin(&writer);
        }
        self.end_chain();
        self.report
    }

    fn end_chain(&mut self) {
        let Some(chain) = self.chain.take() else { return };
        let Head { sequence: last, .. } = chain.end;
        if last > 0 {
            self.report.chains += 1;
        }
        self.report.open += u64::from(chain.writer.starts_with("service/") && !chain.has_ended);
        self.report.unsigned += u64::try_from(last - chain.signed).unwrap_or(0);
        if chain.is_bad {
            return;
        }
        let committed = self.batches.get(&chain.writer).copied();
        let cut = match (chain.claims.first(), chain.batch.zip(committed)) {
            (Some(claim), _) => Some(format!(
                "the rows from {} on are missing: {} has seen row {}",
                last + 1,
                self.claims.name(claim),
                claim.sequence
            )),
            (None, Some((batch, committed))) if batch < committed => Some(format!(
                "the rows from {} on are missing: the newest is of batch {batch}, and the lane has \
                 committed batch {committed}",
                last + 1
            )),
            _ => None,
        };
        if let Some(what) = cut {
            let text = format!("{}: {what}", escaped(&chain.writer));
            let (writer, sequence) = (Some(chain.writer), Some(last + 1));
            self.report.findings.push(Finding {
                wrong: Wrong::CutTail,
                writer,
                sequence,
                id: None,
                text,
            });
        }
    }
}

/// What is wrong with a row, with which one, and in words.
type Bad = (Wrong, i64, String);

fn check(
    chain: &mut Chain,
    row: &StoredAccess,
    sequence: i64,
    writers: &BTreeSet<String>,
    claims: &Claims,
) -> Result<(), Bad> {
    let writer = escaped(&chain.writer);
    let name = |wrong, what: String| {
        Err((wrong, sequence, format!("{writer}, row {sequence} (id {}): {what}", row.id)))
    };
    let expected = chain.end.sequence + 1;
    if sequence > expected {
        let what = match sequence - expected {
            1 => format!("{writer}: row {expected} is missing"),
            _ => format!("{writer}: the rows {expected} to {} are missing", sequence - 1),
        };
        return Err((Wrong::Missing, expected, what));
    }
    if sequence < expected {
        return name(Wrong::Inserted, "it stands behind a row that came later".to_owned());
    }
    let content = row.access.content();
    let previous = row.previous_hash.as_deref().map(RowHash::from_bytes);
    let hash = row.hash.as_deref().and_then(RowHash::from_bytes);
    let (Some(hash), Some(previous)) = (hash, previous.map_or(Some(None), |it| it.map(Some)))
    else {
        return name(Wrong::Changed, "it has no hash that this release knows".to_owned());
    };
    let hash_at = |writer: &str, sequence| hash_of(writer, sequence, previous, &content);
    if hash_at(&chain.writer, sequence) != hash {
        let near = (sequence - MOVED_MAX).max(1)..=sequence.saturating_add(MOVED_MAX);
        if let Some(own) = near.into_iter().find(|place| hash_at(&chain.writer, *place) == hash) {
            return name(Wrong::Moved, format!("it was written as row {own} of this chain"));
        }
        if let Some(other) = writers.iter().find(|other| hash_at(other, sequence) == hash) {
            let other = escaped(other);
            return name(Wrong::Moved, format!("it was written as a row of the chain {other}"));
        }
        let what = "it was changed: it is not what its hash was made of";
        return name(Wrong::Changed, what.to_owned());
    }
    if previous != chain.end.hash {
        let Head { sequence: before, .. } = chain.end;
        if before == 0 {
            let what = "it is not the first row that was written: what was before it is gone";
            return name(Wrong::Missing, what.to_owned());
        }
        let what = format!(
            "{writer}, row {before} (id {}): it is not the row after which row {sequence} (id {}) was \
             written: one of the two was inserted, or changed together with its hash",
            chain.end_id, row.id
        );
        return Err((Wrong::Inserted, before, what));
    }
    if chain.has_ended {
        return name(Wrong::Inserted, "the chain had ended before it".to_owned());
    }
    if let Some((before, batch)) = chain.batch.zip(batch_of(row))
        && batch != before + 1
    {
        return name(Wrong::Inserted, format!("batch {batch} does not follow on batch {before}"));
    }
    while let Some(claim) = chain.claims.last().filter(|claim| claim.sequence == sequence).copied()
    {
        if claim.hash != hash {
            let checkpoint = claims.name(&claim);
            let what = format!(
                "it is not the row that {checkpoint} has seen: from some row on, at the latest this one, \
                 the chain was made anew, or an older copy of the log was put back"
            );
            return name(Wrong::Rewritten, what);
        }
        chain.claims.pop();
        chain.signed = sequence;
    }
    Ok(())
}

/// The number of the batch that a lane's row is about.
fn batch_of(row: &StoredAccess) -> Option<i64> {
    if !row.writer.as_deref()?.starts_with("lane/") {
        return None;
    }
    let said = row.access.record_id.as_deref()?.split_once(" batch ")?.1;
    said.split(';').next()?.trim().parse().ok()
}

fn escaped(text: &str) -> String {
    crate::telemetry::escaped(text)
}
