//! `tail`: mode changes and alerts as they are stored, of everybody or of one user, until Ctrl-C. That somebody
//! looks is written down before anything is shown.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use actors::lane::{Lane, UserNumber};
use actors::places::outbox_place;
use actors::rows::Sink;
use actors::seal::{KeyRing as _, Seal as _, Unopened};
use actors::store::{Store as _, StoredOutbox};
use clap::Args;
use serde_json::Value;

use super::asking::Asking;
use super::config::Layers;
use super::failure::Failure;
use super::servers::{block_on, log_access};
use crate::store::Administration as _;
use crate::telemetry::escaped;

/// Follows mode changes and alerts as they are stored, of everybody or of one user.
///
/// Begins with what comes next; ends with Ctrl-C. That somebody looks is written to `phi_access_log` before anything
/// is shown.
#[derive(Args)]
#[command(after_help = "Examples:
  biometric-bridge tail
  biometric-bridge tail u1 --json | jq -r .reason_text")]
pub(super) struct Arguments {
    /// Of whom.
    user: Option<String>,
    /// One JSON object a line: the message.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    layers: Layers,
}

/// Messages that are read at once.
const PAGE: i64 = 1_000;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Where what is followed leaves.
const SINKS: [Sink; 2] = [Sink::Transitions, Sink::Alerts];

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let settings = arguments.layers.load()?.settings;
    let user = arguments.user.as_deref();
    block_on(async {
        let asking = Asking::open(&settings).await?;
        let mut seen: BTreeMap<Lane, i64> = BTreeMap::new();
        for row in asking.store.lanes().await? {
            seen.insert(row.lane, row.progress.outbox);
        }
        log_access(&asking.store, "outbox", user, 0).await?;
        let mut output = io::stdout().lock();
        loop {
            for row in asking.store.lanes().await? {
                let after = seen.entry(row.lane).or_insert(0);
                let upto = row.progress.outbox;
                for message in messages(&asking, (row.lane, *after, upto), user).await? {
                    print(&message, arguments.json, &mut output)?;
                }
                *after = upto;
            }
            output.flush()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

/// What has left a lane behind one number and up to another, in order.
async fn messages(
    asking: &Asking,
    (lane, after, upto): (Lane, i64, i64),
    user: Option<&str>,
) -> Result<Vec<Value>, Failure> {
    let mut rows: Vec<StoredOutbox> = Vec::new();
    for sink in SINKS {
        let mut from = after;
        while from < upto {
            let page = asking.store.outbox(lane, sink, from, PAGE).await?;
            let Some(last) = page.last() else { break };
            from = last.number;
            let wanted = |row: &StoredOutbox| {
                row.number <= upto && user.is_none_or(|user| row.user_id.as_deref() == Some(user))
            };
            rows.extend(page.into_iter().filter(wanted));
        }
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    rows.sort_unstable_by_key(|row| row.number);
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    log_access(&asking.store, "outbox", user, count).await?;
    let users: Vec<UserNumber> = rows.iter().filter_map(|row| row.user).collect();
    let keys = asking.opened.keys.keys_of(&users).await;
    let keys = keys.map_err(|error| Failure::Unavailable(error.to_string()))?;
    let mut all = Vec::with_capacity(rows.len());
    for (row, key) in rows.iter().filter(|row| row.user.is_some()).zip(keys) {
        // Of somebody who was erased nothing opens.
        let (Some(key), Some(user), Some(n)) = (key, row.user, row.n) else { continue };
        match asking.seal.open(&key, outbox_place(user, n), &row.body) {
            Ok(bytes) => all.extend(serde_json::from_slice::<Value>(bytes.expose()).ok()),
            Err(Unopened::OtherKey(_)) => {}
            Err(error) => {
                return Err(Failure::Broken(format!("row {} of lane {lane}: {error}", row.number)));
            }
        }
    }
    Ok(all)
}

fn print(message: &Value, json: bool, output: &mut impl Write) -> io::Result<()> {
    if json {
        return writeln!(output, "{message}");
    }
    let text = |field: &str| escaped(message[field].as_str().unwrap_or_default()).to_string();
    if message["type"] == "alert" {
        return writeln!(
            output,
            "{}  {}  alert {} {} {}: {}",
            text("updated_at"),
            text("user_id"),
            text("severity"),
            text("rule"),
            text("status"),
            text("detail")
        );
    }
    writeln!(
        output,
        "{}  {}  {} -> {}: {}",
        text("time"),
        text("user_id"),
        text("previous_mode"),
        text("mode"),
        text("reason_text")
    )
}
