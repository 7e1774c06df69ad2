//! `explain`: why a person is in their mode, for a person at a terminal: a sentence first, then the numbers. That
//! somebody looked is written down first.

use std::io::{self, Write};
use std::sync::Arc;

use actors::restore::Restorer;
use actors::seal::KeyRing as _;
use actors::store::{Asked, Store as _};
use clap::Args;
use neuros::explain::{Explanation, IndicatorReport};
use neuros::time::Timestamp;
use serde_json::Value;

use super::config::Layers;
use super::failure::Failure;
use super::servers::{block_on, log_access, store_with_keys};
use crate::app::now;
use crate::inquiry::{Inquiry, Owned};
use crate::retrace::Source;
use crate::seal::Sealer;
use crate::telemetry::escaped;
use crate::why::RECORDS_MAX;

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
    let told = block_on(async {
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
        let told = Inquiry::of(source, user_id, arguments.at, now()).await?;
        opened.close().await;
        told.map_err(|_| {
            Failure::Broken(format!(
                "more than {RECORDS_MAX} records lie between that and where a state is kept, so it cannot \
                 be recomputed"
            ))
        })
    })?;
    let mut output = io::stdout().lock();
    match arguments.json {
        true => writeln!(output, "{:#}", told.to_json(&ELSEWHERE))?,
        false => print(&told, &mut output)?,
    }
    Ok(output.flush()?)
}

/// This process owns no lanes.
const ELSEWHERE: Owned = Owned {
    condition: None,
    actor_age_seconds: Err(
        "only the instance that owns the lane knows, and shows it at /debug/users",
    ),
};

fn print(told: &Inquiry, output: &mut impl Write) -> io::Result<()> {
    let Inquiry { quarantined, why, alerts, coach, home, .. } = told;
    writeln!(output, "{}", escaped(&why.sentence()))?;
    if let Some(message) = coach {
        let (of, by) = (text(message, "time"), text(message, "source"));
        writeln!(output, "The coach, of the change at {of} ({by}): {}", text(message, "text"))?;
    }
    if let Some(otherwise) = why.otherwise() {
        writeln!(output, "{otherwise}")?;
    }
    if *quarantined {
        writeln!(output, "In quarantine: an evaluation failed, and what has come since waits.")?;
    }
    if let Some(explanation) = why.explanation() {
        rules(explanation, output)?;
    }
    readings(&why.readings(), output)?;
    for line in why.lines() {
        writeln!(output, "{line}")?;
    }
    for baseline in why.baselines() {
        let (signal, device) = (text(&baseline, "signal"), text(&baseline, "device_id"));
        let (mean, status) = (number(baseline["mean"].as_f64()), text(&baseline, "status"));
        writeln!(output, "usual {signal}: {mean} on {device}, {status}")?;
    }
    for alert in alerts {
        let of = |field| text(alert, field);
        let (rule, severity, status) = (of("rule"), of("severity"), of("status"));
        let (since, detail) = (of("started_at"), of("detail"));
        writeln!(output, "alert {severity} {rule} {status} since {since}: {detail}")?;
    }
    if let Some(home) = home {
        let owner = home.row.as_ref().map_or("", |row| &row.owner);
        write!(output, "lane {}", home.lane.0)?;
        if let Some(positions) = home.positions() {
            write!(output, ", events {}, by-user {}", positions.events, positions.by_user)?;
        }
        match owner {
            "" => writeln!(output, ", owned by nobody")?,
            owner => writeln!(output, ", owned by {}", escaped(owner))?,
        }
    }
    Ok(())
}

/// A text of a message, fit for a terminal.
fn text(message: &Value, field: &str) -> String {
    escaped(message[field].as_str().unwrap_or("-")).to_string()
}

/// Each signal on a line: whether it is fresh, what was read, how long ago and by which device.
fn readings(
    readings: &[(&'static str, &IndicatorReport)],
    output: &mut impl Write,
) -> io::Result<()> {
    if readings.is_empty() {
        return Ok(());
    }
    let [reading, status, value, age, device] = ["reading", "status", "value", "age, s", "device"];
    writeln!(output, "{reading:<24} {status:<12} {value:>10} {age:>10}  {device}")?;
    for (signal, report) in readings {
        let status = serde_json::to_value(report.status).unwrap_or_default();
        writeln!(
            output,
            "{signal:<24} {:<12} {:>10} {:>10}  {}",
            status.as_str().unwrap_or_default(),
            number(report.value),
            number(report.age_seconds),
            escaped(report.device_id.as_deref().unwrap_or("-"))
        )?;
    }
    writeln!(output)
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
