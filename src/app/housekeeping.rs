//! Housekeeping: old records and messages go, once nothing needs them any more. It never hurries and
//! never holds up a lane.

use std::sync::Arc;
use std::time::Duration;

use actors::store::StoreError;
use neuros::ENGINE_VERSION;
use neuros::time::{Micros, Timestamp};
use tokio_util::sync::CancellationToken;

use super::now;
use crate::settings::Store;
use crate::store::{Retention, SqlStore};

/// How often; the first time after a while, when starting is over.
const EVERY: Duration = Duration::from_hours(1);
const FIRST: Duration = Duration::from_mins(1);
/// Rows that go in one transaction.
const STEP: i64 = 10_000;
/// States are kept as bases this long before the records that led to them may go, so that whoever
/// drops records, TimescaleDB or we, finds the bases there.
const AHEAD: Micros = Micros::from_minutes(12 * 60);

/// Keeps house until `stop`.
pub(super) async fn keep_house(store: Arc<SqlStore>, rules: Store, stop: CancellationToken) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = EVERY,
            () = stop.cancelled() => return,
        }
        if let Err(error) = tidy(&store, &rules, now(), &stop).await {
            tracing::warn!(%error, "housekeeping is put off");
        }
    }
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
        let bases = store.keep_bases(horizon + AHEAD, ENGINE_VERSION.cast_signed()).await?;
        let mut dropped = 0;
        while retention == Retention::ByHand && !stop.is_cancelled() {
            let step = store.drop_records_before(horizon, STEP).await?;
            dropped += step;
            if step == 0 {
                break;
            }
        }
        tracing::info!(bases, dropped, "old records are gone");
    }
    while !stop.is_cancelled() && store.prune_outbox(ago(rules.keep_outbox), STEP).await? > 0 {}
    Ok(())
}
