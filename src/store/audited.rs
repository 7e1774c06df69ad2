//! What this process has added to the log of accesses: the ends of the chains, for whoever signs them, and
//! counts. Never asks the database.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use actors::hash_chain::Head;
use tokio::sync::Notify;

/// Rows after which whoever signs does not wait any longer.
const ROWS_MAX: u64 = 1_000;

/// What was added.
#[derive(Default)]
pub struct Audited {
    changed: Mutex<Changed>,
    rows: AtomicU64,
    failures: AtomicU64,
    many: Notify,
}

#[derive(Default)]
struct Changed {
    heads: BTreeMap<String, Head>,
    /// Rows since the heads were taken.
    rows: u64,
}

impl Audited {
    /// So many rows were committed, up to there.
    pub(super) fn note(&self, writer: &str, head: Head, rows: usize) {
        let rows = rows as u64;
        self.rows.fetch_add(rows, Ordering::Relaxed);
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = changed.rows;
        changed.rows += rows;
        if before < ROWS_MAX && changed.rows >= ROWS_MAX {
            self.many.notify_one();
        }
        put(&mut changed.heads, writer, head);
    }

    /// A chain was found to end there: its newest row may be one of which nobody has told us.
    pub fn found(&self, writer: &str, head: Head) {
        if head.hash.is_some() {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            put(&mut changed.heads, writer, head);
        }
    }

    /// A row could not be written.
    pub(super) fn note_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The ends that have changed since the last time, and takes them for told.
    pub fn take(&self) -> BTreeMap<String, Head> {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *changed).heads
    }

    /// Waits until so many rows have come since the last time that they are worth a signature of their own.
    pub async fn many(&self) {
        self.many.notified().await;
    }

    /// Rows committed by this process, and rows that it could not write.
    pub fn counts(&self) -> (u64, u64) {
        (self.rows.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}

fn put(heads: &mut BTreeMap<String, Head>, writer: &str, head: Head) {
    match heads.get_mut(writer) {
        Some(known) => *known = head,
        None => _ = heads.insert(writer.to_owned(), head),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn head(sequence: i64) -> Head {
        let content = crate::store::Access {
            user_id: None,
            accessor_id: String::new(),
            access_type: String::new(),
            table_name: String::new(),
            record_id: None,
            records: sequence,
            time: neuros::time::Timestamp::from_micros(0),
        };
        let before = Head { sequence: sequence - 1, hash: None };
        before.follow("w", &content.content()).head()
    }

    #[test]
    fn each_end_is_told_once_and_the_newest_counts() {
        let audited = Audited::default();
        audited.note("lane/0", head(1), 1);
        audited.note("lane/0", head(2), 1);
        audited.found("lane/1", head(7));
        audited.found("lane/2", Head::default());
        let told = audited.take();
        assert_eq!(told, [("lane/0".to_owned(), head(2)), ("lane/1".to_owned(), head(7))].into());
        assert!(audited.take().is_empty());
        assert_eq!(audited.counts(), (2, 0));
    }

    #[test]
    fn a_thousand_rows_are_told_of_and_one_less_is_not() {
        let audited = Audited::default();
        for row in 1..ROWS_MAX {
            audited.note("lane/0", head(i64::try_from(row).expect("few")), 1);
        }
        assert!(audited.many().now_or_never().is_none());
        audited.note("lane/0", head(1_000), 1);
        assert!(audited.many().now_or_never().is_some());
    }
}
