//! `topics expand`: more partitions for a service that runs. It adds them, has the lanes that there are come
//! to rest, and gives users their new homes; it applies nothing itself.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use actors::expansion::{self, Blocker};
use actors::lane::{LANE_BITS, Lane, Routing, Source, UserNumber};
use actors::log::{Log as _, LogError};
use actors::store::{Asked, Store as _, StoreError};
use clap::Args;
use tokio::time::Instant;

use super::find_topics;
use crate::app::{connection_of, now, topics_of};
use crate::cli::config::Layers;
use crate::cli::failure::Failure;
use crate::cli::servers::{block_on, checked_store, close, log_change_of_topics};
use crate::kafka::KafkaLog;
use crate::kafka::topics::{self, Found};
use crate::settings::Settings;
use crate::store::{Expanded, Lease, SqlStore, answered};
use crate::telemetry::escaped;

#[derive(Args)]
pub(super) struct Arguments {
    /// Partitions of biometric.events and biometric.events.by-user from now on; as many as the larger of
    /// the two has unless said otherwise.
    #[arg(long)]
    partitions: Option<i32>,
    /// How long producers may still use the old number of partitions: their metadata.max.age.ms.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    metadata_age: Duration,
    /// How long lanes may stand still for it; then they read on, and it can be tried again.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    rest_at_most: Duration,
    #[command(flatten)]
    layers: Layers,
}

/// How often the store is asked what is still in the way.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long lanes stand still at most for a command that is gone, and how often one that is not says so.
const LEASE: Duration = Duration::from_secs(30);
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// Things in the way that are named at once.
const NAMED_MAX: usize = 5;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let settings = arguments.layers.load()?.settings;
    block_on(async {
        let found = find_topics(&settings).await?;
        let store = checked_store(&settings).await?;
        let done = expand(arguments, &settings, &found, &store).await;
        close(&store).await;
        done
    })
}

async fn expand(
    arguments: &Arguments,
    settings: &Settings,
    found: &Found,
    store: &Arc<SqlStore>,
) -> Result<(), Failure> {
    let stored = store.routing().await?;
    let stored = stored.ok_or_else(|| {
        Failure::Broken("no service has run on this store yet: nothing is to be moved".to_owned())
    })?;
    let wanted = wanted(arguments, &stored, found)?;
    if wanted == stored.partition_count {
        writeln!(io::stdout(), "there are {wanted} partitions already")?;
        return Ok(());
    }
    let log = KafkaLog::new(connection_of(settings), topics_of(settings), Arc::default());
    let log = log.map_err(|error| Failure::Unavailable(error.to_string()))?;
    let how = format!("topics expanded from {} to {wanted} partitions", stored.partition_count);
    log_change_of_topics(store, how).await?;
    let lease = store.begin_expansion(stored.generation, LEASE).await?;
    let expansion = Expansion { store, log, lease, known: stored.partition_count, wanted };
    let moved = tokio::select! {
        moved = expansion.conduct(arguments, settings, found) => moved,
        lost = expansion.keep_lease() => Err(lost),
        () = interrupted() => Err(Failure::Unavailable(format!("interrupted; {AGAIN}"))),
    };
    let moved = match moved {
        Ok(moved) => moved,
        Err(failure) => expansion.give_up(stored.generation).await.ok_or(failure)?,
    };
    let Routing { generation, partition_count, .. } = moved;
    writeln!(
        io::stdout(),
        "generation {generation} begins with {partition_count} lanes; running instances end with exit \
         code 70, and go on with it when they are started again"
    )?;
    Ok(())
}

const AGAIN: &str = "nothing is lost, the lanes there are read on, and the new partitions are kept: run \
                     `biometric-bridge topics expand` again to end it";

