//! `topics`: the topics in Kafka, made as the bridge needs them, adopted as they are now, or given more
//! partitions.

mod expand;

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use actors::lane::{Lane, Positions, Source};
use actors::store::Store as _;
use clap::{Args, Subcommand};

use super::config::Layers;
use super::failure::Failure;
use super::servers::{block_on, checked_store, close, log_change_of_topics};
use crate::app::{connection_of, now, routing_of, topics_of};
use crate::kafka::topics::{self, Created, Found, Plan};
use crate::kafka::{KafkaLog, Positioned};
use crate::settings::Settings;
use crate::store::{Administration as _, Adoption, SqlStore};
use crate::telemetry::UNFINISHED;

/// Makes the topics in Kafka, adds partitions, or takes over topics that were made anew.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the topics that are missing; leaves those alone that are there.
    #[command(after_help = "Examples:
  biometric-bridge topics create
  biometric-bridge topics create --partitions 12 --retention 30d
  biometric-bridge topics create --development")]
    Create(Create),
    /// Adds partitions while the service runs, and gives users their new homes. Nothing is lost.
    ///
    /// The partitions are added; when no producer can know the old number any more, the lanes come to rest:
    /// they read up to where their logs ended, apply what they have forwarded to each other, write every
    /// checkpoint and publish everything. Then users move at once, and all instances start again. Whatever
    /// keeps a lane from its rest is named: a sink that is down, an open command, users in quarantine.
    #[command(after_help = "Examples:
  biometric-bridge topics expand --partitions 12
  biometric-bridge topics expand --partitions 12 --metadata-age 30s

It may be interrupted and run again at any time. Exit code 69: something kept the lanes from their rest.")]
    Expand(expand::Arguments),
    /// Begins a new generation with the topics as they are now, after they were made anew.
    ///
    /// Nothing of the old log is waited for: what was in it and not applied is recorded as a gap. Lanes
    /// of the same cluster go on where they were, if the log still reaches there; all others begin
    /// where their log begins.
    #[command(
        after_help = "Example:\n  biometric-bridge topics adopt --reason 'cluster rebuilt' --yes"
    )]
    Adopt(Adopt),
}

#[derive(Args)]
struct Create {
    /// Partitions of biometric.events and biometric.events.by-user.
    #[arg(long, default_value_t = 3)]
    partitions: i32,
    /// Copies of each topic; 3 unless --development, then 1.
    #[arg(long)]
    replication_factor: Option<i32>,
    /// Copies that must have a message before it counts; 2 unless there is one copy.
    #[arg(long)]
    min_insync_replicas: Option<i32>,
    /// How long events are kept, such as 7d; 0 for ever.
    #[arg(long, default_value = "7d", value_parser = humantime::parse_duration)]
    retention: Duration,
    /// Keep the producers' own timestamps: for recorded logs and tests only.
    #[arg(long)]
    create_time: bool,
    #[command(flatten)]
    layers: Layers,
}

#[derive(Args)]
struct Adopt {
    /// Why, for whoever reads the gaps later.
    #[arg(long)]
    reason: String,
    /// Begin where the logs begin in any case: what they still hold and was applied is applied again.
    #[arg(long)]
    from_start: bool,
    /// Yes, what the old log held and nobody applied is given up.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    layers: Layers,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Create(create) => run_create(create),
        Command::Expand(arguments) => expand::run(arguments),
        Command::Adopt(adopt) => run_adopt(adopt),
    }
}

fn run_create(create: &Create) -> Result<(), Failure> {
    let settings = create.layers.load()?.settings;
    let copies = create.replication_factor.unwrap_or(if settings.development { 1 } else { 3 });
    let retention = i64::try_from(create.retention.as_millis()).unwrap_or(i64::MAX);
    let plan = Plan {
        partitions: create.partitions,
        replication_factor: copies,
        min_insync_replicas: create.min_insync_replicas.unwrap_or((copies - 1).max(1)),
        retention_ms: if retention == 0 { -1 } else { retention },
        create_time: create.create_time,
    };
    if create.partitions < 1 {
        return Err(Failure::Broken("a topic has at least one partition".to_owned()));
    }
    let created = block_on(async {
        topics::create(&connection_of(&settings), &topics_of(&settings), plan)
            .await
            .map_err(Failure::Unavailable)
    })?;
    let mut output = io::stdout().lock();
    for (name, created) in created {
        let what = match created {
            Created::New => "made",
            Created::Existed => "was there",
        };
        writeln!(output, "{what:<10} {name}")?;
    }
    Ok(output.flush()?)
}

fn run_adopt(adopt: &Adopt) -> Result<(), Failure> {
    if !adopt.yes {
        return Err(Failure::Broken(
            "adopting gives up what the old log held and nobody applied; say --yes to do it"
                .to_owned(),
        ));
    }
    let settings = adopt.layers.load()?.settings;
    block_on(async {
        let found = find_topics(&settings).await?;
        if found.events == 0 || found.events != found.by_user {
            return Err(Failure::Broken(format!(
                "biometric.events has {} partitions and biometric.events.by-user has {}; both must be \
                 there with the same number",
                found.events, found.by_user
            )));
        }
        let store = checked_store(&settings).await?;
        let adoption = adoption(&settings, &found, adopt, &store).await?;
        let lanes = adoption.routing.partition_count;
        log_change_of_topics(&store, format!("topics adopted with {lanes} partitions")).await?;
        let routing = store.adopt(&adoption).await?;
        close(&store).await;
        let (generation, lanes) = (routing.generation, routing.partition_count);
        writeln!(io::stdout(), "generation {generation} begins with {lanes} lanes")?;
        Ok(())
    })
}

async fn find_topics(settings: &Settings) -> Result<Found, Failure> {
    let (connection, names) = (connection_of(settings), topics_of(settings));
    let asked = tokio::task::spawn_blocking(move || {
        topics::find(&connection, &names, Duration::from_secs(10))
    });
    let found = asked.await.map_err(|_| Failure::Unavailable(UNFINISHED.to_owned()))?;
    found.map_err(|error| Failure::Unavailable(error.to_string()))
}

async fn adoption(
    settings: &Settings,
    found: &Found,
    adopt: &Adopt,
    store: &SqlStore,
) -> Result<Adoption, Failure> {
    let unavailable = |error: &dyn std::fmt::Display| Failure::Unavailable(error.to_string());
    let log = KafkaLog::new(
        connection_of(settings),
        topics_of(settings),
        Arc::new(Positioned::default()),
    );
    let log = log.map_err(|error| unavailable(&error))?;
    let same_log = store.routing().await?.is_some_and(|known| known.log_id == found.cluster_id);
    let known = if same_log && !adopt.from_start { store.lanes().await? } else { Vec::new() };
    let mut positions = Vec::new();
    for lane in (0..found.events).map(Lane) {
        let row = known.iter().find(|row| row.lane == lane);
        let mut of_lane = Positions::default();
        for source in Source::ALL {
            let (start, end) =
                log.watermarks(lane, source).await.map_err(|error| unavailable(&error))?;
            let kept = row.map(|row| *row.progress.positions.of(source));
            *of_lane.of_mut(source) =
                kept.filter(|kept| (start..=end).contains(kept)).unwrap_or(start);
        }
        positions.push((lane, of_lane));
    }
    let routing = routing_of(settings, found);
    Ok(Adoption { routing, positions, reason: adopt.reason.clone(), at: now() })
}
