//! How much of what a data key may seal is used up: of all keys the most. It says so and rotates nothing by itself.

use std::sync::Arc;
use std::time::Duration;

use actors::lane::UserNumber;
use actors::store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::seal::key_ring::SERVICE;
use crate::store::SqlStore;
use crate::watch::Watch;

/// Seals of one key with random nonces of 96 bits, at most: a quarter of what NIST SP 800-38D allows.
const SEALS_MAX: i64 = 1 << 30;

/// From so much on an operator is told.
const ADVISED: f64 = 0.5;

const EVERY: Duration = Duration::from_hours(1);

/// Users that are looked at in one question.
const PAGE: i64 = 10_000;

/// For so many times as long as a question took nothing is asked: whoever starts with a million users has lanes to bring
/// back, and nothing here is urgent.
const REST: u32 = 9;

/// Looks at all keys from time to time.
pub(super) struct KeyUsage {
    pub(super) store: Arc<SqlStore>,
    pub(super) key_store: Arc<SqlStore>,
    pub(super) watch: Arc<Watch>,
}

impl KeyUsage {
    pub(super) async fn watch(self, stop: CancellationToken) {
        loop {
            let largest = tokio::select! {
                largest = self.largest() => largest,
                () = stop.cancelled() => return,
            };
            match largest {
                Ok(largest) => {
                    #[expect(clippy::cast_precision_loss, reason = "a ratio for a dashboard")]
                    let ratio = largest as f64 / SEALS_MAX as f64;
                    self.watch.key_usage(ratio);
                    if ratio >= ADVISED {
                        tracing::warn!(
                            ratio,
                            "a data key has sealed much: `biometric-bridge keys rotate --all --older-than \
                             30d`, and `--service` too"
                        );
                    }
                }
                Err(error) => tracing::debug!(%error, "the use of keys is looked at later"),
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// How much the key has sealed, at most, that has sealed most.
    async fn largest(&self) -> Result<i64, StoreError> {
        let before = self.key_store.sealed_before(UserNumber(SERVICE.0 - 1), SERVICE).await?;
        let before = before.get(&SERVICE).copied().unwrap_or(0);
        let mut largest = self.store.sealed_by_service().await? - before;
        let mut after = UserNumber(0);
        loop {
            let began = Instant::now();
            let page = self.store.sealed_behind(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(largest) };
            // Whoever has sealed less with all their keys has not sealed more with one.
            if page.iter().any(|used| used.sealed > largest) {
                let before = self.key_store.sealed_before(after, last.user).await?;
                for used in &page {
                    let before = before.get(&used.user).copied().unwrap_or(0);
                    largest = largest.max(used.sealed - before);
                }
            }
            after = last.user;
            tokio::time::sleep(began.elapsed() * REST).await;
        }
    }
}