/// How many partitions there are to be.
fn wanted(arguments: &Arguments, stored: &Routing, found: &Found) -> Result<i32, Failure> {
    if stored.log_id != found.cluster_id {
        return Err(Failure::Broken(
            "the topics are not those that the store knows: `biometric-bridge topics adopt` begins a \
             new generation with them"
                .to_owned(),
        ));
    }
    let (known, there) = (stored.partition_count, found.events.max(found.by_user));
    let wanted = arguments.partitions.unwrap_or(there);
    let refused = |problem: String| Err(Failure::Usage(problem));
    if wanted < known || wanted < there {
        let at_least = known.max(there);
        return refused(format!(
            "there are {at_least} partitions already, and Kafka takes none away: --partitions must be \
             above {at_least}"
        ));
    }
    if wanted >= 1 << LANE_BITS {
        return refused(format!("--partitions must be below {}", 1 << LANE_BITS));
    }
    if wanted == known && stored.expanding {
        return refused(format!(
            "an expansion was begun and added no partitions yet: say --partitions, above {known}"
        ));
    }
    Ok(wanted)
}

/// Says what is done, to whoever watches.
fn say(text: &str) {
    // Whoever has closed the terminal does not want to know.
    let _closed = writeln!(io::stderr(), "{} {text}", now());
}

struct Expansion<'s> {
    store: &'s SqlStore,
    log: KafkaLog,
    lease: Lease,
    known: i32,
    wanted: i32,
}

