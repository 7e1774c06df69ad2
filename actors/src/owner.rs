//! A lane's life in this process: claim, restore, run, and again, until somebody else owns it or an
//! operator must look. Correctness rests on the claim's token alone; nothing here trusts a callback.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor as _, Addr};
use neuros::time::{Micros, Timestamp};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::alert::Alerts;
use crate::audit::{Audit, Writer};
use crate::batch::End;
use crate::cache::CacheWork;
use crate::capacity::CACHE_QUEUE;
use crate::command::Orders;
use crate::home::home;
use crate::ingest::{self, Ingest};
use crate::inquiry;
use crate::lane::{FenceToken, Lane, Progress};
use crate::live::Live;
use crate::log::LogError;
use crate::observe::Condition;
use crate::persist::{self, Persist, Unsettled};
use crate::poll::{self, Poll};
use crate::ports::{BelowStart, Ports, Rules};
use crate::push::Push;
use crate::relay::Relay;
use crate::residents::{Residents, keys_end, store_end};
use crate::restoring;
use crate::router::{self, Router};
use crate::running::Running;
use crate::scrub::{self, Scrub};
use crate::store::Claim;
use crate::suspects::Suspects;
use crate::turns::{self, Turns};

/// Owns one lane until `stop`; must run on the thread on which its users shall live.
///
/// Returns when what was in flight is committed, or dropped after the rules' `drain`.
pub async fn own(lane: Lane, ports: Ports, rules: Arc<Rules>, stop: CancellationToken) {
    let mut owner = Owner {
        lane,
        ports,
        rules,
        stop,
        suspects: Suspects::default(),
        pause: PAUSE.0,
        is_added: false,
        token: None,
        failures: VecDeque::new(),
        unsettled: Rc::default(),
    };
    while !owner.stop.is_cancelled() {
        let end = owner.hold().await;
        if !owner.handle(end).await {
            break;
        }
    }
    owner.ports.observer.lane(lane, Condition::Left);
}

/// Pauses before a lane is tried again, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

struct Owner {
    lane: Lane,
    ports: Ports,
    rules: Arc<Rules>,
    stop: CancellationToken,
    suspects: Suspects,
    pause: Duration,
    /// The lane is not in use yet.
    is_added: bool,
    /// The newest claim's.
    token: Option<FenceToken>,
    /// When users were put aside, within the last minute.
    failures: VecDeque<Timestamp>,
    /// A batch of which the claim before did not learn whether it was committed.
    unsettled: Rc<RefCell<Option<Unsettled>>>,
}

