//! Hints that something was committed: of this process, and by Redis of the others. They say nothing else, not even
//! by whom; one that is lost costs a moment, for whoever waits also looks without.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::ConnectionManager;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cache;
use crate::settings::Redis;

/// Where processes tell each other.
const CHANNEL: &str = "neuros:committed";
/// Pause before Redis is asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// Commits in so short a time are told as one.
const GATHER: Duration = Duration::from_millis(5);

/// Hints, ours and others'.
pub(crate) struct Hints(Arc<Notify>);

impl Hints {
    /// Tells others of what `commits` tells of, and listens to them, until `stop`.
    pub(crate) fn exchange(
        commits: Arc<Notify>,
        settings: &Redis,
        runtime: &Handle,
        stop: CancellationToken,
    ) -> Self {
        let heard = Arc::new(Notify::new());
        let client = settings.url.as_ref().and_then(|url| redis::Client::open(url.expose()).ok());
        if let Some(client) = client.clone() {
            runtime.spawn(listen(client, Arc::clone(&heard), stop.clone()));
        }
        let (ours, timeout) = (Arc::clone(&heard), settings.timeout);
        runtime.spawn(async move {
            let connection = client.and_then(|client| cache::manager(client, timeout).ok());
            tell(commits, ours, connection, stop).await;
        });
        Self(heard)
    }

    /// Waits until something was committed.
    pub(crate) async fn heard(&self) {
        self.0.notified().await;
    }
}

async fn tell(
    commits: Arc<Notify>,
    heard: Arc<Notify>,
    connection: Option<ConnectionManager>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = commits.notified() => {}
            () = stop.cancelled() => return,
        }
        heard.notify_one();
        tokio::time::sleep(GATHER).await;
        if let Some(mut connection) = connection.clone() {
            let mut publish = redis::cmd("PUBLISH");
            let publish = publish.arg(CHANNEL).arg("");
            let told: Result<(), redis::RedisError> = publish.query_async(&mut connection).await;
            if let Err(error) = told {
                tracing::debug!(kind = ?error.kind(), "other processes look by themselves");
            }
        }
    }
}

async fn listen(client: redis::Client, heard: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            told = receive(&client, &heard) => if let Err(error) = told {
                tracing::debug!(kind = ?error.kind(), "no hints of other processes");
            },
            () = stop.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Listens until the connection ends.
async fn receive(client: &redis::Client, heard: &Notify) -> Result<(), redis::RedisError> {
    let mut channel = client.get_async_pubsub().await?;
    channel.subscribe(CHANNEL).await?;
    let mut messages = channel.into_on_message();
    while messages.next().await.is_some() {
        heard.notify_one();
    }
    Ok(())
}
