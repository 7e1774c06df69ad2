//! Housekeeping: old records and messages go, once nothing needs them any more. It never hurries and
//! never holds up a lane.

use std::sync::Arc;
use std::time::Duration;

use actors::restore::RestoreError;
use neuros::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::now;
use crate::retention::{Gone, Retention};
use crate::settings::Store;
use crate::store::SqlStore;

/// How often, unless something is kept for a short time; the first time after a while, when starting
/// is over.
const EVERY: Duration = Duration::from_hours(1);
const FIRST: Duration = Duration::from_mins(1);
/// What is kept for a short time is looked after so often while it is kept, so that little of it is
/// there for longer.
const LOOKS: u32 = 10;
/// Messages that go in one transaction.
const STEP: i64 = 10_000;
/// What TimescaleDB drops at once; what is to go sooner is dropped by hand.
const CHUNK: Duration = Duration::from_hours(24);

/// What is kept in order, by which rules.
pub(super) struct House {
    store: Arc<SqlStore>,
    retention: Retention,
    rules: Store,
}

impl House {
    pub(super) fn new(store: Arc<SqlStore>, retention: Retention, rules: Store) -> Self {
        Self { store, retention, rules }
    }

    /// Keeps house until `stop`.
    pub(super) async fn keep(self, stop: CancellationToken) {
        let every = every(&self.rules);
        let mut pause = FIRST.min(every);
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = every,
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.take_turn(&stop).await {
                tracing::warn!(%error, "housekeeping is put off");
            }
        }
    }

    /// Of all processes one does it.
    async fn take_turn(&self, stop: &CancellationToken) -> Result<(), RestoreError> {
        let Some(turn) = self.store.take_turn().await? else { return Ok(()) };
        let tidied = self.tidy(now(), stop).await;
        turn.end().await?;
        tidied
    }

    async fn tidy(&self, now: Timestamp, stop: &CancellationToken) -> Result<(), RestoreError> {
        let (store, rules) = (&self.store, &self.rules);
        let compressed = rules.compress_after;
        store.compress_after((!compressed.is_zero()).then_some(compressed)).await?;
        if !rules.retain.is_zero() {
            let by_chunk = rules.retain >= CHUNK;
            let horizon = ago(now, rules.retain);
            let gone = self.retention.drop_before(horizon, by_chunk, stop).await?;
            let Gone { bases, records, chunks, unheld } = gone;
            tracing::info!(bases, records, chunks, "old records are gone");
            if unheld > 0 {
                tracing::warn!(
                    users = unheld,
                    "old records stay: their users have no base, and none can be made"
                );
            }
        }
        let outbox = ago(now, rules.keep_outbox);
        while !stop.is_cancelled() && store.prune_outbox(outbox, STEP).await? > 0 {}
        Ok(())
    }
}

fn every(rules: &Store) -> Duration {
    let kept = [rules.retain, rules.keep_outbox].into_iter().filter(|kept| !kept.is_zero());
    kept.fold(EVERY, |every, kept| every.min(kept / LOOKS))
}

fn ago(now: Timestamp, age: Duration) -> Timestamp {
    let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn what_is_kept_for_minutes_is_looked_after_more_often_than_every_hour() {
        let mut rules = Settings::default().store;
        assert_eq!(every(&rules), EVERY, "nothing is dropped but messages of a week ago");
        rules.retain = MINUTE * 10;
        assert_eq!(every(&rules), MINUTE);
        rules.keep_outbox = MINUTE * 5;
        assert_eq!(every(&rules), MINUTE / 2);
        (rules.retain, rules.keep_outbox) = (Duration::from_hours(24), Duration::from_hours(24));
        assert_eq!(every(&rules), EVERY);
    }
}
