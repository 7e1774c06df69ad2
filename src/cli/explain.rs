//! `explain`: why a person is in their mode, for a person at a terminal: a sentence first, then the numbers. That
//! somebody looked is written down first.

use std::io::{self, Write};
use std::sync::Arc;

use actors::restore::Restorer;
use actors::seal::KeyRing as _;
use actors::store::{Asked, Store as _};
use clap::Args;
use neuros::explain::Explanation;
use neuros::time::Timestamp;
use serde_json::Value;

use super::config::Layers;
use super::failure::Failure;
use super::servers::{block_on, log_access, store_with_keys};
use crate::app::now;
use crate::coach;
use crate::export::ExportError;
use crate::retrace::Source;
use crate::seal::Sealer;
use crate::telemetry::escaped;
use crate::why::{RECORDS_MAX, Why};

/// Says why a user is in their mode, and why not in another: in a sentence, then in numbers.
///
/// Recomputed from stored records, of which at most 10,000 are applied again. That somebody looked is written to
/// `phi_access_log` first.
#[derive(Args)]
#[command(after_help = "Examples:
  biometric-bridge explain u1
  biometric-bridge explain u1 --at 2025-03-03T08:00:00Z --json | jq .counterfactual")]
pub(super) struct Arguments {
    /// Whose.
    user: String,
    /// As it was then, by what was stored.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    at: Option<Timestamp>,
    /// All of it as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    layers: Layers,
}

/// An instant (RFC 3339).
fn instant(text: &str) -> Result<Timestamp, String> {
    let instant = text.parse::<jiff::Timestamp>();
    instant
        .map(|instant| Timestamp::from_micros(instant.as_microsecond()))
        .map_err(|_| "wanted is a time such as 2025-03-03T08:00:00Z".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let settings = arguments.layers.load()?.settings;
    let user_id = &arguments.user;
    let (why, coach) = block_on(async {
        let opened = store_with_keys(&settings).await?;
        let store = &opened.store;
        let nobody = || Failure::Broken("nothing is stored of the user asked for".to_owned());
        let stored = store.users(Asked::Ids(&[user_id])).await?.into_iter().next();
        let stored = stored.filter(|stored| !stored.erased).ok_or_else(nobody)?;
        log_access(store, "biometric_events", Some(user_id), RECORDS_MAX).await?;
        let keys = opened.keys.keys_of(&[stored.user]).await;
        let keys = keys.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let key = keys.into_iter().next().flatten().ok_or_else(nobody)?;
        let seal = Arc::new(Sealer::new(settings.keys.algorithm.into())?);
        let restorer = Restorer::new(Arc::clone(store) as _, seal, Arc::clone(&opened.keys) as _);
        let source = Source { store, restorer: &restorer, stored: &stored, key: &key };
        let why = Why::of(source, arguments.at, now()).await.map_err(ExportError::from)?;
        let coach = match arguments.at {
            None => coached(source).await?,
            Some(_) => None,
        };
        opened.close().await;
        let why = why.map_err(|_| {
            Failure::Broken(format!(
                "more than {RECORDS_MAX} records lie between that and where a state is kept, so it cannot \
                 be recomputed"
            ))
        })?;
        Ok((why, coach))
    })?;
    let mut output = io::stdout().lock();
    match arguments.json {
        true => {
            let mut all = why.to_json(user_id);
            all["coach"] = coach.into();
            writeln!(output, "{all:#}")?;
        }
        false => print(&why, coach.as_ref(), &mut output)?,
    }
    Ok(output.flush()?)
}

/// The newest message of the coach.
async fn coached(source: Source<'_>) -> Result<Option<Value>, ExportError> {
    let Source { store, restorer, stored, key } = source;
    let newest = store.newest_coach_message(stored.user).await?;
    let newest = newest.filter(|message| message.n > stored.start.message_number);
    let Some(message) = newest else { return Ok(None) };
    let place = coach::place(stored.user, message.n);
    let opened = restorer.open(stored.user, key, place, &message.body).await?;
    Ok(opened.ok().and_then(|json| serde_json::from_slice(json.expose()).ok()))
}

fn print(why: &Why, coach: Option<&Value>, output: &mut impl Write) -> io::Result<()> {
    writeln!(output, "{}", escaped(&why.sentence()))?;
    if let Some(message) = coach {
        let text = |field: &str| escaped(message[field].as_str().unwrap_or_default());
        let (of, by) = (text("time"), text("source"));
        writeln!(output, "The coach, of the change at {of} ({by}): {}", text("text"))?;
    }
    if let Some(otherwise) = why.otherwise() {
        writeln!(output, "{otherwise}")?;
    }
    if let Some(explanation) = why.explanation() {
        rules(explanation, output)?;
    }
    for baseline in why.baselines() {
        let text = |field: &str| baseline[field].as_str().unwrap_or("-").to_owned();
        let mean = baseline["mean"].as_f64();
        writeln!(
            output,
            "usual {}: {} on {}, {}",
            text("signal"),
            number(mean),
            escaped(&text("device_id")),
            text("status")
        )?;
    }
    Ok(())
}

/// Each rule on a line: how it was judged, what it saw, what it needs, and how far it was from that.
fn rules(explanation: &Explanation, output: &mut impl Write) -> io::Result<()> {
    let line = ["rule", "status", "value", "threshold", "margin"];
    let [rule, status, value, threshold, margin] = line;
    writeln!(output)?;
    writeln!(output, "{rule:<24} {status:<12} {value:>10} {threshold:>10} {margin:>10}")?;
    for report in &explanation.rules {
        let status = serde_json::to_value(report.status).unwrap_or_default();
        writeln!(
            output,
            "{:<24} {:<12} {:>10} {:>10} {:>10}",
            report.id.as_str(),
            status.as_str().unwrap_or_default(),
            number(report.value),
            number(report.threshold),
            number(report.margin)
        )?;
    }
    writeln!(output)
}

/// A number as people read it.
fn number(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.2}"))
}