impl Expansion<'_> {
    async fn conduct(
        &self,
        arguments: &Arguments,
        settings: &Settings,
        found: &Found,
    ) -> Result<Routing, Failure> {
        say(&format!("from {} to {} partitions", self.known, self.wanted));
        topics::grow(&connection_of(settings), &topics_of(settings), found, self.wanted)
            .await
            .map_err(Failure::Unavailable)?;
        let age = humantime::format_duration(arguments.metadata_age);
        say(&format!("the partitions are there; for {age} producers may not know of them"));
        tokio::time::sleep(arguments.metadata_age).await;
        let mut stops = Vec::new();
        for lane in (0..self.known).map(Lane) {
            stops.push((lane, self.log.ends(lane).await.map_err(unavailable)?));
        }
        answered(self.store.set_stops(self.lease, &stops)).await?;
        say("the lanes come to rest");
        self.move_users(arguments.rest_at_most).await
    }

    /// Returns when the lease is lost.
    async fn keep_lease(&self) -> Failure {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match answered(self.store.renew_expansion(self.lease, LEASE)).await {
                // It may be back before the lease is over.
                Ok(()) | Err(StoreError::Away(_)) => {}
                Err(error) => return Failure::Unavailable(format!("{error}; {AGAIN}")),
            }
        }
    }

    /// Has the lanes read on. Gives the routing, if users have their new homes after all: an answer may
    /// have been lost.
    async fn give_up(&self, before: i32) -> Option<Routing> {
        if let Err(error) = answered(self.store.end_expansion(self.lease)).await {
            let lease = humantime::format_duration(LEASE);
            say(&format!("the lanes stand still for up to {lease} more: {error}"));
        }
        let stored = self.store.routing().await.ok().flatten();
        let is_done = |stored: &Routing| {
            stored.generation == before + 1 && stored.partition_count == self.wanted
        };
        stored.filter(is_done)
    }

    /// Tries until nothing is in the way, but not longer than `at_most`.
    async fn move_users(&self, at_most: Duration) -> Result<Routing, Failure> {
        let until = Instant::now() + at_most;
        let mut said: Vec<String> = Vec::new();
        loop {
            // While lanes stand still nobody waits for a connection that says nothing any more.
            let look = async {
                Ok(match self.attempt().await? {
                    Expanded::Done(routing) => Ok(routing),
                    Expanded::Blocked(blockers) => Err((self.named(&blockers).await, blockers)),
                })
            };
            let (named, blockers) = match answered(look).await {
                Ok(Ok(routing)) => return Ok(routing),
                Ok(Err(in_the_way)) => in_the_way,
                // It may be back in time.
                Err(Failure::Unavailable(problem)) => (vec![problem], Vec::new()),
                Err(error) => return Err(error),
            };
            if Instant::now() >= until {
                return Err(Failure::Unavailable(format!(
                    "the lanes did not come to rest: {}; {AGAIN}",
                    named.join("; ")
                )));
            }
            if named == said {
                // What is not moved in time is moved after the next look.
                let moving = async {
                    self.move_stops(&blockers, until).await;
                    Ok::<(), StoreError>(())
                };
                answered(moving).await.ok();
            } else {
                say(&format!("waiting: {}", named.join("; ")));
                said = named;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What is in the way, for people.
    async fn named(&self, blockers: &[Blocker]) -> Vec<String> {
        let mut named = Vec::new();
        for blocker in blockers.iter().take(NAMED_MAX) {
            let whose = match blocker {
                Blocker::Unwritten(_, users) if !users.is_empty() => self.whose(users).await,
                _ => String::new(),
            };
            named.push(format!("{blocker}{whose}"));
        }
        named
    }

    /// Of whom no checkpoint is written, and what helps when none comes.
    async fn whose(&self, users: &[UserNumber]) -> String {
        let Ok(mut users) = self.store.users(Asked::Numbers(users)).await else {
            return String::new();
        };
        users.sort_unstable_by_key(|user| user.user);
        let ids: Vec<_> = users.iter().map(|user| escaped(&user.user_id)).collect();
        let cures: Vec<_> =
            ids.iter().map(|id| format!("`biometric-bridge state rebuild {id}`")).collect();
        format!(
            ": of {}; if it stays so, the service cannot restore them, and its log says why: start a \
             release that can, or mend what is stored and run {}",
            ids.join(", "),
            cures.join(", ")
        )
    }
}

impl Expansion<'_> {
    /// A lane that does not come on may have read all there is: its log ends in markers of transactions,
    /// or retention has taken what was forwarded to it last. Or it stands before what an owner who did not
    /// know of the stop had forwarded, and has to read on past that. A server that does not answer is asked
    /// again at the next look.
    async fn move_stops(&self, blockers: &[Blocker], until: Instant) {
        for blocker in blockers.iter().take_while(|_| Instant::now() < until) {
            let passed = match *blocker {
                Blocker::Unread { lane, source, at, .. } if self.is_end(lane, source, at).await => {
                    self.store.stop_at(self.lease, lane, source, at).await
                }
                Blocker::Lost { origin, home, last, at }
                    if self.is_end(home, Source::ByUser, at).await =>
                {
                    self.store.settle(self.lease, (origin, home), (last, at)).await
                }
                _ => Ok(()),
            };
            if let Err(error) = passed {
                tracing::debug!(%error, "a stop is moved later");
            }
        }
        for (lane, stop) in expansion::stop_on(blockers) {
            if let Err(error) = self.store.stop_at(self.lease, lane, Source::Events, stop).await {
                tracing::debug!(%error, "a stop is moved later");
            }
        }
    }

    /// Whether a log certainly has no records from there on.
    async fn is_end(&self, lane: Lane, source: Source, at: i64) -> bool {
        matches!(self.log.has_records(lane, source, at).await, Ok(false))
    }

    /// Looks what is in the way, and moves users if nothing is.
    async fn attempt(&self) -> Result<Expanded, Failure> {
        let blockers = self.store.blockers().await?;
        if !blockers.is_empty() {
            return Ok(Expanded::Blocked(blockers));
        }
        let mut added = Vec::new();
        for lane in (self.known..self.wanted).map(Lane) {
            added.push((lane, self.log.starts(lane).await.map_err(unavailable)?));
        }
        Ok(self.store.expand(self.lease, &added, now()).await?)
    }
}

/// Returns when somebody wants the command to end.
async fn interrupted() {
    let term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let Ok(mut term) = term else { return std::future::pending().await };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn unavailable(error: LogError) -> Failure {
    Failure::Unavailable(error.to_string())
}
