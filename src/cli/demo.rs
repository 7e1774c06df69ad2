//! `demo`: the whole service on recorded people, with nothing to set up.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::complain;
use super::failure::Failure;
use super::run::{key_file_in, setup, signals};
use crate::app::{Service, Setup, connection_of, topics_of};
use crate::demo::{ModeChange, Played, RECORDINGS, View, follow, play};
use crate::http::Ending;
use crate::kafka::Sender;
use crate::settings::{Inputs, Loaded};
use crate::store::{Administration as _, Options, Totals};
use crate::telemetry;

/// Shows the whole service at work on recorded people: needs no server and no configuration.
///
/// A Kafka-compatible broker runs inside the process, the store is SQLite in a folder, and ten
/// recordings of real people are played fast. Everything else is the service as `run` runs it. Ctrl-C
/// ends it with a summary.
#[derive(Args)]
#[command(after_help = "Examples:
  biometric-bridge demo
  biometric-bridge demo --speed 4 --once
  biometric-bridge demo --data demo-data --http 127.0.0.1:9002")]
pub(super) struct Arguments {
    /// Play so many times faster; at 1 each recording takes a minute.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Keep the store and the key file in this folder; without it they go when the demo ends.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Where /ready and /metrics are served; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8002")]
    http: std::net::SocketAddr,
    /// End when all recordings are played, instead of waiting for your own events.
    #[arg(long)]
    once: bool,
}

const LANES: i32 = 3;
const LANE_COUNT: usize = 3;
const DATABASE: &str = "bridge.db";

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = Folder::of(arguments)?;
    actix::System::new().block_on(show(arguments, &folder))
}

/// The folder of the demo; a temporary one goes with this value.
struct Folder {
    path: PathBuf,
    temporary: bool,
    /// An earlier demo has left its store here.
    used: bool,
}

