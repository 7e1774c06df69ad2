//! `state scrub`: stored states compared with what their records make of them, of some users or of all. It
//! changes nothing.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use actors::compare::Finding;
use actors::lane::UserNumber;
use actors::restore::{RestoreError, Restorer};
use actors::seal::KeyRing as _;
use actors::store::{Store as _, StoredUser};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::asking::progress;
use crate::cli::config::Layers;
use crate::cli::failure::Failure;
use crate::cli::servers::{self, block_on, log_access};
use crate::export::ExportError;
use crate::seal::Sealer;
use crate::seal::key_ring::StoredKeyRing;
use crate::store::{Administration as _, SqlStore};

/// Whom to compare, and how fast.
#[derive(Args)]
pub(super) struct Arguments {
    /// So many users, from all over the store.
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = RangedU64ValueParser::<u64>::new().range(1..=100_000_000))]
    users: u64,
    /// Everybody.
    #[arg(long, conflicts_with = "users")]
    all: bool,
    /// Users a second, at most: the database has other work.
    #[arg(long, value_name = "R", default_value_t = 20,
        value_parser = RangedU64ValueParser::<u32>::new().range(1..=100_000))]
    rate: u32,
    /// One JSON object a line; the last one counts.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    layers: Layers,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let settings = arguments.layers.load()?.settings;
    block_on(async {
        let opened = servers::store_with_keys(&settings).await?;
        let (store, keys) = (Arc::clone(&opened.store), Arc::clone(&opened.keys));
        let seal = Arc::new(Sealer::new(settings.keys.algorithm.into())?);
        let restorer = Restorer::new(Arc::clone(&store) as _, seal, Arc::clone(&keys) as _);
        let scrub = Scrub { store, keys, restorer, arguments };
        let done = scrub.run().await;
        opened.close().await;
        done
    })
}

/// What a look at one user has come to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Found(Finding),
    NotReplayed,
    Erased,
}

impl Outcome {
    const ALL: [Self; 6] = [
        Self::Found(Finding::Agrees),
        Self::Found(Finding::Differs),
        Self::Found(Finding::Unreadable),
        Self::Found(Finding::Nothing),
        Self::NotReplayed,
        Self::Erased,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Found(Finding::Agrees) => "agrees",
            Self::Found(Finding::Differs) => "differs",
            Self::Found(Finding::Unreadable) => "unreadable",
            Self::Found(Finding::Nothing) => "no checkpoint",
            Self::NotReplayed => "not replayed",
            Self::Erased => "erased",
        }
    }

    /// The same of several, as in a sum.
    fn of_several(self) -> &'static str {
        match self {
            Self::Found(Finding::Agrees) => "agree",
            Self::Found(Finding::Differs) => "differ",
            Self::Found(Finding::Unreadable) => "unreadable",
            Self::Found(Finding::Nothing) => "without checkpoint",
            Self::NotReplayed => "not replayed",
            Self::Erased => "erased",
        }
    }

    fn is_well(self) -> bool {
        matches!(self, Self::Found(Finding::Agrees | Finding::Nothing) | Self::Erased)
    }
}

struct Scrub<'a> {
    store: Arc<SqlStore>,
    keys: Arc<StoredKeyRing>,
    restorer: Restorer,
    arguments: &'a Arguments,
}

