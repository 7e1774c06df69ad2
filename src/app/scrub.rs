//! The scrub: one user after the other, slowly and for ever, has their checkpoint compared with what their
//! stored records make of them. It changes nothing; a difference is an alarm.

use std::sync::Arc;
use std::time::Duration;

use actors::lane::{Lane, UserNumber};
use actors::restore::{RestoreError, Restorer};
use actors::seal::{KeyRing, Seal};
use actors::store::{Store as _, StoredUser};
use tokio_util::sync::CancellationToken;

use crate::store::{Administration as _, SqlStore};
use crate::watch::Watch;

/// A user with more records than this after their base is passed over: the database has other work.
const RECORDS_MAX: i64 = 10_000;

/// What the scrub needs.
pub(super) struct Scrub {
    store: Arc<SqlStore>,
    keys: Arc<dyn KeyRing>,
    restorer: Restorer,
    watch: Arc<Watch>,
}

impl Scrub {
    pub(super) fn new(
        store: Arc<SqlStore>,
        keys: Arc<dyn KeyRing>,
        seal: Arc<dyn Seal>,
        watch: Arc<Watch>,
    ) -> Self {
        let restorer = Restorer::new(Arc::clone(&store) as _, seal);
        Self { store, keys, restorer, watch }
    }

    /// Looks at one user each time `every` has passed, until `stop`.
    pub(super) async fn run(self, every: Duration, stop: CancellationToken) {
        let mut after = self.somewhere().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.cancelled() => return,
            }
            // A store that is away is told about by others.
            let Ok(users) = self.store.users_after(after, 1).await else { continue };
            let Some(stored) = users.into_iter().next() else {
                after = UserNumber(i64::MIN);
                continue;
            };
            after = stored.user;
            if let Err(error) = self.look_at(&stored).await {
                tracing::warn!(user = stored.user.0, %error, "a state cannot be compared");
            }
        }
    }

    /// Processes that start together must not all look at the same users.
    async fn somewhere(&self) -> UserNumber {
        let lanes = self.store.lanes().await.unwrap_or_default();
        let users = lanes.iter().map(|row| row.progress.users).max().unwrap_or(0);
        UserNumber::of(i64::from(std::process::id()) % (users + 1), Lane(0))
    }

    async fn look_at(&self, stored: &StoredUser) -> Result<(), RestoreError> {
        let bases = self.store.bases(stored.user).await?;
        let behind = stored.record_number - bases.first().map_or(0, |base| base.record_number);
        if stored.checkpoint.is_none() || behind > RECORDS_MAX {
            return Ok(());
        }
        let keys = self.keys.keys_of(&[stored.user]).await?;
        let Some(key) = keys.first() else { return Ok(()) };
        let agrees = self.restorer.compare(stored, key).await?.agrees();
        if !agrees {
            tracing::error!(
                user = stored.user.0,
                record = stored.record_number,
                "a checkpoint is not what the user's stored records make of it: `state show`, then \
                 `state rebuild`"
            );
        }
        self.watch.scrubbed(agrees);
        Ok(())
    }
}
