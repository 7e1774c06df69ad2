//! Asking the owners of lanes for something, and waiting for what comes of it. Never does it itself.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use actors::command::Order;
use actors::lane::{Lane, Routing};
use actors::seal::{DataKey, KeyRing as _};
use actors::store::Store as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::failure::Failure;
use super::servers::{Opened, store_with_keys, whoami};
use crate::app::now;
use crate::seal::Sealer;
use crate::settings::Settings;
use crate::store::SqlStore;

/// How long a command waits for the owners of lanes.
#[derive(Args)]
pub(super) struct Patience {
    /// How long to wait until it is done, such as 30s; 0s leaves it to the service.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

impl Patience {
    /// Whether nothing is waited for.
    pub(super) fn is_none(&self) -> bool {
        self.wait.is_zero()
    }
}

/// Whom to ask.
pub(super) struct Asking {
    pub(super) store: Arc<SqlStore>,
    pub(super) opened: Opened,
    pub(super) routing: Routing,
    pub(super) seal: Sealer,
    pub(super) service_key: DataKey,
}

/// Something that was asked for.
pub(super) struct Asked {
    pub(super) id: i64,
    pub(super) lane: Lane,
    order: Order,
    /// Dead letters that it was about.
    letters: u64,
}

/// How the answer of somebody who does not wait begins.
pub(super) const NOTED: &str = "asked for";

const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Asking {
    pub(super) async fn open(settings: &Settings) -> Result<Self, Failure> {
        let opened = store_with_keys(settings).await?;
        let store = Arc::clone(&opened.store);
        let routing = store.routing().await?.ok_or_else(|| {
            Failure::Broken("the store is empty: no service has run on it yet".to_owned())
        })?;
        let service_key = opened.keys.service_key().await;
        let service_key = service_key.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let seal = Sealer::new(settings.keys.algorithm.into())?;
        Ok(Self { store, opened, routing, seal, service_key })
    }

    /// Asks a lane's owner.
    pub(super) async fn ask(&self, lane: Lane, order: Order) -> Result<Asked, Failure> {
        let sealing = (&self.seal as _, &self.service_key);
        let by = format!("command line/{}", whoami());
        let letters = self.store.on_the_list(&order).await?;
        let id =
            self.store.ask((lane, self.routing.generation), &order, sealing, &by, now()).await?;
        Ok(Asked { id, lane, order, letters })
    }

    /// Waits until all is done; gives what came of each, in order. Without patience, that it was asked for.
    pub(super) async fn outcomes(
        &self,
        asked: &[Asked],
        patience: &Patience,
    ) -> Result<Vec<String>, Failure> {
        if patience.is_none() {
            let noted = |one: &Asked| format!("{NOTED} as command {}", one.id);
            return Ok(asked.iter().map(noted).collect());
        }
        let letters = asked.iter().map(|one| one.letters).sum();
        let bar = progress(letters, "letters");
        let mut outcomes = Vec::with_capacity(asked.len());
        let all = async {
            for (place, one) in asked.iter().enumerate() {
                let outcome = loop {
                    if let Some(outcome) = self.store.outcome(one.id).await? {
                        break outcome;
                    }
                    // Whoever does not look need not be counted for.
                    if !bar.is_hidden() {
                        let left = self.left_of(&asked[place..]).await?;
                        bar.set_position(letters.saturating_sub(left));
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                };
                outcomes.push(outcome);
            }
            Ok::<_, Failure>(())
        };
        let waited = tokio::time::timeout(patience.wait, all).await;
        bar.finish_and_clear();
        match waited {
            Ok(done) => done.map(|()| outcomes),
            Err(_) => {
                let open: Vec<String> = asked[outcomes.len()..]
                    .iter()
                    .map(|one| format!("{} (lane {})", one.id, one.lane))
                    .collect();
                Err(Failure::Unavailable(format!(
                    "not done yet: command {}; it stays, and is carried out as soon as a service owns \
                     the lane",
                    open.join(", ")
                )))
            }
        }
    }

    /// Dead letters that have not left the list yet.
    async fn left_of(&self, asked: &[Asked]) -> Result<u64, Failure> {
        let mut left = 0;
        for one in asked {
            left += self.store.on_the_list(&one.order).await?;
        }
        Ok(left)
    }
}

/// On a terminal, what is done of so many letters, users or whatever is counted.
pub(super) fn progress(count: u64, counted: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count).with_message(counted);
    let template = "{spinner} {pos} of {len} {msg} done, {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
