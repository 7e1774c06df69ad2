//! The locks on the rows of lanes, as PostgreSQL has them: a queue for each, in which a cursor lets
//! batches pass and a claim lets nobody pass. It knows nothing of what is done under a lock.

use std::collections::BTreeMap;

use actors::lane::Lane;

/// What a transaction wants a lane's row for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Batch,
    Claim,
    Cursor,
}

impl Use {
    fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Cursor, Self::Claim) | (Self::Claim, _) => true,
            (Self::Cursor, _) => false,
            (Self::Batch, other) => other != Self::Cursor,
        }
    }
}

/// A transaction that has, or waits for, a lane's row.
struct Transaction {
    number: u64,
    process: usize,
    of: Use,
    ended: bool,
}

#[derive(Default)]
pub(super) struct Locks {
    count: u64,
    queues: BTreeMap<Lane, Vec<Transaction>>,
}

impl Locks {
    pub(super) fn begin(&mut self, lane: Lane, process: usize, of: Use) -> u64 {
        self.count += 1;
        let number = self.count;
        self.queues.entry(lane).or_default().push(Transaction {
            number,
            process,
            of,
            ended: false,
        });
        number
    }

    pub(super) fn end(&mut self, lane: Lane, number: u64) {
        self.queues.entry(lane).or_default().retain(|known| known.number != number);
    }

    fn place(&self, lane: Lane, number: u64) -> Option<(&[Transaction], &Transaction)> {
        let queue = self.queues.get(&lane)?;
        let place = queue.iter().position(|known| known.number == number)?;
        Some((&queue[..place], &queue[place]))
    }

    /// Whether the transaction has the row.
    pub(super) fn has(&self, lane: Lane, number: u64) -> bool {
        self.place(lane, number)
            .is_some_and(|(before, own)| !before.iter().any(|other| own.of.excludes(other.of)))
    }

    /// Whether somebody has ended the transaction's backend.
    pub(super) fn is_ended(&self, lane: Lane, number: u64) -> bool {
        self.place(lane, number).is_none_or(|(_, own)| own.ended)
    }

    /// Ends those who have the row that this transaction waits for; says how many.
    pub(super) fn end_blockers(&mut self, lane: Lane, number: u64) -> usize {
        let Some((before, own)) = self.place(lane, number) else { return 0 };
        let blocking: Vec<u64> = before
            .iter()
            .filter(|other| own.of.excludes(other.of) && !other.ended)
            .map(|other| other.number)
            .filter(|other| self.has(lane, *other))
            .collect();
        let queue = self.queues.entry(lane).or_default();
        for known in queue.iter_mut().filter(|known| blocking.contains(&known.number)) {
            known.ended = true;
        }
        blocking.len()
    }

    /// Ends the transactions of a process whose connections broke, where `chosen` says so.
    pub(super) fn end_of(&mut self, process: usize, mut chosen: impl FnMut() -> bool) {
        for queue in self.queues.values_mut() {
            for known in queue.iter_mut().filter(|known| known.process == process) {
                known.ended |= chosen();
            }
        }
    }
}
