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
use crate::cli::servers::{block_on, log_use_of_keys, store_with_keys};
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
    key_store: Arc<SqlStore>,
    keys: Arc<FileKeyRing>,
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
        let opened = store_with_keys(&settings).await?;
        let (store, keys) = (Arc::clone(&opened.store), Arc::clone(&opened.keys));
        let key_store = Arc::clone(&opened.key_store);
        let stored = Stored { store, key_store, keys, settings, json: arguments.json };
        let done = work(&stored).await;
        opened.close().await;
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
        let mut stored: BTreeMap<String, i64> =
            self.key_store.wrappers().await?.into_iter().collect();
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

    /// Does something with all keys, page by page; without those that `wrapper` wraps.
    async fn each_page(
        &self,
        wrapper: Option<&str>,
        count: i64,
        mut work: impl AsyncFnMut(Vec<WrappedKey>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let bar = progress(count.unsigned_abs(), "data keys");
        let mut after = START;
        loop {
            let page = self.key_store.keys_after(after, wrapper, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = (last.user, last.number);
            bar.inc(page.len() as u64);
            work(page).await?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    async fn rewrap(&self) -> Result<(), Failure> {
        let active = self.active();
        let wrappers = self.key_store.wrappers().await?;
        let others = wrappers.iter().filter(|(name, _)| name != active);
        let count: i64 = others.map(|(_, keys)| keys).sum();
        log_use_of_keys(&self.store, "REWRAP", count).await?;
        let (mut done, mut lost) = (0, Lost::default());
        let wrap = async |page: Vec<WrappedKey>| {
            let mut anew = Vec::with_capacity(page.len());
            for before in page {
                match self.rewrapped(&before) {
                    Ok(key) => anew.push((before, key)),
                    Err(problem) => lost.note(problem),
                }
            }
            done += self.key_store.rewrap_keys(&anew).await?;
            Ok(())
        };
        self.each_page(Some(active), count, wrap).await?;
        let mut left = self.key_store.wrappers().await?;
        left.retain(|(name, _)| name != active);
        self.say_rewrapped(done, lost, &left)
    }

    /// The same key, wrapped by the active one.
    fn rewrapped(&self, row: &WrappedKey) -> Result<WrappedKey, String> {
        let key = self.keys.rewrap(&of_row(row.clone())?);
        key.map(|key| to_row(&key)).map_err(|error| error.to_string())
    }

    /// `left`: what is wrapped by others than the active key now.
    fn say_rewrapped(
        &self,
        done: usize,
        lost: Lost,
        left: &[(String, i64)],
    ) -> Result<(), Failure> {
        let (active, mut output) = (self.active(), io::stdout().lock());
        let others: u64 = left.iter().map(|(_, keys)| keys.unsigned_abs()).sum();
        if self.json {
            let line = json!({ "rewrapped": done, "wrapped_by_others": others, "active": active });
            writeln!(output, "{line}")?;
        } else {
            writeln!(output, "{done} data keys are wrapped by {active} now")?;
            if others == 0 && done > 0 {
                writeln!(
                    output,
                    "No other key wraps any. Keep the other lines of the key file for as long as you keep \
                     backups of the database from before."
                )?;
            }
        }
        let meanwhile = others.saturating_sub(lost.keys);
        lost.fail("; all others were wrapped anew")?;
        if meanwhile == 0 {
            return Ok(());
        }
        let names: Vec<&str> = left.iter().map(|(name, _)| name.as_str()).collect();
        Err(Failure::Unhealthy(format!(
            "{meanwhile} data keys are wrapped by {} still: an instance whose key file begins with it has \
             made them meanwhile; start all instances with {active} as the first key, then do this again",
            names.join(" or ")
        )))
    }

    async fn test(&self) -> Result<(), Failure> {
        let algorithm = self.settings.keys.algorithm;
        let works = Sealer::new(algorithm.into()).and_then(|sealer| sealer.works())?;
        if !works {
            return Err(Failure::Broken(format!("{algorithm} does not open what it has sealed")));
        }
        let count: i64 = self.key_store.wrappers().await?.iter().map(|(_, keys)| keys).sum();
        log_use_of_keys(&self.store, "TEST", count).await?;
        let (mut good, mut lost) = (0_u64, Lost::default());
        let unwrap = async |page: Vec<WrappedKey>| {
            for row in page {
                match self.unwraps(row) {
                    Ok(()) => good += 1,
                    Err(problem) => lost.note(problem),
                }
            }
            Ok(())
        };
        self.each_page(None, count, unwrap).await?;
        let mut output = io::stdout().lock();
        if self.json {
            let cipher = algorithm.to_string();
            let line = json!({ "cipher": cipher, "unwrapped": good, "not_unwrapped": lost.keys });
            writeln!(output, "{line}")?;
        } else {
            writeln!(output, "{algorithm}: what it seals opens again, and nowhere else")?;
            writeln!(output, "{good} data keys unwrap")?;
        }
        lost.fail("")
    }

    fn unwraps(&self, row: WrappedKey) -> Result<(), String> {
        let key = of_row(row)?;
        self.keys.unwrap(&key).map(drop).map_err(|error| error.to_string())
    }
}

/// Keys that do not unwrap.
#[derive(Default)]
struct Lost {
    keys: u64,
    /// What was said of the first; those behind it may have others.
    problem: Option<String>,
}

impl Lost {
    fn note(&mut self, problem: String) {
        self.keys += 1;
        self.problem.get_or_insert(problem);
    }

    /// Fails if there are any.
    fn fail(self, further: &str) -> Result<(), Failure> {
        let Some(problem) = self.problem else { return Ok(()) };
        let keys = self.keys;
        Err(Failure::Unhealthy(format!(
            "{keys} data keys do not unwrap{further}; of the first: {problem}"
        )))
    }
}
