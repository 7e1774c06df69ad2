//! `dlq`: records that could not be applied. Shows them, has them tried again or gives them up; the lanes'
//! owners do that, this only asks for it.

mod address;
mod choice;

use std::io::{self, Write};

use actors::command::{Letters, Order};
use actors::dead_letter::Letter;
use actors::store::{Asked, Store as _};
use clap::{Args, Subcommand};

use super::asking::{Asking, Patience};
use super::config::Layers;
use super::failure::Failure;
use super::servers::{self, block_on, log_access_to};
use crate::app::topics_of;
use crate::letters::user_of;
use crate::seal::Sealer;
use crate::store::LetterEntry;
use choice::{Choice, Filter};

/// Shows records that could not be applied, has them tried again, or gives them up.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Which there are, why, and where they were read; not what stands in them.
    #[command(after_help = "Examples:
  biometric-bridge dlq list --reason not_json
  biometric-bridge dlq list --since 2026-11-24T08:00:00Z --json | jq -r .reason | sort | uniq -c")]
    List {
        #[command(flatten)]
        filter: Filter,
        /// Those that were applied or discarded meanwhile too.
        #[arg(long)]
        all: bool,
        /// So many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        layers: Layers,
    },
    /// One of them as it came, key, headers and value. That somebody looked is written down first.
    #[command(after_help = "Example:\n  biometric-bridge dlq show 3/17")]
    Show {
        /// Which, as `list` names it: LANE/NUMBER.
        #[arg(value_parser = choice::letter)]
        letter: Letter,
        #[command(flatten)]
        layers: Layers,
    },
    /// Tries them again, in order and with their original times: after settings have changed that refused
    /// them.
    ///
    /// What is still refused stays as it is. Each is tried where its user lives now, whichever lane has read
    /// it. Records of a user in quarantine wait for `quarantine release`, which keeps their order.
    #[command(after_help = "Examples:
  biometric-bridge dlq redrive 3/17 3/18
  biometric-bridge dlq redrive --reason naive_timestamp --dry-run")]
    Redrive(Change),
    /// Gives them up: they stay in the store and are never applied.
    #[command(after_help = "Examples:
  biometric-bridge dlq discard 3/17
  biometric-bridge dlq discard --reason not_json")]
    Discard(Change),
}

#[derive(Args)]
struct Change {
    #[command(flatten)]
    choice: Choice,
    /// Only say which they would be, by the lane that would see to them, the first of each by name.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    layers: Layers,
}

/// Dead letters that one command asks about.
const LETTERS_A_COMMAND: usize = 500;
/// Dead letters of a lane that a dry run names, at most.
const NAMED_MAX: usize = 20;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::List { filter, all, limit, json, layers } => {
            list(filter, *all, *limit, *json, layers)
        }
        Command::Show { letter, layers } => show(*letter, layers),
        Command::Redrive(change) => ask(change, Order::Redrive),
        Command::Discard(change) => ask(change, Order::Discard),
    }
}

fn list(
    filter: &Filter,
    all: bool,
    limit: usize,
    json: bool,
    layers: &Layers,
) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    let letters = block_on(async {
        let store = servers::checked_store(&settings).await?;
        let letters = choice::find(&store, &filter.of(all), limit.saturating_add(1)).await;
        servers::close(&store).await;
        letters
    })?;
    let topics = topics_of(&settings);
    let mut output = io::stdout().lock();
    for letter in letters.iter().take(limit) {
        match json {
            true => writeln!(output, "{}", as_json(letter, topics.of(letter.source)))?,
            false => print(letter, topics.of(letter.source), &mut output)?,
        }
    }
    if letters.is_empty() && !json {
        writeln!(output, "there are none")?;
    }
    output.flush()?;
    if letters.len() > limit {
        super::complain(&format!("there are more than {limit}; --limit shows more"));
    }
    Ok(())
}

fn as_json(letter: &LetterEntry, topic: &str) -> serde_json::Value {
    serde_json::json!({
        "letter": format!("{}/{}", letter.lane, letter.number),
        "failed_at": letter.failed_at.to_string(),
        "reason": letter.reason,
        "detail": letter.detail,
        "topic": topic,
        "partition": letter.lane.0,
        "offset": letter.offset,
        "record_time": letter.record_time.map(|time| time.to_string()),
        "user_id": letter.user_id,
        "released_at": letter.released.as_ref().map(|(at, _)| at.to_string()),
        "fate": letter.released.as_ref().map(|(_, fate)| fate),
    })
}

