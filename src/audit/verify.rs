//! Whether the log of accesses is as it was written: every chain row by row, and each as the checkpoints
//! say. Holds one row of a chain at a time, and writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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

/// What helps to say what is wrong with a row.
struct Known<'v> {
    writers: &'v BTreeSet<String>,
    claims: &'v Claims,
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
        let known = Known { writers: &self.writers, claims: &self.claims };
        if !chain.is_bad
            && let Err(Bad(wrong, sequence, text)) = chain.check(row, &known)
        {
            chain.is_bad = true;
            let there = [(row.sequence, row.id), (Some(chain.end.sequence), chain.end_id)];
            let id = there.into_iter().find(|(number, _)| *number == Some(sequence));
            let (writer, sequence) = (Some(writer.clone()), Some(sequence));
            let id = id.map(|(_, id)| id);
            self.report.findings.push(Finding { wrong, writer, sequence, id, text });
        }
        chain.end = Head { sequence, hash: hash_in(row) };
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
        self.report.unsigned += u64::try_from(last.saturating_sub(chain.signed)).unwrap_or(0);
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

/// What is wrong, with the row of which number, and in words.
struct Bad(Wrong, i64, String);

impl Chain {
    /// Whether the next row is the one that was written there.
    fn check(&mut self, row: &StoredAccess, known: &Known<'_>) -> Result<(), Bad> {
        self.check_number(row)?;
        let hash = self.check_hash(row, known)?;
        self.check_predecessor(row)?;
        self.check_claims(row, hash, known)
    }

    fn bad(&self, row: &StoredAccess, wrong: Wrong, what: impl fmt::Display) -> Bad {
        let (writer, sequence) = (escaped(&self.writer), row.sequence.unwrap_or_default());
        Bad(wrong, sequence, format!("{writer}, row {sequence} (id {}): {what}", row.id))
    }

    fn check_number(&self, row: &StoredAccess) -> Result<(), Bad> {
        let (expected, sequence) = (self.end.sequence + 1, row.sequence.unwrap_or_default());
        if sequence < expected {
            return Err(self.bad(row, Wrong::Inserted, "it stands behind a row that came later"));
        }
        if sequence == expected {
            return Ok(());
        }
        let writer = escaped(&self.writer);
        let what = match sequence - expected {
            1 => format!("{writer}: row {expected} is missing"),
            _ => format!("{writer}: the rows {expected} to {} are missing", sequence - 1),
        };
        Err(Bad(Wrong::Missing, expected, what))
    }

    /// The row's hash, which must be that of what it says and where it stands.
    fn check_hash(&self, row: &StoredAccess, known: &Known<'_>) -> Result<RowHash, Bad> {
        let sequence = row.sequence.unwrap_or_default();
        let (Some(hash), Ok(previous)) = (hash_in(row), previous_in(row)) else {
            return Err(self.bad(row, Wrong::Changed, "it has no hash that this release knows"));
        };
        let content = row.access.content();
        let is_of = |writer: &str, place: i64| hash_of(writer, place, previous, &content) == hash;
        if is_of(&self.writer, sequence) {
            return Ok(hash);
        }
        let mut near = (sequence - MOVED_MAX).max(1)..=sequence.saturating_add(MOVED_MAX);
        if let Some(own) = near.find(|place| is_of(&self.writer, *place)) {
            let what = format!("it was written as row {own} of this chain");
            return Err(self.bad(row, Wrong::Moved, what));
        }
        if let Some(other) = known.writers.iter().find(|other| is_of(other, sequence)) {
            let what = format!("it was written as a row of the chain {}", escaped(other));
            return Err(self.bad(row, Wrong::Moved, what));
        }
        let what = "it was changed: it is not what its hash was made of";
        Err(self.bad(row, Wrong::Changed, what))
    }

    fn check_predecessor(&self, row: &StoredAccess) -> Result<(), Bad> {
        let Head { sequence: before, hash } = self.end;
        if previous_in(row) != Ok(hash) {
            if before == 0 {
                let what = "it is not the first row that was written: what was before it is gone";
                return Err(self.bad(row, Wrong::Missing, what));
            }
            let what = format!(
                "{}, row {before} (id {}): it is not the row after which row {} (id {}) was written: one \
                 of the two was inserted, or changed together with its hash",
                escaped(&self.writer),
                self.end_id,
                before + 1,
                row.id
            );
            return Err(Bad(Wrong::Inserted, before, what));
        }
        if self.has_ended {
            return Err(self.bad(row, Wrong::Inserted, "the chain had ended before it"));
        }
        match self.batch.zip(batch_of(row)) {
            Some((before, batch)) if before.checked_add(1) != Some(batch) => {
                let what = format!("batch {batch} does not follow on batch {before}");
                Err(self.bad(row, Wrong::Inserted, what))
            }
            _ => Ok(()),
        }
    }

    fn check_claims(
        &mut self,
        row: &StoredAccess,
        hash: RowHash,
        known: &Known<'_>,
    ) -> Result<(), Bad> {
        while let Some(claim) = self.claims.pop_if(|claim| Some(claim.sequence) == row.sequence) {
            if claim.hash != hash {
                let what = format!(
                    "it is not the row that {} has seen: from some row on, at the latest this one, the \
                     chain was made anew, or an older copy of the log was put back",
                    known.claims.name(&claim)
                );
                return Err(self.bad(row, Wrong::Rewritten, what));
            }
            self.signed = claim.sequence;
        }
        Ok(())
    }
}

fn hash_in(row: &StoredAccess) -> Option<RowHash> {
    row.hash.as_deref().and_then(RowHash::from_bytes)
}

/// The hash of the row before it, if it names one; an error when that is none.
fn previous_in(row: &StoredAccess) -> Result<Option<RowHash>, ()> {
    row.previous_hash.as_deref().map(|hash| RowHash::from_bytes(hash).ok_or(())).transpose()
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
