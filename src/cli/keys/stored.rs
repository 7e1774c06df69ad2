//! What the store keeps under the keys of the key file: which of them wraps how much, all of it wrapped by the active
//! one, and whether all of it unwraps. Opens nothing that data keys seal.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;

use actors::lane::UserNumber;
use clap::Args;
use serde_json::json;

use crate::app::keys::{of_row, to_row};
use crate::cli::asking::progress;
use crate::cli::config::Layers;
use crate::cli::failure::Failure;
use crate::cli::servers::{block_on, close, log_use_of_keys, store_with_keys};
use crate::seal::Sealer;
use crate::seal::key_ring::FileKeyRing;
use crate::settings::Settings;
use crate::store::{Administration as _, SqlStore, WrappedKey};

/// Keys that are read at once.
const PAGE: u64 = 5_000;

/// Before the first key: numbers begin at 1.
const START: (UserNumber, i32) = (UserNumber(i64::MIN), 0);

#[derive(Args)]
pub(super) struct Arguments {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    layers: Layers,
}

/// The store with its keys, and what is to be said.
struct Stored {
    store: Arc<SqlStore>,
    keys: FileKeyRing,
    settings: Settings,
    json: bool,
}

/// Opens the store and does something with its keys.
fn with(
    arguments: &Arguments,
    work: impl AsyncFnOnce(&Stored) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let settings = arguments.layers.load()?.settings;
    block_on(async {
        let (store, keys) = store_with_keys(&settings).await?;
        let stored = Stored { store, keys, settings, json: arguments.json };
        let done = work(&stored).await;
        close(&stored.store).await;
        done
    })
}

pub(super) fn list(arguments: &Arguments) -> Result<(), Failure> {
    with(arguments, async |stored| stored.list().await)
}

pub(super) fn rewrap(arguments: &Arguments) -> Result<(), Failure> {
    with(arguments, async |stored| stored.rewrap().await)
}

pub(super) fn test(arguments: &Arguments) -> Result<(), Failure> {
    with(arguments, async |stored| stored.test().await)
}

impl Stored {
    /// The name of the key that wraps.
    fn active(&self) -> &str {
        self.keys.wrappers().next().unwrap_or_default()
    }

    async fn list(&self) -> Result<(), Failure> {
        let mut stored: BTreeMap<String, i64> = self.store.wrappers().await?.into_iter().collect();
        let mut rows = Vec::new();
        for name in self.keys.wrappers() {
            let is_first = rows.is_empty();
            let what = if is_first { "wraps new data keys" } else { "unwraps" };
            rows.push((name.to_owned(), stored.remove(name).unwrap_or(0), what));
        }
        let lost = "is not in the key file: what it wraps does not open";
        rows.extend(stored.into_iter().map(|(name, keys)| (name, keys, lost)));
        let mut output = io::stdout().lock();
        for (name, keys, what) in rows {
            if self.json {
                let line = json!({ "name": name, "data_keys": keys, "in_key_file": what != lost });
                writeln!(output, "{line}")?;
            } else {
                writeln!(output, "{name}: {keys} data keys; {what}")?;
            }
        }
        Ok(())
    }

    async fn rewrap(&self) -> Result<(), Failure> {
        let active = self.active();
        let wrappers = self.store.wrappers().await?;
        let others = wrappers.iter().filter(|(name, _)| name != active);
        let count: i64 = others.map(|(_, keys)| keys).sum();
        log_use_of_keys(&self.store, "REWRAP", count).await?;
        let bar = progress(count.unsigned_abs(), "data keys");
        let (mut after, mut done) = (START, 0);
        loop {
            let page = self.store.keys_after(after, Some(active), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = (last.user, last.number);
            let (mut anew, length) = (Vec::with_capacity(page.len()), page.len());
            for before in page {
                let key = of_row(before.clone()).map_err(Failure::Broken)?;
                let key = self.keys.rewrap(&key).map_err(locked)?;
                anew.push((before, to_row(&key)));
            }
            done += self.store.rewrap_keys(&anew).await?;
            bar.inc(length as u64);
        }
        bar.finish_and_clear();
        let left: Vec<(String, i64)> = self.store.wrappers().await?;
        let left: Vec<_> = left.into_iter().filter(|(name, _)| name != active).collect();
        self.say_rewrapped(done, &left)
    }

    fn say_rewrapped(&self, done: usize, left: &[(String, i64)]) -> Result<(), Failure> {
        let (active, mut output) = (self.active(), io::stdout().lock());
        let others: i64 = left.iter().map(|(_, keys)| keys).sum();
        if self.json {
            let line = json!({ "rewrapped": done, "wrapped_by_others": others, "active": active });
            writeln!(output, "{line}")?;
        } else {
            writeln!(output, "{done} data keys are wrapped by {active} now")?;
        }
        let Some((name, keys)) = left.first() else {
            if done > 0 && !self.json {
                writeln!(
                    output,
                    "No other key wraps any. Keep the other lines of the key file for as long as you keep \
                     backups of the database from before."
                )?;
            }
            return Ok(());
        };
        Err(Failure::Unhealthy(format!(
            "{keys} data keys are wrapped by {name} still: an instance whose key file begins with it has made \
             them meanwhile; start all instances with {active} as the first key, then do this again"
        )))
    }

    async fn test(&self) -> Result<(), Failure> {
        let algorithm = self.settings.keys.algorithm;
        let works = Sealer::new(algorithm.into()).and_then(|sealer| sealer.works())?;
        if !works {
            return Err(Failure::Broken(format!("{algorithm} does not open what it has sealed")));
        }
        let count: i64 = self.store.wrappers().await?.iter().map(|(_, keys)| keys).sum();
        log_use_of_keys(&self.store, "TEST", count).await?;
        let bar = progress(count.unsigned_abs(), "data keys");
        let (mut after, mut good) = (START, 0_u64);
        // By what wraps them: how many do not unwrap, and what was said of the first.
        let mut bad = BTreeMap::<String, (u64, String)>::new();
        loop {
            let page = self.store.keys_after(after, None, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = (last.user, last.number);
            bar.inc(page.len() as u64);
            for row in page {
                let wrapper = row.wrapped_by.clone();
                match self.unwraps(row) {
                    Ok(()) => good += 1,
                    Err(problem) => bad.entry(wrapper).or_insert((0, problem)).0 += 1,
                }
            }
        }
        bar.finish_and_clear();
        let lost: u64 = bad.values().map(|(keys, _)| keys).sum();
        let mut output = io::stdout().lock();
        if self.json {
            let cipher = algorithm.to_string();
            let line = json!({ "cipher": cipher, "unwrapped": good, "not_unwrapped": lost });
            writeln!(output, "{line}")?;
        } else {
            writeln!(output, "{algorithm}: what it seals opens again, and nowhere else")?;
            writeln!(output, "{good} data keys unwrap")?;
        }
        match bad.into_values().next() {
            None => Ok(()),
            Some((_, problem)) => {
                Err(Failure::Unhealthy(format!("{lost} data keys do not unwrap; {problem}")))
            }
        }
    }

    fn unwraps(&self, row: WrappedKey) -> Result<(), String> {
        let key = of_row(row)?;
        self.keys.unwrap(&key).map(drop).map_err(|error| error.to_string())
    }
}

/// A key that the key file does not unwrap.
fn locked(error: actors::seal::KeysAway) -> Failure {
    Failure::Broken(error.to_string())
}
