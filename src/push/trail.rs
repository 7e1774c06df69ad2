//! What is written to the log of accesses of messages that go to the peer: that they go there, before the first, and
//! how many went, from time to time. It names nobody: everybody's go.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::store::{Access, Administration as _, SqlStore};

use super::handshake::Target;

/// A connection is opened on which messages are about to go.
const OPENED: &str = "PUSH";
/// So many have gone since the row before.
const WENT: &str = "PUSHED";

/// How often it is written down how many went: so many minutes of a process that is killed nobody counts.
const EVERY: Duration = Duration::from_mins(1);

/// The trail of one peer.
pub(super) struct Trail {
    store: Arc<SqlStore>,
    accessor_id: String,
    went: AtomicU64,
}

impl Trail {
    pub(super) fn new(store: Arc<SqlStore>, target: &Target) -> Self {
        let (host, port) = target.place();
        let accessor_id = if host.contains(':') {
            format!("push/[{host}]:{port}")
        } else {
            format!("push/{host}:{port}")
        };
        Self { store, accessor_id, went: AtomicU64::new(0) }
    }

    /// Messages are about to go.
    pub(super) async fn open(&self) -> Result<(), String> {
        self.write(OPENED, 0).await
    }

    /// A message was given to the connection.
    pub(super) fn went(&self) {
        self.went.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes from time to time how many went.
    pub(super) async fn keep(&self) -> Infallible {
        loop {
            tokio::time::sleep(EVERY).await;
            self.note().await;
        }
    }

    /// Writes how many went since the last row, if any did.
    pub(super) async fn note(&self) {
        let went = self.went.swap(0, Ordering::Relaxed);
        if went == 0 {
            return;
        }
        if let Err(problem) = self.write(WENT, went).await {
            self.went.fetch_add(went, Ordering::Relaxed);
            tracing::warn!(%problem, "how many messages were pushed is written down later");
        }
    }

    async fn write(&self, what: &str, records: u64) -> Result<(), String> {
        let access = Access {
            user_id: None,
            accessor_id: self.accessor_id.clone(),
            access_type: what.to_owned(),
            table_name: "mode_transitions".to_owned(),
            record_id: Some("everybody".to_owned()),
            records: i64::try_from(records).unwrap_or(i64::MAX),
            time: crate::app::now(),
        };
        self.store.log_access(&access).await.map_err(|error| error.to_string())
    }
}
