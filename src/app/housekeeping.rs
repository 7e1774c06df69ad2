//! Housekeeping: old records and messages go, once nothing needs them any more. It never hurries and
//! never holds up a lane.

use std::sync::Arc;
use std::time::Duration;

use actors::store::StoreError;
use neuros::ENGINE_VERSION;
use neuros::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::now;
use crate::settings::Store;
use crate::store::{Retention, SqlStore};

/// How often, unless something is kept for a short time; the first time after a while, when starting
/// is over.
const EVERY: Duration = Duration::from_hours(1);
const FIRST: Duration = Duration::from_mins(1);
/// What is kept for a short time is looked after so often while it is kept, so that little of it is
/// there for longer.
const LOOKS: u32 = 10;
/// Rows that go in one transaction.
const STEP: i64 = 10_000;
/// States are kept as bases this long before the records that led to them may go, so that whoever
/// drops records, TimescaleDB or we, finds the bases there. Half of the time that records are kept, if
/// that is less: the checkpoint of somebody whose events come is always a little behind them.
const AHEAD: Duration = Duration::from_hours(12);

/// Keeps house until `stop`.
pub(super) async fn keep_house(store: Arc<SqlStore>, rules: Store, stop: CancellationToken) {
    let every = every(&rules);
    let mut pause = FIRST.min(every);
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = every,
            () = stop.cancelled() => return,
        }
        if let Err(error) = tidy(&store, &rules, now(), &stop).await {
            tracing::warn!(%error, "housekeeping is put off");
        }
    }
}

fn every(rules: &Store) -> Duration {
    let kept = [rules.retain, rules.keep_outbox].into_iter().filter(|kept| !kept.is_zero());
    kept.fold(EVERY, |every, kept| every.min(kept / LOOKS))
}

fn ahead(retain: Duration) -> Duration {
    AHEAD.min(retain / 2)
}

async fn tidy(
    store: &SqlStore,
    rules: &Store,
    now: Timestamp,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let ago = |age: Duration| {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(now.as_micros().saturating_sub(age))
    };
    let after = |age: Duration| (!age.is_zero()).then_some(age);
    let retention = store.apply_retention(after(rules.compress_after), after(rules.retain)).await?;
    if !rules.retain.is_zero() {
        let horizon = ago(rules.retain);
        let covered = ago(rules.retain - ahead(rules.retain));
        let bases = store.keep_bases(covered, ENGINE_VERSION.cast_signed()).await?;
        let (mut dropped, mut from) = (0, Timestamp::from_micros(0));
        while retention == Retention::ByHand && !stop.is_cancelled() {
            let step = store.drop_records(from, horizon, STEP).await?;
            dropped += step.records;
            if step.records == 0 {
                break;
            }
            from = step.newest;
        }
        while !stop.is_cancelled() && store.drop_bases_before(horizon, STEP).await? > 0 {}
        tracing::info!(bases, dropped, "old records are gone");
    }
    while !stop.is_cancelled() && store.prune_outbox(ago(rules.keep_outbox), STEP).await? > 0 {}
    Ok(())
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

    #[test]
    fn a_base_is_made_before_its_records_go_and_after_their_checkpoint_has_followed() {
        assert_eq!(ahead(MINUTE * 10), MINUTE * 5);
        assert_eq!(ahead(Duration::from_hours(24 * 30)), AHEAD);
    }
}
