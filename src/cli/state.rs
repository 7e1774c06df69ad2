//! `state`: users' states as they are stored, compared with what the stored records make of them, and put
//! right by the lane's owner.

mod scrub;

use std::fmt;
use std::io::{self, Write as _};
use std::sync::Arc;

use actors::command::{Order, REBUILT_ANOTHER, REBUILT_THE_SAME};
use actors::compare::{Finding, There};
use actors::erase::WAS_ERASED;
use actors::home::home;
use actors::person::Person;
use actors::restore::Restorer;
use actors::seal::KeyRing as _;
use actors::store::{Asked, Store as _};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::asking::{Asking, NOTED, Patience};
use super::config::Layers;
use super::failure::Failure;
use super::servers::{self, block_on, log_access};
use crate::export::ExportError;
use crate::seal::key_ring::StoredKeyRing;
use crate::seal::{Algorithm, Sealer};
use crate::store::SqlStore;

/// Shows a user's state beside what their records make of it, and makes it anew.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The stored state, the same made anew from stored records, and where they differ.
    ///
    /// Changes nothing. That somebody looked is written down first. Exit code 0 when they agree, 1 when
    /// they do not.
    #[command(after_help = "Example:\n  biometric-bridge state show u1 | jq .differences")]
    Show {
        /// Whose.
        user: String,
        #[command(flatten)]
        layers: Layers,
    },
    /// Compares stored states with what their records make of them: of a sample, or of everybody.
    ///
    /// Changes nothing, and may run beside the service. Whoever does not agree is named; a checkpoint that does
    /// not open is told apart, one that was deleted is no fault. That somebody looked is written down first.
    /// Exit code 0 when all agree, 1 when one does not.
    #[command(after_help = "Examples:\n  biometric-bridge state scrub\n  \
                            biometric-bridge state scrub --all --rate 200 --json")]
    Scrub(scrub::Arguments),
    /// Makes the state anew from stored records, puts it in the place of the one there is, and shows where that
    /// was another.
    ///
    /// The lane's owner does it, between two of the user's records; mode changes that were told stay
    /// told. That somebody looked is written down first.
    #[command(after_help = "Example:\n  biometric-bridge state rebuild u1")]
    Rebuild {
        /// Whose.
        user: String,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        layers: Layers,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Show { user, layers } => show(user, layers),
        Command::Scrub(arguments) => scrub::run(arguments),
        Command::Rebuild { user, patience, layers } => rebuild(user, patience, layers),
    }
}

/// A stored state beside what the stored records make of it.
struct Beside {
    quarantined: bool,
    has_checkpoint: bool,
    stored: Value,
    rebuilt: Value,
    differences: Vec<Difference>,
}

/// Where the two are not the same.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    /// The path of what differs, or what is wrong.
    what: String,
    /// Of a path: what is stored there, and what the records come to.
    values: Option<(Value, Value)>,
}

