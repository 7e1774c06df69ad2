//! The service's own part of the log of accesses: the first row of its chain and the last, and the
//! checkpoints between.

use std::sync::Arc;
use std::time::Duration;

use actors::store::StoreError;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connect::SystemClock;
use super::parts::owner;
use super::{Broken, Starting, broken, now};
use crate::audit::checkpointer::Checkpointer;
use crate::audit::sink::{FileSink, Sink, TopicSink};
use crate::audit::{ENDED, STARTED};
use crate::kafka::Sender;
use crate::settings::{KEYS, Settings};
use crate::signature::SigningKey;
use crate::store::{Access, Administration as _, SqlStore};

/// How long the last row, and then the last checkpoint, may take.
const LAST: Duration = Duration::from_secs(2);

/// How long a broker may take for a checkpoint, before it is sent anew.
const SENDING: Duration = Duration::from_secs(10);

/// What is to be ended.
pub(super) struct Auditing {
    store: Arc<SqlStore>,
    /// The task that signs, with what ends it.
    signing: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Starting<'_> {
    /// Writes the first row of the service's chain: which release, told what, decides by which policy.
    pub(super) async fn begin_audit(
        &self,
        store: &Arc<SqlStore>,
        policy: &str,
    ) -> Result<Option<Auditing>, Broken> {
        self.watch.count_audited(Arc::clone(store.audited()));
        let (release, settings) = (env!("CARGO_PKG_VERSION"), fingerprint(self.settings));
        let what = format!("release {release}; settings {settings}; policy {policy}");
        let begun = self
            .patiently("postgres", || {
                let (store, what) = (Arc::clone(store), what.clone());
                async move { Ok(log(&store, STARTED, &what).await?) }
            })
            .await?;
        if begun.is_none() {
            return Ok(None);
        }
        Ok(Some(Auditing { store: Arc::clone(store), signing: self.sign(store)? }))
    }

    /// Starts to sign checkpoints, if there is a key.
    fn sign(
        &self,
        store: &Arc<SqlStore>,
    ) -> Result<Option<(CancellationToken, JoinHandle<()>)>, Broken> {
        let settings = &self.settings.audit;
        let Some(path) = &settings.signing_key_file else { return Ok(None) };
        let key = SigningKey::read(path).map_err(broken)?;
        let sender = Sender::with_timeout(self.connection, &self.topics.audit, SENDING);
        let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(TopicSink(sender.map_err(broken)?))];
        if let Some(path) = &settings.checkpoint_file {
            sinks.push(Box::new(FileSink(path.clone())));
        }
        for sink in &sinks {
            self.watch.expect_checkpoints(sink.name());
        }
        tracing::info!(key = key.public().id(), "checkpoints of the log of accesses are signed");
        let (store, watch) = (Arc::clone(store), Arc::clone(self.watch));
        let every = settings.checkpoint_every;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = self.runtime.spawn(async move {
            let clock = Arc::new(SystemClock);
            Checkpointer::new(store, key, clock, watch, every, sinks).run(stopped).await;
        });
        Ok(Some((stop, task)))
    }
}

impl Auditing {
    /// Writes the last row, and has it signed.
    pub(super) async fn end(self) {
        let last = log(&self.store, ENDED, "the service has ended in order");
        if !matches!(tokio::time::timeout(LAST, last).await, Ok(Ok(()))) {
            tracing::warn!("the end is not written to the log of accesses: its chain stays open");
        }
        let Some((stop, task)) = self.signing else { return };
        stop.cancel();
        let abort = task.abort_handle();
        if tokio::time::timeout(LAST, task).await.is_err() {
            tracing::warn!("the last checkpoint of the log of accesses is not safe everywhere");
            abort.abort();
        }
    }
}

async fn log(store: &SqlStore, what: &str, detail: &str) -> Result<(), StoreError> {
    let access = Access {
        user_id: None,
        accessor_id: owner(),
        access_type: what.to_owned(),
        table_name: "configuration".to_owned(),
        record_id: Some(detail.to_owned()),
        records: 0,
        time: now(),
    };
    store.log_access(&access).await
}

/// Tells settings from others, secrets aside.
fn fingerprint(settings: &Settings) -> String {
    let mut hash = Sha256::new();
    for key in KEYS {
        hash.update(format!("{}: {}\n", key.path, key.show(settings)));
    }
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_settings_have_another_fingerprint() {
        let mut settings = Settings::default();
        let before = fingerprint(&settings);
        assert_eq!((before.len(), &before), (16, &fingerprint(&Settings::default())));
        settings.batch.records_max += 1;
        assert_ne!(fingerprint(&settings), before);
    }
}
