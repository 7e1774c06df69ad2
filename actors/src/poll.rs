//! What an owner asks the store from time to time: whether the lane is still its own, and what operators
//! want of it. Nobody's word is taken for the first: the fence is in every write.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use tokio_util::sync::CancellationToken;

use crate::command::{self, Command, Order, Orders};
use crate::ingest::{ClaimAnew, Ingest};
use crate::lane::{FenceToken, Lane, Routing};
use crate::ports::Ports;
use crate::seal::{self, KeysAway};
use crate::store::{Store, StoredCommand, Tenure};

/// How often the store is asked.
const EVERY: Duration = Duration::from_secs(2);

/// Commands that are read at once.
const COMMANDS_PAGE: i64 = 64;

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
    pub(crate) orders: Rc<Orders>,
    /// From which offset on ingest reads no more events.
    pub(crate) events_stop: Rc<Cell<Option<i64>>>,
}

impl Poll {
    /// Asks until `stop`, or until the lane is somebody else's.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            if let Some(anew) = self.look_at_tenure().await {
                let _ended = self.ingest.try_send(anew);
                return;
            }
            self.look_for_commands().await;
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
        let Some(Tenure { events_stop }) = tenure else { return Some(ClaimAnew { fenced: true }) };
        let before = self.events_stop.replace(events_stop);
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
        for stored in found.into_iter().filter(|stored| self.orders.is_new(stored.id)) {
            let (id, kind) = (stored.id, stored.kind.clone());
            match self.open(stored).await {
                Ok(Some(order)) => self.orders.put(Command { id, order }),
                Err(error) => {
                    tracing::debug!(lane = self.lane.0, %error, "commands are opened later");
                    self.orders.forget(id);
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
