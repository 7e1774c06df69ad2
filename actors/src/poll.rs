//! What an owner asks the store from time to time: whether the lane is still its own, and what operators
//! want of it. Nobody's word is taken for the first: the fence is in every write.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use neuros::time::{Micros, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::command::{self, Command, Order, Orders};
use crate::home::home;
use crate::ingest::{ClaimAnew, Ingest};
use crate::lane::{FenceToken, Lane, Routing};
use crate::ports::Ports;
use crate::seal::{self, KeysAway};
use crate::store::{Store, StoredCommand, StoredLook, Tenure};

/// How often the store is asked.
const EVERY: Duration = Duration::from_secs(2);

/// Commands that are read at once.
const COMMANDS_PAGE: i64 = 64;

/// How far this machine's clock and the database's may be apart.
const CLOCKS_APART: Micros = Micros::from_minutes(1);

/// Users whose alerts are looked at in one batch: it waits for all before it.
const LOOKS_PAGE: i64 = 1_000;

/// Returns when the store is at another generation than `known`.
pub(crate) async fn until_adopted(store: &dyn Store, known: &Routing) {
    loop {
        tokio::time::sleep(EVERY).await;
        let stored = store.routing().await.ok().flatten();
        if stored.is_some_and(|stored| stored.generation != known.generation) {
            return;
        }
    }
}

/// Asks for one lane while it is owned.
pub(crate) struct Poll {
    pub(crate) lane: Lane,
    pub(crate) token: FenceToken,
    pub(crate) ports: Ports,
    pub(crate) ingest: Addr<Ingest>,
    pub(crate) heard: Heard,
    pub(crate) partition_count: i32,
}

/// What the store has said.
pub(crate) struct Heard {
    pub(crate) orders: Rc<Orders>,
    /// From which offset on ingest reads no more events.
    pub(crate) events_stop: Rc<Cell<Option<i64>>>,
    /// Whose alerts were due when that was asked last.
    pub(crate) asked: Vec<StoredLook>,
}

impl Heard {
    pub(crate) fn new(orders: Rc<Orders>, events_stop: Rc<Cell<Option<i64>>>) -> Self {
        Self { orders, events_stop, asked: Vec::new() }
    }
}

impl Poll {
    /// Asks until `stop`, or until the lane is somebody else's.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            if let Some(anew) = self.look_at_tenure().await {
                let _ended = self.ingest.try_send(anew);
                return;
            }
            self.look_for_commands().await;
            self.look_for_ticks().await;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Whether the lane must be claimed anew: it is somebody else's, or was to read no more events and is to
    /// read on, perhaps up to another stop. A store that is away is found out by whoever writes.
    async fn look_at_tenure(&self) -> Option<ClaimAnew> {
        let tenure = self.ports.store.tenure(self.lane, self.token).await.ok()?;
        let Some(Tenure { events_stop, .. }) = tenure else {
            return Some(ClaimAnew { fenced: true });
        };
        let before = self.heard.events_stop.replace(events_stop);
        let goes_on = before.is_some_and(|before| events_stop.is_none_or(|stop| stop > before));
        goes_on.then_some(ClaimAnew { fenced: false })
    }

    async fn look_for_commands(&self) {
        let found = match self.ports.store.commands(self.lane, COMMANDS_PAGE).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(lane = self.lane.0, %error, "commands are looked for later");
                return;
            }
        };
        for stored in found.into_iter().filter(|stored| self.heard.orders.is_new(stored.id)) {
            let (id, kind) = (stored.id, stored.kind.clone());
            match self.open(stored).await {
                Ok(Some(order)) => self.heard.orders.put(Command { id, order }),
                Err(error) => {
                    tracing::debug!(lane = self.lane.0, %error, "commands are opened later");
                    self.heard.orders.forget(id);
                    return;
                }
                Ok(None) => tracing::error!(
                    lane = self.lane.0,
                    id,
                    kind = kind.escape_debug().to_string(),
                    "this release does not know the command, and leaves it to one that does"
                ),
            }
        }
    }

    /// Whoever's alerts are due is handed time as an order; who lives elsewhere by now is left to that lane.
    async fn look_for_ticks(&mut self) {
        let (store, lane) = (&self.ports.store, self.lane);
        if self.heard.orders.has_tick() || !self.ports.log.stamps_on_arrival().await {
            return;
        }
        let due = match store.looks(lane, self.ports.clock.now(), LOOKS_PAGE).await {
            Ok(due) => due,
            Err(error) => {
                tracing::debug!(lane = lane.0, %error, "alerts are looked at later");
                return;
            }
        };
        // Until what was asked for is committed, it is still due.
        self.heard.asked.retain(|look| due.contains(look));
        let (mut own, mut moved) = (Vec::new(), Vec::new());
        for look in due {
            let home = home(&look.user_id, self.partition_count);
            if home != lane {
                moved.push((look, home));
            } else if !self.heard.asked.contains(&look) {
                own.push(look);
            }
        }
        if !moved.is_empty()
            && let Err(error) = store.move_looks(&moved).await
        {
            tracing::debug!(lane = lane.0, %error, "looks find their lanes later");
        }
        if !own.is_empty()
            && let Some(at) = self.time_of_the_lane().await
        {
            own.retain(|look| look.due <= at);
            self.heard.asked.extend(own.iter().cloned());
            self.heard.orders.put(Command { id: 0, order: Order::Tick { users: own, at } });
        }
    }

    /// Up to when all is known that came for the lane's users: now, once this lane has read all that its log holds,
    /// and so has each that ever sent something on to it. What is still to be read must not come too late. Now is
    /// what this process and the store agree on, for a clock that jumps decides nothing.
    async fn time_of_the_lane(&self) -> Option<Timestamp> {
        let (store, log) = (&self.ports.store, &self.ports.log);
        let now = self.ports.clock.now();
        let sources = store.sources(self.lane).await.ok()?;
        let apart = sources.now.map_or(Micros(0), |stored| stored - now);
        if apart.0.saturating_abs() > CLOCKS_APART.0 {
            tracing::warn!(
                lane = self.lane.0,
                seconds = apart.as_seconds(),
                "this machine's clock and the database's differ: no time passes for alerts"
            );
            return None;
        }
        for (lane, positions) in sources.positions {
            if !log.has_read_all(lane, positions).await.ok()? {
                return None;
            }
        }
        Some(sources.now.map_or(now, |stored| stored.min(now)))
    }

    async fn open(&self, stored: StoredCommand) -> Result<Option<Order>, KeysAway> {
        let place = command::place(self.lane, stored.requested_at);
        let body = match stored.body {
            Some(sealed) => {
                let (keys, seal) = (&*self.ports.keys, &*self.ports.seal);
                let Ok(body) = seal::open_own(keys, seal, place, &sealed).await? else {
                    return Ok(None);
                };
                Some(body)
            }
            None => None,
        };
        Ok(Order::of_stored(&stored.kind, stored.user_id.as_deref(), body.as_deref()))
    }
}
