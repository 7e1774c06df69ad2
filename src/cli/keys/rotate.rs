//! `keys rotate`: next data keys, made while the service runs. The owners of lanes are told to take them; what older
//! keys have sealed opens as before, and nothing is sealed anew.

use std::io::{self, Write as _};
use std::time::Duration;

use actors::command::Order;
use actors::home::home;
use actors::lane::{Lane, UserNumber};
use actors::store::{Asked, Store as _};
use clap::Args;
use neuros::time::Micros;

use crate::app::now;
use crate::cli::asking::{Asked as AskedFor, Asking, Patience, progress};
use crate::cli::config::Layers;
use crate::cli::failure::Failure;
use crate::cli::servers::{block_on, log_use_of_keys};
use crate::seal::key_ring::SERVICE;

/// Keys that are made at once.
const PAGE: i64 = 1_000;

#[derive(Args)]
pub(super) struct Arguments {
    /// Whose keys.
    #[arg(required_unless_present_any = ["all", "service"], value_name = "USER")]
    users: Vec<String>,
    /// Everybody's.
    #[arg(long, conflicts_with = "users")]
    all: bool,
    /// The service's own, which seals dead letters.
    #[arg(long)]
    service: bool,
    /// With --all: only those that were made before so long, such as 365d.
    #[arg(long, value_name = "AGE", requires = "all", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    layers: Layers,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let settings = arguments.layers.load()?.settings;
    let rotated = block_on(async {
        let asking = Asking::open(&settings).await?;
        let rotated = Rotating { asking: &asking, arguments }.run().await;
        asking.opened.close().await;
        rotated
    })?;
    let mut output = io::stdout().lock();
    match arguments.patience.is_none() {
        true => writeln!(output, "{rotated} new data keys; lanes are told to take them")?,
        false => writeln!(output, "{rotated} new data keys seal from now on")?,
    }
    Ok(output.flush()?)
}

struct Rotating<'r> {
    asking: &'r Asking,
    arguments: &'r Arguments,
}

impl Rotating<'_> {
    async fn run(&self) -> Result<usize, Failure> {
        let (store, arguments) = (&self.asking.store, self.arguments);
        let wraps = self.asking.opened.keys.encryptions().wraps();
        wraps.check().await.map_err(|problem| Failure::Unavailable(problem.to_string()))?;
        let named = self.named().await?;
        let count = i64::try_from(named.len()).unwrap_or(i64::MAX);
        log_use_of_keys(
            store,
            "ROTATE",
            if arguments.all { self.all_keys().await? } else { count },
        )
        .await?;
        let (mut rotated, mut asked) = (0, Vec::new());
        if arguments.service {
            let newest = self.newest_of(SERVICE).await?.unwrap_or(0);
            rotated += self.make(&[(SERVICE, newest)]).await?;
        }
        if arguments.all {
            rotated += self.make_all().await?;
        }
        for (user_id, user) in &named {
            let Some(newest) = self.newest_of(*user).await? else { continue };
            rotated += self.make(&[(*user, newest)]).await?;
            let lane = home(user_id, self.asking.routing.partition_count);
            let order = Order::Rekey { user_id: Some(user_id.clone()) };
            asked.push(self.asking.ask(lane, order).await?);
        }
        if arguments.all || arguments.service {
            asked.extend(self.tell_all().await?);
        }
        self.asking.outcomes(&asked, &arguments.patience).await?;
        // From here on nobody seals with the keys before.
        if !arguments.patience.is_none() {
            self.asking.opened.key_store.retire_older_keys().await?;
        }
        Ok(rotated)
    }

    /// The users who were named.
    async fn named(&self) -> Result<Vec<(String, UserNumber)>, Failure> {
        let ids: Vec<&str> = self.arguments.users.iter().map(String::as_str).collect();
        let known = self.asking.store.users(Asked::Ids(&ids)).await?;
        if known.len() < ids.len() {
            let strangers = ids.len() - known.len();
            return Err(Failure::Broken(format!(
                "nothing is stored of {strangers} of the users named"
            )));
        }
        if known.iter().any(|stored| stored.erased) {
            return Err(Failure::Broken("a user named was erased, and has no key".to_owned()));
        }
        Ok(known.into_iter().map(|stored| (stored.user_id, stored.user)).collect())
    }

    async fn all_keys(&self) -> Result<i64, Failure> {
        use crate::store::Administration as _;
        Ok(self.asking.opened.key_store.wrappers().await?.iter().map(|(_, keys)| keys).sum())
    }

    /// Everybody's whose newest is old enough, page by page.
    async fn make_all(&self) -> Result<usize, Failure> {
        let key_store = &self.asking.opened.key_store;
        let bar = progress(self.all_keys().await?.unsigned_abs(), "data keys");
        let age = self.arguments.older_than.unwrap_or_default();
        let age = Micros(i64::try_from(age.as_micros()).unwrap_or(i64::MAX / 4));
        let made_before = now() + Micros(-age.0);
        let (mut after, mut made) = (UserNumber(i64::MIN), 0);
        loop {
            let page = key_store.newest_keys(after, made_before, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            made += self.make(&numbered(&page)).await?;
            bar.inc(page.len() as u64);
        }
        bar.finish_and_clear();
        Ok(made)
    }

    /// Makes keys, and says of each how much those before it have sealed.
    async fn make(&self, owners: &[(UserNumber, u32)]) -> Result<usize, Failure> {
        let (store, opened) = (&self.asking.store, &self.asking.opened);
        let users: Vec<UserNumber> = owners.iter().map(|(user, _)| *user).collect();
        // Before they are made: whatever is sealed meanwhile counts for the new ones, which is more than true.
        let sealed = match users.as_slice() {
            [SERVICE] => vec![(SERVICE, store.sealed_by_service().await?)],
            users => store.sealed_by(users).await?,
        };
        let made = opened.keys.rotate(owners).await;
        let made = made.map_err(|error| Failure::Unavailable(error.to_string()))?;
        opened.key_store.note_sealed_before(&sealed).await?;
        Ok(made)
    }

    async fn newest_of(&self, user: UserNumber) -> Result<Option<u32>, Failure> {
        let facts = self.asking.opened.key_store.key_facts(user).await?;
        Ok(facts.last().and_then(|fact| u32::try_from(fact.number).ok()))
    }

    async fn tell_all(&self) -> Result<Vec<AskedFor>, Failure> {
        let mut asked = Vec::new();
        for lane in (0..self.asking.routing.partition_count).map(Lane) {
            asked.push(self.asking.ask(lane, Order::Rekey { user_id: None }).await?);
        }
        Ok(asked)
    }
}

fn numbered(page: &[(UserNumber, i32)]) -> Vec<(UserNumber, u32)> {
    page.iter().filter_map(|(user, number)| Some((*user, u32::try_from(*number).ok()?))).collect()
}
