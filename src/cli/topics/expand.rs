//! `topics expand`: more partitions for a service that runs. It adds them, has the lanes that there are come
//! to rest, and gives users their new homes; it applies nothing itself.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use actors::expansion::Blocker;
use actors::lane::{LANE_BITS, Lane, Positions, Routing};
use actors::log::{Log as _, LogError};
use actors::store::Store as _;
use clap::Args;
use tokio::time::Instant;

use super::find_topics;
use crate::app::{connection_of, now, topics_of};
use crate::cli::config::Layers;
use crate::cli::failure::Failure;
use crate::cli::servers::{block_on, checked_store, close};
use crate::kafka::KafkaLog;
use crate::kafka::topics::{self, Found};
use crate::settings::Settings;
use crate::store::{Expanded, SqlStore};

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

/// Attempts to let lanes read on when the store is away: some ten minutes.
const TRIES_MAX: u32 = 300;

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
    let expansion = Expansion { store, log, known: stored.partition_count, wanted };
    store.begin_expansion().await?;
    say(&format!("from {} to {wanted} partitions", stored.partition_count));
    topics::grow(&connection_of(settings), &topics_of(settings), found, wanted)
        .await
        .map_err(Failure::Unavailable)?;
    if found.events < wanted || found.by_user < wanted {
        // Stops that are there were noted before producers could know of these partitions.
        expansion.let_lanes_go_on().await?;
    }
    let in_the_way = store.blockers().await?;
    if in_the_way.iter().any(|blocker| matches!(blocker, Blocker::NoStop(_))) {
        let age = humantime::format_duration(arguments.metadata_age);
        say(&format!("the partitions are there; for {age} producers may not know of them"));
        tokio::time::sleep(arguments.metadata_age).await;
        if let Err(error) = expansion.stop_lanes().await {
            // It may have been written, and only the answer lost: nobody else would let lanes go on.
            expansion.let_lanes_go_on_at_last().await?;
            return Err(error);
        }
    }
    say("the lanes come to rest");
    let moved = tokio::select! {
        moved = expansion.move_users(arguments.rest_at_most) => moved,
        () = interrupted() => Err(Failure::Unavailable(format!("interrupted; {AGAIN}"))),
    };
    if moved.is_err() {
        expansion.let_lanes_go_on_at_last().await?;
    }
    let Routing { generation, partition_count, .. } = moved?;
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
    known: i32,
    wanted: i32,
}

impl Expansion<'_> {
    fn lanes(&self) -> impl Iterator<Item = Lane> + use<> {
        (0..self.known).map(Lane)
    }

    /// Notes where the logs of the lanes end now.
    async fn stop_lanes(&self) -> Result<(), Failure> {
        let mut stops = Vec::new();
        for lane in self.lanes() {
            stops.push((lane, Some(self.log.ends(lane).await.map_err(unavailable)?)));
        }
        Ok(self.store.set_stops(&stops).await?)
    }

    /// The same, for as long as it takes a store that is away to come back, but not for ever.
    async fn let_lanes_go_on_at_last(&self) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            match self.let_lanes_go_on().await {
                Err(error) if tries < TRIES_MAX => say(&format!("the lanes still stand: {error}")),
                done => return done,
            }
            tries += 1;
            tokio::time::sleep(LOOK_EVERY * 4).await;
        }
    }

    async fn let_lanes_go_on(&self) -> Result<(), Failure> {
        let stops: Vec<(Lane, Option<Positions>)> = self.lanes().map(|lane| (lane, None)).collect();
        Ok(self.store.set_stops(&stops).await?)
    }

    /// Tries until nothing is in the way, but not longer than `at_most`.
    async fn move_users(&self, at_most: Duration) -> Result<Routing, Failure> {
        let until = Instant::now() + at_most;
        let mut said: Vec<String> = Vec::new();
        loop {
            let (named, blockers) = match self.attempt().await {
                Ok(Expanded::Done(routing)) => return Ok(routing),
                Ok(Expanded::Blocked(blockers)) => {
                    let named = blockers.iter().take(NAMED_MAX).map(Blocker::to_string);
                    (named.collect(), blockers)
                }
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
                self.pass_over_what_is_no_record(&blockers, until).await;
            } else {
                say(&format!("waiting: {}", named.join("; ")));
                said = named;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Expansion<'_> {
    /// A lane that does not come on may have read all there is: its log ends in markers of transactions.
    /// A server that does not answer is asked again at the next look.
    async fn pass_over_what_is_no_record(&self, blockers: &[Blocker], until: Instant) {
        for blocker in blockers.iter().take_while(|_| Instant::now() < until) {
            if let Blocker::Unread { lane, source, at, .. } = *blocker
                && let Ok(false) = self.log.has_records(lane, source, at).await
                && let Err(error) = self.store.stop_at(lane, source, at).await
            {
                tracing::debug!(%error, "a stop is lowered later");
            }
        }
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
        Ok(self.store.expand(&added, now()).await?)
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
