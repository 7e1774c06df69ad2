//! What the store keeps under key-encryption keys: which of them wraps how much, all of it wrapped by the active
//! one, and whether all of it unwraps. Opens nothing that data keys seal.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;

use actors::lane::UserNumber;
use actors::seal::KeysAway;
use clap::Args;
use serde_json::json;

use crate::app::keys::{of_row, to_row};
use crate::cli::asking::progress;
use crate::cli::config::Layers;
use crate::cli::failure::Failure;
use crate::cli::servers::{block_on, log_use_of_keys, store_with_keys};
use crate::seal::Sealer;
use crate::seal::key_ring::{StoredKeyRing, WrappedKey};
use crate::settings::Settings;
use crate::store::{Administration as _, SqlStore, WrappedKey as StoredRow};

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
    keys: Arc<StoredKeyRing>,
    settings: Settings,
    json: bool,
    /// The name of the key that wraps.
    active: String,
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
        let done = match keys.encryptions().wraps().active().await {
            Ok(active) => {
                let json = arguments.json;
                work(&Stored { store, key_store, keys, settings, json, active }).await
            }
            Err(problem) => Err(away(&problem)),
        };
        opened.close().await;
        done
    })
}

/// Whoever unwraps cannot be reached, so nothing can be said of any key.
fn away(problem: &KeysAway) -> Failure {
    Failure::Unavailable(problem.to_string())
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
    async fn list(&self) -> Result<(), Failure> {
        let mut stored: BTreeMap<String, i64> =
            self.key_store.wrappers().await?.into_iter().collect();
        let (encryptions, active) = (self.keys.encryptions(), self.active.as_str());
        let lost = "is neither in the key file nor of the Vault of the settings: what it wraps does not open";
        let mut rows = Vec::new();
        rows.push((active.to_owned(), stored.remove(active).unwrap_or(0), "wraps new data keys"));
        for name in encryptions.names().into_iter().filter(|name| *name != active) {
            rows.push((name.to_owned(), stored.remove(name).unwrap_or(0), "unwraps"));
        }
        let stored = stored.into_iter();
        rows.extend(stored.map(|(name, keys)| match encryptions.have(&name) {
            true => (name, keys, "unwraps"),
            false => (name, keys, lost),
        }));
        let mut output = io::stdout().lock();
        for (name, keys, what) in rows {
            if self.json {
                let line = json!({ "name": name, "data_keys": keys, "unwraps": what != lost });
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
        mut work: impl AsyncFnMut(Vec<StoredRow>) -> Result<(), Failure>,
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
        self.keys.encryptions().wraps().check().await.map_err(|problem| away(&problem))?;
        let active = self.active.as_str();
        let wrappers = self.key_store.wrappers().await?;
        let others = wrappers.iter().filter(|(name, _)| name != active);
        let count: i64 = others.map(|(_, keys)| keys).sum();
        log_use_of_keys(&self.store, "REWRAP", count).await?;
        let (mut done, mut lost) = (0, Lost::default());
        let wrap = async |page: Vec<StoredRow>| {
            let (keys, page) = lost.readable(page);
            let rewrapped = self.keys.rewrap(&keys).await.map_err(|problem| away(&problem))?;
            let mut anew = Vec::with_capacity(page.len());
            for (before, key) in page.into_iter().zip(rewrapped) {
                match key {
                    Ok(key) => anew.push((before, to_row(&key))),
                    Err(problem) => lost.note(problem.to_string()),
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

    /// `left`: what is wrapped by others than the active key now.
    fn say_rewrapped(
        &self,
        done: usize,
        lost: Lost,
        left: &[(String, i64)],
    ) -> Result<(), Failure> {
        let (active, mut output) = (&self.active, io::stdout().lock());
        let others: u64 = left.iter().map(|(_, keys)| keys.unsigned_abs()).sum();
        if self.json {
            let line = json!({ "rewrapped": done, "wrapped_by_others": others, "active": active });
            writeln!(output, "{line}")?;
        } else {
            writeln!(output, "{done} data keys are wrapped by {active} now")?;
            if others == 0 && done > 0 {
                writeln!(
                    output,
                    "No other key wraps any. Keep the others (lines of the key file, versions in Vault) for as \
                     long as you keep backups of the database from before."
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
            "{meanwhile} data keys are wrapped by {} still: an instance that wraps by it has made them \
             meanwhile; start all instances with {active} as what wraps, then do this again",
            names.join(" or ")
        )))
    }

    async fn test(&self) -> Result<(), Failure> {
        let algorithm = self.settings.keys.algorithm;
        let works = Sealer::new(algorithm.into()).and_then(|sealer| sealer.works())?;
        if !works {
            return Err(Failure::Broken(format!("{algorithm} does not open what it has sealed")));
        }
        self.keys.encryptions().wraps().check().await.map_err(|problem| away(&problem))?;
        let count: i64 = self.key_store.wrappers().await?.iter().map(|(_, keys)| keys).sum();
        log_use_of_keys(&self.store, "TEST", count).await?;
        let (mut good, mut lost) = (0_u64, Lost::default());
        let unwrap = async |page: Vec<StoredRow>| {
            let (keys, _) = lost.readable(page);
            for key in self.keys.unwrap(&keys).await.map_err(|problem| away(&problem))? {
                match key {
                    Ok(_) => good += 1,
                    Err(problem) => lost.note(problem.to_string()),
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
}

/// Keys that do not unwrap.
#[derive(Default)]
struct Lost {
    keys: u64,
    /// What was said of the first; those behind it may have others.
    problem: Option<String>,
}

impl Lost {
    /// Those of `page` that are keys, beside their rows.
    fn readable(&mut self, page: Vec<StoredRow>) -> (Vec<WrappedKey>, Vec<StoredRow>) {
        let mut readable = (Vec::with_capacity(page.len()), Vec::with_capacity(page.len()));
        for row in page {
            match of_row(row.clone()) {
                Ok(key) => {
                    readable.0.push(key);
                    readable.1.push(row);
                }
                Err(problem) => self.note(problem),
            }
        }
        readable
    }

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