impl Scrub<'_> {
    async fn run(&self) -> Result<(), Failure> {
        let (starts, count) = self.starts().await?;
        let told = i64::try_from(count).unwrap_or(i64::MAX);
        log_access(&self.store, "neuros_checkpoints", None, told).await?;
        let bar = progress(count, "users");
        let mut pace = interval(Duration::from_secs(1) / self.arguments.rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tally = BTreeMap::<Outcome, u64>::new();
        let mut after = UserNumber(i64::MIN);
        for start in starts {
            pace.tick().await;
            let user = self.store.users_after(after.max(start), 1).await?;
            let Some(stored) = user.into_iter().next() else { break };
            after = stored.user;
            let (outcome, problem) = self.look_at(&stored).await?;
            *tally.entry(outcome).or_default() += 1;
            if !outcome.is_well() {
                bar.suspend(|| self.show(&stored, outcome, problem.as_deref()))?;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        self.sum_up(&tally)
    }

    /// After which numbers to look for users, and how many that will be.
    async fn starts(&self) -> Result<(Box<dyn Iterator<Item = UserNumber>>, u64), Failure> {
        let lanes = self.store.lanes().await?;
        let given = lanes.iter().map(|row| u64::try_from(row.progress.users).unwrap_or(0));
        let (all, most) = (given.clone().sum::<u64>(), given.max().unwrap_or(0));
        let sample = self.arguments.users;
        if self.arguments.all || sample >= all {
            return Ok((Box::new(std::iter::repeat(UserNumber(i64::MIN))), all));
        }
        // One from each of so many stretches that are equally long.
        let starts = (0..sample).map(move |stretch| {
            let ends = [stretch, stretch + 1].map(|end| place(end, most, sample));
            UserNumber::of(rand::random_range(ends[0]..=ends[1]), actors::lane::Lane(0))
        });
        Ok((Box::new(starts), sample))
    }

    async fn look_at(&self, stored: &StoredUser) -> Result<(Outcome, Option<String>), Failure> {
        let keys = self.keys.keys_of(&[stored.user]).await;
        let keys = keys.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let Some(key) = keys.first().and_then(|key| key.as_ref()).filter(|_| !stored.erased) else {
            return Ok((Outcome::Erased, None));
        };
        match self.restorer.compare(stored, key).await {
            Ok(compared) => Ok((Outcome::Found(compared.finding()), None)),
            Err(RestoreError::Unreadable { problem, .. }) => {
                Ok((Outcome::NotReplayed, Some(problem)))
            }
            Err(error) => Err(ExportError::from(error).into()),
        }
    }

    fn show(&self, stored: &StoredUser, outcome: Outcome, problem: Option<&str>) -> io::Result<()> {
        let (mut output, outcome) = (io::stdout().lock(), outcome.as_str());
        let (user_id, record) = (stored.user_id.as_str(), stored.record_number);
        if self.arguments.json {
            let line = json!({
                "user_id": user_id, "record_number": record, "outcome": outcome, "problem": problem,
            });
            return writeln!(output, "{line}");
        }
        let problem = problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
        let user_id = crate::telemetry::escaped(user_id);
        writeln!(output, "{user_id}: {outcome} at record {record}{problem}")
    }

    fn sum_up(&self, tally: &BTreeMap<Outcome, u64>) -> Result<(), Failure> {
        let count = |outcome: &Outcome| tally.get(outcome).copied().unwrap_or(0);
        let users: u64 = tally.values().sum();
        let mut output = io::stdout().lock();
        if self.arguments.json {
            let of =
                |outcome: Outcome| (outcome.of_several().replace(' ', "_"), json!(count(&outcome)));
            let mut sum: serde_json::Map<_, _> = Outcome::ALL.into_iter().map(of).collect();
            sum.insert("users".to_owned(), json!(users));
            writeln!(output, "{}", serde_json::Value::Object(sum))?;
        } else {
            let met = Outcome::ALL.into_iter().filter(|outcome| count(outcome) > 0);
            let met: Vec<String> = met
                .map(|outcome| format!("{} {}", count(&outcome), outcome.of_several()))
                .collect();
            let what = if met.is_empty() { "nobody is stored".to_owned() } else { met.join(", ") };
            writeln!(output, "{users} users: {what}")?;
        }
        output.flush()?;
        let wrong =
            Outcome::ALL.iter().filter(|outcome| !outcome.is_well()).map(count).sum::<u64>();
        if wrong == 0 {
            return Ok(());
        }
        Err(Failure::Unhealthy(format!(
            "{wrong} of {users} stored states are not what their records make of them; `state show` says \
             how one differs, `state rebuild` mends it"
        )))
    }
}

/// Where a stretch of `most` numbers ends, of `count` that are equally long.
fn place(end: u64, most: u64, count: u64) -> i64 {
    let at = u128::from(end) * u128::from(most) / u128::from(count.max(1));
    i64::try_from(at).unwrap_or(i64::MAX)
}