impl Owner {
    /// Claims, restores and runs the lane; says why that ended.
    async fn hold(&mut self) -> End {
        // Asking again and again whether a lane is in use is not worth a word.
        if !self.is_added {
            self.condition(Condition::Claiming);
        }
        match self.claim_and_run().await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn claim_and_run(&mut self) -> Result<End, End> {
        let store = Arc::clone(&self.ports.store);
        let claim = store.claim(self.lane, &self.rules.owner, &self.rules.routing).await;
        let claim = claim.map_err(store_end)?;
        self.is_added = false;
        if let Some(unsettled) = self.unsettled.take() {
            unsettled.settle(&claim.progress, &*self.ports.observer);
        }
        self.token = Some(claim.token);
        // The lane may have been taken away while the claim waited: its next owner is on the way.
        if self.stop.is_cancelled() {
            return Err(End::Stopped);
        }
        let Progress { modes, positions, .. } = claim.progress;
        self.ports.observer.claimed(self.lane, modes, positions);
        self.condition(Condition::Restoring);
        let count = self.rules.routing.partition_count;
        self.suspects.look(&self.ports, |user_id| home(user_id, count) == self.lane).await?;
        let committed = Rc::new(Cell::new(claim.progress.stamp));
        let residents = self.restore(&claim, Rc::clone(&committed)).await?;
        let reader = self.ports.log.open(self.lane, claim.progress.positions).await;
        let reader = reader.map_err(End::Log)?;
        let running = self.start(claim, residents, committed, reader);
        self.condition(Condition::Running);
        self.pause = PAUSE.0;
        Ok(running.wait(&self.stop, self.rules.drain).await)
    }

    /// Brings into memory whom checkpoints lag behind.
    async fn restore(
        &self,
        claim: &Claim,
        committed: Rc<Cell<Timestamp>>,
    ) -> Result<Residents, End> {
        let service_key = self.ports.keys.service_key().await.map_err(keys_end)?;
        let mut residents = Residents {
            lane: self.lane,
            ports: self.ports.clone(),
            rules: Arc::clone(&self.rules),
            restorer: self.ports.restorer(),
            progress: claim.progress.clone(),
            service_key,
            live: Live::default(),
            unwritten: VecDeque::new(),
            oldest_unwritten: Rc::default(),
            withheld: BTreeMap::new(),
            outsiders: hashbrown::HashMap::default(),
            committed,
            swept: Instant::now(),
        };
        // Where all checkpoints are written there is nothing to look for, however long ago that was.
        if claim.progress.checkpointed < claim.progress.stamp {
            restoring::catch_up(&mut residents, &self.suspects).await?;
        }
        Ok(residents)
    }

    fn start(
        &self,
        claim: Claim,
        residents: Residents,
        committed: Rc<Cell<Timestamp>>,
        reader: Box<dyn crate::log::LaneReader>,
    ) -> Running {
        let Claim { token, progress, audited, .. } = claim;
        let (end, ends) = mpsc::channel(16);
        let (stop_reading, drop_rest) = (CancellationToken::new(), CancellationToken::new());
        let in_flight_max = self.rules.batch.in_flight_max.max(1);
        let permits = Arc::new(Semaphore::new(in_flight_max));
        let relay = Rc::new(Relay {
            lane: self.lane,
            token,
            ports: self.ports.clone(),
            topics: self.rules.topics.clone(),
        });
        let push = Push::start(relay, &self.rules.sinks, progress.outbox, &end, &drop_rest);
        let desk = persist::Desk {
            ports: self.ports.clone(),
            push,
            cache: self.start_cache(&drop_rest),
            committed: Rc::clone(&committed),
            drop_rest: drop_rest.clone(),
            in_flight_max,
            permits: Arc::clone(&permits),
            unsettled: Rc::clone(&self.unsettled),
        };
        let persist = Persist::new(desk, end.clone()).start();
        let writer = Writer::new(self.lane, &self.rules.owner, audited);
        let audit = Audit { writer, persist, end: end.clone() }.start();
        let alerts = Alerts { ports: self.ports.clone(), audit, end: end.clone() }.start();
        let oldest_unwritten = Rc::clone(&residents.oldest_unwritten);
        let router = Router::new(router::Desk { residents, alerts }, end.clone()).start();
        self.start_scrub(&router, committed, progress.users, &drop_rest);
        inquiry::open(self.lane, &*self.ports.observer, &router, &drop_rest);
        let turns = Rc::new(RefCell::new(Turns::default()));
        let orders = Rc::new(Orders::default());
        let events_stop = Rc::<Cell<Option<i64>>>::default();
        let (lane, ports) = (self.lane, self.ports.clone());
        let watched = (Rc::clone(&turns), end.clone(), drop_rest.clone());
        actix::spawn(turns::watch(lane, ports, watched.0, watched.1, watched.2));
        let ingest = Ingest::new(ingest::Work {
            lane: self.lane,
            token,
            ports: self.ports.clone(),
            rules: Arc::clone(&self.rules),
            reader,
            closed: progress.clone(),
            progress,
            suspects: self.suspects.clone(),
            router,
            permits: Arc::clone(&permits),
            oldest_unwritten,
            turns,
            orders: Rc::clone(&orders),
            events_stop: Rc::clone(&events_stop),
            end,
            stop: stop_reading.clone(),
        })
        .start();
        let (lane, ports, asks) = (self.lane, self.ports.clone(), ingest.clone());
        let partition_count = self.rules.routing.partition_count;
        let heard = poll::Heard::new(orders, events_stop);
        let poll = Poll { lane, token, ports, ingest: asks, heard, partition_count };
        actix::spawn(poll.run(drop_rest.clone()));
        Running { ingest, ends, permits, in_flight_max, stop_reading, drop_rest }
    }

    fn start_scrub(
        &self,
        router: &Addr<Router>,
        committed: Rc<Cell<Timestamp>>,
        users: i64,
        stop: &CancellationToken,
    ) {
        let ports = self.ports.clone();
        let restorer = ports.restorer();
        let after = scrub::somewhere(self.lane, users, ports.clock.now());
        let (rules, router) = (Arc::clone(&self.rules), router.clone());
        let scrub = Scrub { lane: self.lane, ports, rules, restorer, router, committed, after };
        actix::spawn(scrub.run(stop.clone()));
    }

    fn start_cache(&self, stop: &CancellationToken) -> mpsc::Sender<CacheWork> {
        let (works, mut waiting) = mpsc::channel::<CacheWork>(CACHE_QUEUE);
        let (ports, stop) = (self.ports.clone(), stop.clone());
        actix::spawn(async move {
            loop {
                let work = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    work = waiting.recv() => work,
                };
                let Some(work) = work else { return };
                let done = work.run(&*ports.cache).await;
                ports.observer.cached(done.is_ok());
                if let Err(error) = done {
                    tracing::debug!(%error, "the cache did not do what it was asked for");
                }
            }
        });
        works
    }