impl Difference {
    fn of(what: impl Into<String>) -> Self {
        Self { what: what.into(), values: None }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.values {
            Some((stored, rebuilt)) => write!(f, "{}: {stored} -> {rebuilt}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Looks at a user's state, of which somebody is told next; `None` when nothing is stored of the user.
async fn look(
    store: &Arc<SqlStore>,
    keys: &Arc<StoredKeyRing>,
    user_id: &str,
) -> Result<Option<Beside>, Failure> {
    let users = store.users(Asked::Ids(&[user_id])).await?;
    let Some(stored) = users.first() else { return Ok(None) };
    let seal = Arc::new(Sealer::new(Algorithm::default())?);
    let restorer = Restorer::new(Arc::clone(store) as _, seal, Arc::clone(keys) as _);
    log_access(store, "neuros_checkpoints", Some(user_id), 1).await?;
    let keys = keys.keys_of(&[stored.user]).await;
    let keys = keys.map_err(|error| Failure::Unavailable(error.to_string()))?;
    let key = keys.first().and_then(|key| key.as_ref()).filter(|_| !stored.erased);
    let key = key.ok_or_else(|| Failure::Broken(WAS_ERASED.to_owned()))?;
    let compared = restorer.compare(stored, key).await.map_err(ExportError::from)?;
    let rebuilt = as_json(&compared.rebuilt);
    let mut differences = Vec::new();
    let there = match &compared.there {
        There::State(there) => as_json(there),
        There::Unreadable(problem) => {
            differences.push(Difference::of(format!("the checkpoint does not open: {problem}")));
            Value::Null
        }
        There::Nothing => Value::Null,
    };
    if let There::State(_) = &compared.there {
        differ("", &there, &rebuilt, &mut differences);
        if differences.is_empty() && compared.finding() != Finding::Agrees {
            differences.push(Difference::of("in what a summary does not show"));
        }
    }
    Ok(Some(Beside {
        quarantined: stored.quarantined,
        has_checkpoint: stored.checkpoint.is_some(),
        stored: there,
        rebuilt,
        differences,
    }))
}

fn show(user_id: &str, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    let beside = block_on(async {
        let opened = servers::store_with_keys(&settings).await?;
        let beside = look(&opened.store, &opened.keys, user_id).await?;
        opened.close().await;
        beside.ok_or_else(|| Failure::Broken("nothing is stored of the user asked for".to_owned()))
    })?;
    let differences: Vec<&str> = beside.differences.iter().map(|its| its.what.as_str()).collect();
    let shown = json!({
        "user_id": user_id,
        "quarantined": beside.quarantined,
        "has_checkpoint": beside.has_checkpoint,
        "stored": beside.stored,
        "rebuilt": beside.rebuilt,
        "differences": differences,
    });
    let mut output = io::stdout().lock();
    writeln!(output, "{shown:#}")?;
    output.flush()?;
    match differences.len() {
        0 => Ok(()),
        count => {
            Err(Failure::Unhealthy(format!("{count} differences; `state rebuild` mends them")))
        }
    }
}

fn as_json(person: &Person) -> Value {
    let state = person
        .state
        .as_ref()
        .map(|state| serde_json::to_value(state.summary("")).unwrap_or_default());
    json!({
        "record_number": person.record_number,
        "message_number": person.message_number,
        "state": state,
    })
}

/// The paths at which two values differ, with what is there.
fn differ(path: &str, a: &Value, b: &Value, found: &mut Vec<Difference>) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let [a, b] = [a, b].map(|of| of.get(name).unwrap_or(&Value::Null));
                differ(&format!("{path}.{name}"), a, b, found);
            }
        }
        (a, b) if a != b => {
            let what = path.trim_start_matches('.').to_owned();
            found.push(Difference { what, values: Some((a.clone(), b.clone())) });
        }
        _ => {}
    }
}

fn rebuild(user_id: &str, patience: &Patience, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    let (outcome, beside) = block_on(async {
        let asking = Asking::open(&settings).await?;
        // Afterwards both are the same. Whoever cannot be looked at, their lane says why.
        let beside = look(&asking.store, &asking.opened.keys, user_id).await.unwrap_or_default();
        let lane = home(user_id, asking.routing.partition_count);
        let asked = asking.ask(lane, Order::Rebuild { user_id: user_id.to_owned() }).await?;
        let outcomes = asking.outcomes(&[asked], patience).await;
        asking.opened.close().await;
        Ok((outcomes?.join(""), beside))
    })?;
    let is_well = [REBUILT_THE_SAME, REBUILT_ANOTHER].contains(&outcome.as_str());
    if !is_well && !outcome.starts_with(NOTED) {
        return Err(Failure::Broken(outcome));
    }
    let mut output = io::stdout().lock();
    writeln!(output, "{outcome}")?;
    for difference in beside.iter().flat_map(|beside| &beside.differences) {
        writeln!(output, "  {difference}")?;
    }
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_their_paths_with_what_is_there() {
        let mut found = Vec::new();
        let a = json!({"mode": "reflex", "n": {"a": 1, "b": [1]}, "same": 1});
        let b = json!({"mode": "pattern", "n": {"a": 1, "b": [2]}, "same": 1, "more": true});
        differ("", &a, &b, &mut found);
        let said: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert_eq!(
            said,
            ["mode: \"reflex\" -> \"pattern\"", "more: null -> true", "n.b: [1] -> [2]"]
        );
    }
}
