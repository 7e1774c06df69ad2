//! Ends of subscriptions that the log of accesses has not taken: they are kept, and tried again. Beyond so many only
//! their number is.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;

use super::access;
use super::archive::Opened;
use crate::store::{Access, Administration as _};

/// Rows that are kept, at most: of ten sockets that follow a thousand users each.
const ROWS_MAX: usize = 10_000;

/// What a row of an end is.
pub(super) const ENDED: &str = "SUBSCRIPTION ENDED";

/// What is not written yet.
#[derive(Default)]
pub(super) struct Ended(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    rows: Vec<Access>,
    more: Option<More>,
}

/// Ends that have no row of their own any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct More {
    ends: i64,
    /// Messages that were sent until then.
    messages: i64,
}

impl Ended {
    /// Keeps rows for later.
    fn keep(&self, rows: Vec<Access>) {
        let mut kept = self.lock();
        for row in rows {
            if kept.rows.len() < ROWS_MAX {
                kept.rows.push(row);
            } else {
                let More { ends, messages } = kept.more.unwrap_or(More { ends: 0, messages: 0 });
                let messages = messages.saturating_add(row.records);
                kept.more = Some(More { ends: ends + 1, messages });
            }
        }
    }

    /// All that is kept, with a row for what has none.
    fn take(&self) -> Vec<Access> {
        let Kept { mut rows, more } = std::mem::take(&mut *self.lock());
        rows.extend(more.map(|More { ends, messages }| Access {
            record_id: Some(format!("{ends} more")),
            records: messages,
            ..access("http", ENDED, super::FOLLOWED)
        }));
        rows
    }

    /// Whether all is written.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().rows.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    /// Writes ends down; what is not taken is kept.
    pub(super) async fn log_ends(&self, rows: Vec<Access>) {
        // Together: they are written by one statement.
        let written = join_all(rows.iter().map(|row| self.store.log_access(row))).await;
        let mut problem = None;
        let unwritten = rows.into_iter().zip(written).filter_map(|(row, written)| {
            problem = Some(written.err()?);
            Some(row)
        });
        self.ended.keep(unwritten.collect());
        if let Some(problem) = problem {
            let why = "ends of subscriptions are not in phi_access_log yet";
            tracing::warn!(%problem, "{why}");
        }
    }

    /// Tries again what was not taken.
    pub(super) async fn log_ends_again(&self) {
        self.log_ends(self.ended.take()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<Access> {
        let row = Access { records: 3, ..access("http/token ops", ENDED, "t") };
        vec![row; count]
    }

    #[test]
    fn what_is_kept_is_bounded_and_beyond_that_counted() {
        let ended = Ended::default();
        assert!(ended.is_empty() && ended.take().is_empty());
        ended.keep(rows(ROWS_MAX - 1));
        ended.keep(rows(3));
        let taken = ended.take();
        assert_eq!(taken.len(), ROWS_MAX + 1);
        let more = taken.last().expect("a row");
        assert_eq!((more.record_id.as_deref(), more.records), (Some("2 more"), 6));
        assert!(ended.is_empty(), "each is tried by one");
    }
}