    /// Says whether the lane is to be tried again.
    async fn handle(&mut self, end: End) -> bool {
        match end {
            End::Stopped => return !self.stop.is_cancelled(),
            End::Claim { fenced } => {
                if fenced {
                    tracing::warn!(lane = self.lane.0, "fenced: another owner has the lane");
                }
                return self.rest().await;
            }
            End::Panicked { panicked, user } => {
                tracing::error!(
                    lane = self.lane.0,
                    user = user.map(tracing::field::display),
                    provenance = ?panicked.provenance,
                    "the evaluation of a record has failed; its user goes into quarantine"
                );
                self.suspects.add(panicked);
                return self.put_aside().await;
            }
            End::Unreadable { user_id, problem } => {
                let user = self.ports.keys.tag_of(&user_id);
                tracing::error!(lane = self.lane.0, %user, %problem, "a user's state cannot be restored");
                self.suspects.users.insert(user_id);
                return self.put_aside().await;
            }
            End::Away { part, problem } => {
                tracing::warn!(lane = self.lane.0, part, %problem, "the lane waits");
                self.condition(Condition::Waiting { part, problem });
            }
            End::NotYet => {
                self.is_added = true;
                self.condition(Condition::Added);
            }
            End::Outdated { problem } => {
                // Whoever has said it first has said it for all lanes.
                let _full = self.ports.fatal.try_send(problem.clone());
                self.condition(Condition::Halted { problem });
                self.stop.cancelled().await;
                return false;
            }
            End::Log(LogError::Away(problem)) => {
                tracing::warn!(lane = self.lane.0, %problem, "the lane waits");
                self.condition(Condition::Waiting { part: "kafka", problem });
            }
            End::Log(LogError::BelowStart { .. })
                if self.rules.below_start == BelowStart::Earliest =>
            {
                return self.skip_gap().await;
            }
            End::Log(error) => return self.halt(error.to_string()).await,
            End::Halted { problem } => return self.halt(problem).await,
        }
        self.rest().await
    }

    /// Waits, longer each time; says whether the lane is still ours to try.
    async fn rest(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return false,
            () = tokio::time::sleep(self.pause + self.jitter()) => {}
        }
        self.pause = (self.pause * 2).min(PAUSE.1);
        true
    }

    /// Two owners who met must not meet again at once. From what tells them apart, and not from chance:
    /// the same history comes out the same again.
    fn jitter(&self) -> Duration {
        let name = format!("{}/{}/{}", self.rules.owner, self.lane, self.ports.clock.now());
        let number = uuid::Uuid::new_v5(&crate::message::NAMESPACE, name.as_bytes()).as_u128();
        Duration::from_millis(u64::try_from(number % 200).unwrap_or(0))
    }

    /// Stays where it is until the lane is taken away, the process ends, or the topics are adopted: what that
    /// means for this process, a claim says.
    async fn halt(&self, problem: String) -> bool {
        tracing::error!(lane = self.lane.0, %problem, "the lane has stopped");
        self.condition(Condition::Halted { problem });
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = poll::until_adopted(&*self.ports.store, &self.rules.routing) => true,
        }
    }

    async fn skip_gap(&mut self) -> bool {
        // What is below the log's start was found under a claim.
        let Some(token) = self.token else { return self.rest().await };
        let starts = self.ports.log.starts(self.lane).await;
        let skipped = match starts {
            Ok(starts) => {
                let (store, now) = (&self.ports.store, self.ports.clock.now());
                store.skip_gap(self.lane, token, starts, now).await.map_err(store_end)
            }
            Err(error) => Err(End::Log(error)),
        };
        match skipped {
            Ok(true) => true,
            Ok(false) => {
                tracing::warn!(lane = self.lane.0, "fenced: another owner has the lane");
                self.rest().await
            }
            Err(End::Halted { problem }) => self.halt(problem).await,
            Err(_) => self.rest().await,
        }
    }

    /// A user is put aside: the lane goes on, unless that happens too often.
    async fn put_aside(&mut self) -> bool {
        self.ports.observer.quarantined(self.lane);
        if self.too_many_failures() {
            return self.halt(TOO_MANY.to_owned()).await;
        }
        true
    }

    fn too_many_failures(&mut self) -> bool {
        let now = self.ports.clock.now();
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|then| now - *then > Micros::from_minutes(1)) {
            self.failures.pop_front();
        }
        self.failures.len() > self.rules.quarantines_per_minute
    }

    fn condition(&self, condition: Condition) {
        self.ports.observer.lane(self.lane, condition);
    }
}

const TOO_MANY: &str = "too many users could not be evaluated or restored within a minute; the release may \
                        be broken: roll it back, then start again";
