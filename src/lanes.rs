//! The lanes that this process owns, and the threads on which they and their users live.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::{Arbiter, ArbiterHandle};
use actors::lane::Lane;
use actors::ports::{Ports, Rules};
use tokio_util::sync::CancellationToken;

use crate::kafka::Member;

/// Starts and ends lanes as the group gives and takes them. A lane always lives on the same thread.
pub struct Lanes {
    ports: Ports,
    rules: Arc<Rules>,
    threads: Vec<ArbiterHandle>,
    running: Mutex<BTreeMap<Lane, Running>>,
}

struct Running {
    stop: CancellationToken,
    ended: Receiver<()>,
}

/// Beyond its drain a lane has nothing to wait for but a transaction on its way.
const GRACE: Duration = Duration::from_secs(5);

impl Lanes {
    /// Lanes on `threads` threads of their own; must be called within an actix system.
    pub fn new(ports: Ports, rules: Arc<Rules>, threads: usize) -> Self {
        let threads = (0..threads.max(1)).map(|_| Arbiter::new().handle()).collect();
        Self { ports, rules, threads, running: Mutex::default() }
    }

    fn start(&self, lane: Lane) -> Option<Running> {
        let place = usize::try_from(lane.0).unwrap_or(0) % self.threads.len().max(1);
        let thread = self.threads.get(place)?;
        let stop = CancellationToken::new();
        let (done, ended) = sync_channel(1);
        let (ports, rules, stopped) = (self.ports.clone(), Arc::clone(&self.rules), stop.clone());
        let started = thread.spawn_fn(move || {
            actix::spawn(async move {
                own(lane, ports, rules, stopped).await;
                // Whoever waits may have given up.
                let _gone = done.send(());
            });
        });
        started.then_some(Running { stop, ended })
    }
}

/// Owns a lane, and again after a fault of the program: what is committed is the truth.
async fn own(lane: Lane, ports: Ports, rules: Arc<Rules>, stop: CancellationToken) {
    loop {
        let owner = actors::own(lane, ports.clone(), Arc::clone(&rules), stop.clone());
        if actix::spawn(owner).await.is_ok() || stop.is_cancelled() {
            return;
        }
        tracing::error!(lane = lane.0, "the lane's owner has failed by a fault of the program");
        tokio::time::sleep(AGAIN).await;
    }
}

/// How long a lane rests after such a fault.
const AGAIN: Duration = Duration::from_secs(2);

impl Member for Lanes {
    fn assigned(&self, lanes: Vec<Lane>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes {
            if running.contains_key(&lane) {
                continue;
            }
            match self.start(lane) {
                Some(started) => {
                    running.insert(lane, started);
                }
                None => tracing::error!(lane = lane.0, "the lane's thread has ended"),
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "how long to wait is no decision of a lane")]
    fn revoked(&self, lanes: Vec<Lane>) {
        let ending: Vec<Running> = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.iter().filter_map(|lane| running.remove(lane)).collect()
        };
        for running in &ending {
            running.stop.cancel();
        }
        let deadline = Instant::now() + self.rules.drain + GRACE;
        for running in &ending {
            let patience = deadline.saturating_duration_since(Instant::now());
            if running.ended.recv_timeout(patience).is_err() {
                tracing::warn!("a lane did not end in time; its next owner ends its transaction");
            }
        }
    }
}