fn print(letter: &LetterEntry, topic: &str, output: &mut impl Write) -> io::Result<()> {
    let LetterEntry { lane, number, offset, reason, failed_at, .. } = letter;
    let name = format!("{lane}/{number}");
    write!(output, "{name:<10} {failed_at}  {topic}/{lane} at {offset}  {reason}")?;
    write!(output, ": {}", crate::telemetry::escaped(&letter.detail))?;
    if let Some(user_id) = &letter.user_id {
        write!(output, " (of {})", crate::telemetry::escaped(user_id))?;
    }
    if let Some((at, fate)) = &letter.released {
        write!(output, " [{fate} {at}]")?;
    }
    writeln!(output)
}

fn show(letter: Letter, layers: &Layers) -> Result<(), Failure> {
    use actors::seal::{KeyRing as _, Seal as _};
    let settings = layers.load()?.settings;
    let raw = block_on(async {
        let opened = servers::store_with_keys(&settings).await?;
        let (store, keys) = (&opened.store, &opened.keys);
        let sealed = store.sealed_letter(letter).await?;
        let sealed =
            sealed.ok_or_else(|| Failure::Broken(format!("there is no dead letter {letter}")))?;
        let key = keys.service_key().await;
        let key = key.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let place = actors::dead_letter::place(letter);
        let raw = Sealer::new(settings.keys.algorithm.into())?.open(&key, place, &sealed.body);
        let raw = raw.ok().and_then(|bytes| actors::dead_letter::of_bytes(&bytes));
        // Whose it is stands in what is sealed only, or in the row when it waits for somebody's release.
        let stored = match sealed.user {
            Some(user) => store.users(Asked::Numbers(&[user])).await?,
            None => Vec::new(),
        };
        let owner = stored.into_iter().next().map(|stored| stored.user_id);
        let owner = owner.or_else(|| user_of(raw.as_ref()?, sealed.record_time));
        log_access_to(store, "dead_letters", owner.as_deref(), &letter.to_string()).await?;
        opened.close().await;
        raw.ok_or_else(|| Failure::Broken(format!("dead letter {letter} does not open")))
    })?;
    let raw = raw.expose();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> = raw
        .headers
        .iter()
        .map(|(name, value)| serde_json::json!([name, value.as_deref().map(text)]))
        .collect();
    let shown = serde_json::json!({
        "letter": letter.to_string(),
        "key": raw.key.as_deref().map(text),
        "headers": headers,
        "value": raw.value.as_deref().map(text),
    });
    let mut output = io::stdout().lock();
    writeln!(output, "{shown:#}")?;
    Ok(output.flush()?)
}

fn ask(change: &Change, order: fn(Letters) -> Order) -> Result<(), Failure> {
    let settings = change.layers.load()?.settings;
    block_on(async {
        let asking = Asking::open(&settings).await?;
        let names = change.choice.letters(&asking.store).await?;
        let chosen = address::by_lane(&asking, &names).await?;
        let mut output = io::stdout().lock();
        let total: usize = chosen.values().map(Vec::len).sum();
        if change.dry_run || total == 0 {
            for (lane, names) in &chosen {
                writeln!(output, "lane {lane}: {} dead letters: {}", names.len(), first_of(names))?;
            }
            writeln!(output, "{total} dead letters; nothing was changed")?;
            servers::close(&asking.store).await;
            return Ok(output.flush()?);
        }
        let mut asked = Vec::new();
        for (lane, names) in chosen {
            for names in names.chunks(LETTERS_A_COMMAND) {
                let letters = Letters::of(names.iter().copied());
                asked.push(asking.ask(lane, order(letters)).await?);
            }
        }
        let outcomes = asking.outcomes(&asked, &change.patience).await;
        servers::close(&asking.store).await;
        for (one, outcome) in asked.iter().zip(outcomes?) {
            writeln!(output, "lane {}: {outcome}", one.lane)?;
        }
        Ok(output.flush()?)
    })
}

/// The names of the first, and how many there are besides.
fn first_of(names: &[Letter]) -> String {
    let mut said: Vec<String> = names.iter().take(NAMED_MAX).map(Letter::to_string).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        said.push(format!("and {more} more"));
    }
    said.join(" ")
}
