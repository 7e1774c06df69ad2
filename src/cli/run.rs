//! `run`: the service.

use std::fs::DirBuilder;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::config::Layers;
use super::failure::Failure;
use super::{keys, policy};
use crate::app::keys::key_file;
use crate::app::{Ended, Service, Setup};
use crate::seal::key_file::KeyFile;
use crate::settings::{KeyWrapper, Loaded, Settings};
use crate::{http, telemetry};

/// Runs the service: reads events from Kafka, keeps everybody's mode, commits, publishes.
///
/// It waits for servers that are away and says at /ready for what; it ends at once only over what
/// cannot heal. SIGTERM or Ctrl-C ends it in order, within `shutdown.deadline`.
#[derive(Args)]
#[command(after_help = "Examples:
  biometric-bridge keys generate --output keys.txt
  KEY_FILE=keys.txt POSTGRES_URL=postgresql://bridge@db/bridge \\
    KAFKA_BOOTSTRAP_SERVERS=kafka:9093 biometric-bridge run
  biometric-bridge run --development

Exit codes: 0 ended in order, 1 the deadline came first, 70 only a new process gets over it,
78 the configuration cannot work.")]
pub(super) struct Arguments {
    #[command(flatten)]
    layers: Layers,
    /// Bring the database's schema up first.
    #[arg(long)]
    migrate: bool,
    /// Where --development keeps its key file.
    #[arg(long, value_name = "FOLDER", default_value = "bridge-data")]
    data: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    #[cfg(feature = "defects")]
    break_something()?;
    let mut loaded = arguments.layers.load_all()?;
    telemetry::init(&loaded.settings).map_err(|error| Failure::Broken(error.to_string()))?;
    for notice in &loaded.notices {
        tracing::warn!(key = notice.key, "{}", notice.text);
    }
    if loaded.settings.development {
        develop(&mut loaded, &arguments.data)?;
    }
    let setup = setup(loaded.settings, arguments.migrate)?;
    let served = actix::System::new().block_on(serve(setup));
    telemetry::traces().end();
    served
}

/// Switches on the deliberate defect that the environment names; only a build for tests can do that.
#[cfg(feature = "defects")]
fn break_something() -> Result<(), Failure> {
    let Ok(name) = std::env::var("BRIDGE_DEFECT") else { return Ok(()) };
    let defect = actors::defect::Defect::named(&name);
    let defect = defect.ok_or_else(|| Failure::Broken(format!("there is no defect {name}")))?;
    defect.switch_everywhere();
    Ok(())
}

/// What is left out for a developer: the key file is made, and only this machine is served.
fn develop(loaded: &mut Loaded, data: &Path) -> Result<(), Failure> {
    let settings = &mut loaded.settings;
    if !settings.http.bind.ip().is_loopback() {
        settings.http.bind.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    tracing::warn!(http = %settings.http.bind, "development: only this machine is served");
    if settings.keys.file.is_none() && settings.keys.wrapper == KeyWrapper::File {
        settings.keys.file = Some(key_file_in(data)?);
    }
    Ok(())
}

/// The key file in a data folder, made there if there is none.
pub(super) fn key_file_in(data: &Path) -> Result<PathBuf, Failure> {
    let unwritable = |source: io::Error| Failure::NotCreated { path: data.to_owned(), source };
    DirBuilder::new().recursive(true).create(data).map_err(unwritable)?;
    let path = data.join("keys.txt");
    if path.exists() {
        return Ok(path);
    }
    let made = KeyFile::generate()?;
    keys::create(&path, made.to_text().as_bytes())?;
    tracing::warn!(file = %path.display(), "made a key file; without it nothing that is stored opens");
    Ok(path)
}

pub(super) fn setup(settings: Settings, migrate: bool) -> Result<Setup, Failure> {
    let key_file = key_file(&settings).map_err(Failure::Broken)?;
    let policy = policy::load(settings.policy.file.as_deref())?.policy;
    let listener = http::Listener::open(&settings).map_err(Failure::Broken)?;
    Ok(Setup { settings, key_file, policy, listener, migrate, adopt: false })
}

async fn serve(setup: Setup) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let told = stop.clone();
    let (mut term, mut interrupt) = signals()?;
    let signalled = actix::spawn(async move {
        // A platform that ends a process has another, or will; whoever ends it by hand need not.
        let ending = tokio::select! {
            _ = term.recv() => http::Ending::Restart,
            _ = interrupt.recv() => http::Ending::Away,
        };
        tracing::info!("told to end");
        told.cancel();
        ending
    });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let started = Service::start(setup, stop.child_token()).await;
    let started = started.map_err(|broken| Failure::Broken(broken.0))?;
    let Some(mut service) = started else { return Ok(()) };
    tracing::info!("running");
    let broken = tokio::select! {
        () = stop.cancelled() => None,
        broken = service.broken() => Some(broken),
    };
    let ending = match &broken {
        Some(fatal) => fatal.ending(),
        None => signalled.await.unwrap_or_default(),
    };
    let ended = service.end(ending).await;
    match (broken, ended) {
        (Some(fatal), _) => Err(fatal.into()),
        (None, Ended::InTime) => {
            tracing::info!("ended");
            Ok(())
        }
        (None, Ended::TooLate) => Err(Failure::TooLate),
    }
}

type Signals = (tokio::signal::unix::Signal, tokio::signal::unix::Signal);

pub(super) fn signals() -> Result<Signals, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::Broken(error.to_string()));
    Ok((listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?))
}