impl Folder {
    fn of(arguments: &Arguments) -> Result<Self, Failure> {
        let temporary = arguments.data.is_none();
        let path = arguments.data.clone().unwrap_or_else(|| {
            std::env::temp_dir().join(format!("biometric-bridge-demo-{}", std::process::id()))
        });
        let unwritable = |source| Failure::NotCreated { path: path.clone(), source };
        std::fs::create_dir_all(&path).map_err(unwritable)?;
        let used = path.join(DATABASE).exists();
        Ok(Self { path, temporary, used })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // What is left over lies in the system's folder for such things.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

async fn show(arguments: &Arguments, folder: &Folder) -> Result<(), Failure> {
    let topics = crate::kafka::TopicNames::default();
    let broker = broker(&topics).map_err(unavailable)?;
    let setup = setup_of(arguments, folder, &broker.bootstrap_servers())?;
    let http = setup.listener.address().map_err(|error| Failure::Broken(error.to_string()))?;
    let connection = connection_of(&setup.settings);
    let sender = Sender::new(&connection, &topics_of(&setup.settings).events);
    let sender = sender.map_err(unavailable)?;
    let stop = CancellationToken::new();
    let changes = follow(&connection.bootstrap_servers, &topics.transitions, LANES, stop.clone());
    let mut shown = Shown {
        view: View::of(RECORDINGS.iter().map(|recording| recording.name.to_owned())),
        changes: changes.map_err(unavailable)?,
        played: Arc::new(Played::default()),
        http: http.to_string(),
    };
    shown.view.say(&introduction(folder, &connection.bootstrap_servers, &http.to_string()))?;
    let started = Service::start(setup, stop.child_token()).await;
    let started = started.map_err(|broken| Failure::Broken(broken.0))?;
    let Some(mut service) = started else { return Ok(()) };
    let mut players = players(arguments, &sender, &shown.played, &stop);
    let ended = shown.until_told(arguments.once, &mut players, &mut service).await;
    stop.cancel();
    while players.join_next().await.is_some() {}
    service.end(Ending::Away).await;
    let totals = totals(folder).await;
    shown.view.say(&shown.summary(totals))?;
    ended
}

/// What the store holds, once nothing more is written to it.
async fn totals(folder: &Folder) -> Option<Totals> {
    let url = format!("sqlite:{}", folder.path.join(DATABASE).display());
    let store = crate::store::open(&url, &Options::default()).await.ok()?;
    store.totals().await.ok()
}

fn unavailable(error: impl std::fmt::Display) -> Failure {
    Failure::Unavailable(error.to_string())
}

fn broker(
    topics: &crate::kafka::TopicNames,
) -> Result<MockCluster<'static, DefaultProducerContext>, rdkafka::error::KafkaError> {
    let broker = MockCluster::new(1)?;
    broker.create_topic(&topics.events, LANES, 1)?;
    broker.create_topic(&topics.by_user, LANES, 1)?;
    broker.create_topic(&topics.transitions, LANES, 1)?;
    broker.create_topic(&topics.alerts, 1, 1)?;
    broker.create_topic(&topics.dead_letters, 1, 1)?;
    broker.create_topic(&topics.audit, 1, 1)?;
    Ok(broker)
}

fn setup_of(
    arguments: &Arguments,
    folder: &Folder,
    bootstrap_servers: &str,
) -> Result<Setup, Failure> {
    let database = folder.path.join(DATABASE);
    let set = |key: &str, value: String| (key.to_owned(), value);
    let inputs = Inputs {
        overrides: vec![
            set("store.url", format!("sqlite:{}?mode=rwc", database.display())),
            set("kafka.bootstrap_servers", bootstrap_servers.to_owned()),
            set("http.bind", arguments.http.to_string()),
            // The broker in this process lets a fetch wait even when a record comes.
            set("kafka.fetch_wait", "5ms".to_owned()),
            set("log.level", "warn".to_owned()),
        ],
        development: true,
        ..Inputs::default()
    };
    let mut settings = Loaded::from_layers(&inputs).map_err(Failure::Settings)?.settings;
    if !io::stdout().is_terminal() || !io::stderr().is_terminal() {
        // On a terminal log lines would tear the table apart.
        telemetry::init(&settings).map_err(|error| Failure::Broken(error.to_string()))?;
    }
    settings.keys.file = Some(key_file_in(&folder.path)?);
    let mut setup = setup(settings, true)?;
    // The broker begins empty each time; the store may not.
    setup.adopt = true;
    Ok(setup)
}

fn introduction(folder: &Folder, broker: &str, http: &str) -> String {
    let again = if folder.used {
        "\nThe store is that of an earlier demo: the same recordings again are old news to it, so send \
         events\nof your own, or look at what it holds. The broker is new, which counts as a new \
         generation.\n"
    } else {
        ""
    };
    let kept = if folder.temporary { "goes when the demo ends" } else { "is kept" };
    format!(
        "The Biometric Bridge on {} recorded people; a speeded-up life takes a minute.\n\
         \n  broker   {broker}  (in this process)\
         \n  store    {}  ({kept})\
         \n  key      {}  (made for this demo; seals everything in the store)\
         \n  look     http://{http}/ready  http://{http}/metrics\
         \n\nSend an event of your own:\
         \n  biometric-bridge send --bootstrap-servers {broker} --user me --metric stress_level=0.95\
         \n  echo '{{\"user_id\":\"me\",\"timestamp\":\"'$(date -u +%FT%TZ)'\",\"metrics\":{{\"stress_level\":0.95}}}}' \
         | kcat -P -b {broker} -t biometric.events\n{again}",
        RECORDINGS.len(),
        folder.path.join(DATABASE).display(),
        folder.path.join("keys.txt").display(),
    )
}

fn players(
    arguments: &Arguments,
    sender: &Sender,
    played: &Arc<Played>,
    stop: &CancellationToken,
) -> JoinSet<Result<(), String>> {
    let length = Duration::from_mins(1).div_f64(arguments.speed);
    let mut players = JoinSet::new();
    for recording in RECORDINGS {
        let (sender, played, stop) = (sender.clone(), Arc::clone(played), stop.clone());
        players.spawn_local(async move { play(*recording, &sender, length, &played, &stop).await });
    }
    players
}

/// What is on the screen.
struct Shown {
    view: View,
    changes: mpsc::Receiver<ModeChange>,
    played: Arc<Played>,
    http: String,
}

const REDRAW: Duration = Duration::from_millis(250);
/// After the last record is sent: how long without another change before the demo counts as over.
const QUIET: Duration = Duration::from_secs(3);

impl Shown {
    async fn until_told(
        &mut self,
        once: bool,
        players: &mut JoinSet<Result<(), String>>,
        service: &mut Service,
    ) -> Result<(), Failure> {
        let (mut term, mut interrupt) = signals()?;
        let mut redraw = tokio::time::interval(REDRAW);
        let mut quiet = Duration::ZERO;
        loop {
            tokio::select! {
                Some(change) = self.changes.recv() => {
                    quiet = Duration::ZERO;
                    self.view.show(&change)?;
                }
                Some(played) = players.join_next() => {
                    if let Ok(Err(problem)) = played {
                        complain(&problem);
                    }
                }
                _ = redraw.tick() => {
                    // Before all lanes run, quiet says nothing.
                    let running = service.watch().readiness().lanes.len();
                    quiet = if running < LANE_COUNT { Duration::ZERO } else { quiet + REDRAW };
                    if once && players.is_empty() && quiet >= QUIET {
                        return Ok(());
                    }
                    self.draw(players.is_empty(), service)?;
                }
                broken = service.broken() => return Err(broken.into()),
                _ = term.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            }
        }
    }

    fn draw(&mut self, played_all: bool, service: &Service) -> Result<(), Failure> {
        let readiness = service.watch().readiness();
        let sent = self.played.sent.load(Ordering::Relaxed);
        let doing = if played_all { "all played; send your own" } else { "playing" };
        let footer = format!(
            "{} · {sent} records · {} mode changes · {doing} · http://{} · Ctrl-C ends",
            readiness.status,
            self.view.changes(),
            self.http
        );
        Ok(self.view.draw(&footer)?)
    }

    fn summary(&self, totals: Option<Totals>) -> String {
        let sent = self.played.sent.load(Ordering::Relaxed);
        let mut text =
            format!("\n{sent} records sent, {} mode changes shown.", self.view.changes());
        if let Some(totals) = totals {
            text.push_str(&format!(
                "\nIn the store: {} records of {} users, {} mode changes, {} dead letters.",
                totals.records, totals.users, totals.transitions, totals.dead_letters
            ));
        }
        text
    }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=1_000.0).contains(&speed) {
        Ok(speed)
    } else {
        Err("must lie between 0.01 and 1000".to_owned())
    }
}
