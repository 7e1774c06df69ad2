//! Refusals: which are written down one by one, and of whom so many that they are written down as a number.
//! Nobody fills the log with what is refused, nor keeps what others are refused out of it. Never decides who is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::limits::Counted;

/// Rows of their own a minute for each, at most.
const WRITTEN_A_MINUTE: u32 = 60;

/// Who is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Whom {
    /// Whoever is not known: all of them are one, for anybody can be many.
    Unknown,
    /// Somebody who is, by the name in the log of accesses.
    Known(String),
}

/// What was refused by this process and is not written down yet.
pub(super) struct Refusals {
    rows: Counted<Whom>,
    unwritten: Mutex<BTreeMap<Whom, i64>>,
}

impl Refusals {
    pub(super) fn new() -> Arc<Self> {
        let rows = Counted::a_minute(WRITTEN_A_MINUTE);
        Arc::new(Self { rows, unwritten: Mutex::default() })
    }

    /// One more; `None` when it has no row of its own.
    pub(super) fn one(self: &Arc<Self>, whom: Whom) -> Option<Unwritten> {
        let has_row = self.rows.admit(&whom).is_ok();
        let one = Unwritten { whom, count: 1, refusals: Arc::clone(self) };
        has_row.then_some(one)
    }

    /// What has no row yet, each to be written down as a number.
    pub(super) fn more(self: &Arc<Self>) -> Vec<Unwritten> {
        let more = std::mem::take(&mut *self.lock());
        let unwritten = |(whom, count)| Unwritten { whom, count, refusals: Arc::clone(self) };
        more.into_iter().map(unwritten).collect()
    }

    /// Forgets whoever was not refused for a while.
    pub(super) fn sweep(&self) {
        self.rows.sweep();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Whom, i64>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refusals that are being written down. What is dropped unwritten, for whatever reason, is written later.
pub(super) struct Unwritten {
    whom: Whom,
    count: i64,
    refusals: Arc<Refusals>,
}

impl Unwritten {
    pub(super) fn whom(&self) -> &Whom {
        &self.whom
    }

    pub(super) fn count(&self) -> i64 {
        self.count
    }

    /// They are in the log.
    pub(super) fn written(mut self) {
        self.count = 0;
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        if self.count > 0 {
            *self.refusals.lock().entry(self.whom.clone()).or_default() += self.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> Whom {
        Whom::Known(name.to_owned())
    }

    fn more(refusals: &Arc<Refusals>) -> Vec<(Whom, i64)> {
        let more = refusals.more();
        more.into_iter()
            .map(|unwritten| {
                let found = (unwritten.whom().clone(), unwritten.count());
                unwritten.written();
                found
            })
            .collect()
    }

    #[test]
    fn a_flood_of_strangers_keeps_no_refusal_of_somebody_known_out_of_the_log() {
        let refusals = Refusals::new();
        let rows = |whom: Whom, count: i64| -> i64 {
            let written = (0..count).filter_map(|_| refusals.one(whom.clone()));
            written.map(Unwritten::written).map(|()| 1).sum()
        };
        let strangers = rows(Whom::Unknown, 1_000);
        assert!((60..70).contains(&strangers), "{strangers}");
        let greedy = rows(known("greedy"), 500);
        assert!((60..70).contains(&greedy), "{greedy}");
        assert_eq!(rows(known("other"), 3), 3);
        let rest = [(Whom::Unknown, 1_000 - strangers), (known("greedy"), 500 - greedy)];
        assert_eq!(more(&refusals), rest, "the others are written down as a number");
        assert_eq!(more(&refusals), [], "and once");
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let refusals = Refusals::new();
        drop(refusals.one(known("a")));
        drop(refusals.more());
        drop(refusals.one(known("a")));
        assert_eq!(more(&refusals), [(known("a"), 2)]);
    }
}
