//! What checkpoints say of chains, read from where they lie, with all that is wrong with the checkpoints
//! themselves. Believes none that is not signed by a key that was given.

use std::collections::BTreeMap;

use actors::hash_chain::RowHash;

use super::checkpoint::{CheckpointHash, Signed};
use super::verify::{Finding, Wrong};
use crate::signature::PublicKey;

/// What checkpoints say; some fifty bytes for each end of a chain that one names.
#[derive(Default)]
pub struct Claims {
    keys: Vec<PublicKey>,
    by_writer: BTreeMap<String, Vec<Claim>>,
    signers: Vec<String>,
    /// Of the source that is being read: each signer's newest checkpoint.
    newest: BTreeMap<String, (i64, CheckpointHash)>,
    source: String,
    line: u64,
    checkpoints: u64,
    findings: Vec<Finding>,
}

/// A row that a signer has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) sequence: i64,
    pub(super) hash: RowHash,
    number: i64,
    signer: usize,
}

impl Claims {
    /// None yet; those count that one of `keys` has signed.
    pub fn new(keys: Vec<PublicKey>) -> Self {
        Self { keys, ..Self::default() }
    }

    /// From now on lines come from `source`.
    pub fn begin(&mut self, source: &str) {
        source.clone_into(&mut self.source);
        self.newest.clear();
        self.line = 0;
    }

    /// How many checkpoints were good, each counted wherever it lies.
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints
    }

    /// Takes the next line.
    pub fn add(&mut self, line: &[u8]) {
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return;
        }
        if let Err(problem) = self.check(line) {
            let text = format!("{}, line {}: {problem}", self.source, self.line);
            self.findings.push(Finding::of_no_row(Wrong::Checkpoint, text));
        }
    }

    fn check(&mut self, line: &[u8]) -> Result<(), String> {
        let signed = Signed::of_line(line).map_err(|error| error.to_string())?;
        let checkpoint = &signed.checkpoint;
        let signer = crate::telemetry::escaped(&checkpoint.signer);
        let key = self.keys.iter().find(|key| key.id() == checkpoint.key);
        let Some(key) = key else {
            let key = crate::telemetry::escaped(&checkpoint.key);
            return Err(format!("signed by the key {key}, which was not given"));
        };
        if !signed.is_by(key) {
            return Err(format!("the signature is bad: what {signer} has signed was changed"));
        }
        let (number, hash) = (checkpoint.number, checkpoint.hash());
        let newest = self.newest.get(&checkpoint.signer).copied();
        // Whoever does not learn that a checkpoint is safe writes it again.
        if newest == Some((number, hash)) {
            return Ok(());
        }
        let (before, previous) = newest.map_or((0, None), |(number, hash)| (number, Some(hash)));
        self.newest.insert(checkpoint.signer.clone(), (number, hash));
        self.checkpoints += 1;
        self.take(&signed);
        if number == before + 1 && checkpoint.previous == previous {
            return Ok(());
        }
        Err(match number - before {
            ..=0 => format!("checkpoint {number} of {signer} comes after its {before}"),
            1 => format!("checkpoint {number} of {signer} does not follow on the one before it"),
            _ => format!("checkpoints {} to {} of {signer} are missing", before + 1, number - 1),
        })
    }

    fn take(&mut self, signed: &Signed) {
        let checkpoint = &signed.checkpoint;
        let known = self.signers.iter().rposition(|known| *known == checkpoint.signer);
        let signer = known.unwrap_or_else(|| {
            self.signers.push(checkpoint.signer.clone());
            self.signers.len() - 1
        });
        for (writer, head) in &checkpoint.chains {
            let Some(hash) = head.hash else { continue };
            let claim = Claim { sequence: head.sequence, hash, number: checkpoint.number, signer };
            self.by_writer.entry(writer.clone()).or_default().push(claim);
        }
    }

    /// What is said of a writer's chain, by number; nobody is told twice.
    pub(super) fn of(&mut self, writer: &str) -> Vec<Claim> {
        let mut claims = self.by_writer.remove(writer).unwrap_or_default();
        claims.sort_by_key(|claim| (claim.sequence, claim.hash));
        claims.dedup_by_key(|claim| (claim.sequence, claim.hash));
        claims
    }

    /// Writers whose chains nobody has asked about.
    pub(super) fn left(&self) -> Vec<String> {
        self.by_writer.keys().cloned().collect()
    }

    /// Which checkpoint it was.
    pub(super) fn name(&self, claim: &Claim) -> String {
        let signer = self.signers.get(claim.signer).map_or("", String::as_str);
        format!("checkpoint {} of {}", claim.number, crate::telemetry::escaped(signer))
    }

    /// What is wrong with the checkpoints.
    pub(super) fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }
}
