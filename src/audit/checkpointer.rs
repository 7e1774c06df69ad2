//! Signs checkpoints while the service runs, and sees to it that they get where they belong. What is away
//! holds up nothing else.

use std::sync::Arc;
use std::time::Duration;

use actors::clock::Clock;
use actors::hash_chain::Head;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{Checkpoint, CheckpointHash};
use super::sink::Sink;
use crate::signature::SigningKey;
use crate::store::{COMMAND_LINE, SqlStore};
use crate::watch::Watch;

/// Checkpoints that wait for a sink, at most: most of a day's at one a minute. What does not find room is
/// given up, which the sink's next reader sees; it says nothing that the next one does not say too.
const WAITING_MAX: usize = 1_024;

/// Pauses before a sink is tried again, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long the end of the command line's chain may be waited for; it comes with the next checkpoint else.
const LOOK: Duration = Duration::from_secs(2);

/// Signs checkpoints.
pub struct Checkpointer {
    store: Arc<SqlStore>,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    watch: Arc<Watch>,
    every: Duration,
    sinks: Vec<(&'static str, mpsc::Sender<Waiting>)>,
    deliveries: JoinSet<()>,
    number: i64,
    previous: Option<CheckpointHash>,
    /// Where the chain of the command line was seen to end; its processes are too short to sign anything.
    command_line: Head,
}

/// A checkpoint on its way.
#[derive(Clone)]
struct Waiting {
    signed_at: Instant,
    signer: String,
    line: String,
}

impl Checkpointer {
    /// Signs what `store` has added to the log of accesses, with `key`; within a runtime.
    pub fn new(
        store: Arc<SqlStore>,
        key: SigningKey,
        clock: Arc<dyn Clock>,
        watch: Arc<Watch>,
        every: Duration,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Self {
        let mut deliveries = JoinSet::new();
        let mut start = |sink: Box<dyn Sink>| {
            let (sender, lines) = mpsc::channel(WAITING_MAX);
            let name = sink.name();
            deliveries.spawn(deliver(sink, lines, Arc::clone(&watch)));
            (name, sender)
        };
        let sinks = sinks.into_iter().map(&mut start).collect();
        let (number, previous, command_line) = (0, None, Head::default());
        Self { store, key, clock, watch, every, sinks, deliveries, number, previous, command_line }
    }

    /// Signs from time to time until `stop`, and then once more; returns when all of it is safe.
    pub async fn run(mut self, stop: CancellationToken) {
        let audited = Arc::clone(self.store.audited());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = audited.many() => {}
                () = tokio::time::sleep(self.every) => {}
            }
            self.sign().await;
        }
        self.sign().await;
        self.sinks.clear();
        while self.deliveries.join_next().await.is_some() {}
    }

    async fn sign(&mut self) {
        self.look_at_the_command_line().await;
        self.number += 1;
        let checkpoint = Checkpoint {
            key: self.key.public().id(),
            signer: self.store.own_writer().to_owned(),
            number: self.number,
            time_us: self.clock.now().as_micros(),
            previous: self.previous,
            chains: self.store.audited().take().into_iter().collect(),
        };
        self.previous = Some(checkpoint.hash());
        let signer = checkpoint.signer.clone();
        let line = checkpoint.sign(&self.key).to_line();
        let waiting = Waiting { signed_at: Instant::now(), signer, line };
        for (name, lines) in &self.sinks {
            if lines.try_send(waiting.clone()).is_err() {
                let problem = format!("{WAITING_MAX} checkpoints wait already, one is given up");
                self.watch.checkpointed(name, Err(problem));
            }
        }
    }

    async fn look_at_the_command_line(&mut self) {
        let found = tokio::time::timeout(LOOK, self.store.chain_head(COMMAND_LINE)).await;
        if let Ok(Ok(head)) = found
            && head != self.command_line
        {
            self.command_line = head;
            self.store.audited().found(COMMAND_LINE, head);
        }
    }
}

/// Brings checkpoints to a sink, in order, each until it is safe.
async fn deliver(sink: Box<dyn Sink>, mut lines: mpsc::Receiver<Waiting>, watch: Arc<Watch>) {
    while let Some(Waiting { signed_at, signer, line }) = lines.recv().await {
        let mut pause = PAUSE.0;
        while let Err(problem) = sink.put(&signer, &line).await {
            watch.checkpointed(sink.name(), Err(problem));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        watch.checkpointed(sink.name(), Ok(signed_at));
    }
}
