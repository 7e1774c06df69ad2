//! Gaps of the log, as the real store writes them down: what retention took before it was read, and what went
//! with a topic that was made anew. Nothing is skipped without one.

use actors::lane::{FenceToken, Lane, Positions, Source};

use super::MemoryStore;
use super::tables::Tables;

/// A stretch of the log that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub lane: Lane,
    pub source: Source,
    /// The first offset that was not read, and where reading goes on.
    pub from: i64,
    pub to: i64,
}

impl MemoryStore {
    /// Moves a lane up to where its log begins, with a new token, if `token` still holds.
    pub(super) fn skip_gap(&self, lane: Lane, token: FenceToken, starts: Positions) -> bool {
        let count = self.routing().partition_count;
        let mut tables = self.tables.lock().unwrap();
        let row = tables.lanes.get_mut(&lane).unwrap();
        if row.token != Some(token) {
            return false;
        }
        let stored = row.progress.positions;
        if stored.by_user < starts.by_user {
            row.progress.unsettle_marks(count);
        }
        row.token = Some(self.chance.token());
        for source in Source::ALL {
            let to = *stored.of(source).max(starts.of(source));
            tables.skip(lane, source, to);
        }
        true
    }

    /// What was skipped so far.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        self.look(|tables| tables.gaps.clone())
    }
}

impl Tables {
    /// A lane reads on elsewhere.
    pub(super) fn skip(&mut self, lane: Lane, source: Source, to: i64) {
        let position = self.lanes.get_mut(&lane).unwrap().progress.positions.of_mut(source);
        let from = std::mem::replace(position, to);
        if from != to {
            self.gaps.push(Gap { lane, source, from, to });
        }
    }
}
