//! Commands: what an operator asks of a lane. The lane's owner carries them out in order, each in batches
//! of its own and with everything before it committed, so that they take their place among the records.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use neuros::alert;
use neuros::time::Timestamp;
use tokio::sync::Notify;

use crate::dead_letter::Letter;
use crate::lane::Lane;
use crate::seal::Place;
use crate::store::StoredLook;

/// A command that is not carried out yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Numbers the commands of all lanes.
    pub id: i64,
    /// What to do.
    pub order: Order,
}

/// What can be asked of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Apply the records of a user in quarantine, in order, then end the quarantine.
    Release {
        /// Who.
        user_id: String,
    },
    /// Try dead letters once more, in order.
    Redrive(Letters),
    /// Give dead letters up.
    Discard(Letters),
    /// Do something about a user's alerts.
    Alert {
        /// Whose.
        user_id: String,
        /// What.
        order: alert::Order,
    },
    /// Time has passed for these users' alerts. The lane asks it of itself: it is no row.
    Tick {
        /// Whose.
        users: Vec<StoredLook>,
        /// Up to when all that came is known.
        at: Timestamp,
    },
    /// Make a user's state anew from their stored records, and put it in the place of the one there is.
    Rebuild {
        /// Whose.
        user_id: String,
    },
    /// Let users in memory take their newest keys.
    Rekey {
        /// This one only.
        user_id: Option<String>,
    },
    /// Destroy a user's keys and state, and accept nothing more of them.
    Erase {
        /// Whom.
        user_id: String,
    },
    /// Accept a user again who was erased, as somebody new.
    Readmit {
        /// Whom.
        user_id: String,
    },
}

/// Dead letters, of this or other lanes, and what became of those before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// Still to be done, in order.
    pub names: VecDeque<Letter>,
    /// So many are done.
    pub done: usize,
    /// So many stay as they are.
    pub left: usize,
    /// So many were not on the list, or are no longer.
    pub gone: usize,
    /// Of those that stay, so many belong to users whose home is another lane.
    pub elsewhere: usize,
}

impl Letters {
    /// These dead letters, in this order, each once.
    pub fn of(names: impl IntoIterator<Item = Letter>) -> Self {
        let mut seen = BTreeSet::new();
        let names = names.into_iter().filter(|name| seen.insert(*name)).collect();
        Self { names, ..Self::default() }
    }
}

impl Order {
    /// Its name in the store.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Release { .. } => "release",
            Self::Redrive(_) => "redrive",
            Self::Discard(_) => "discard",
            Self::Rebuild { .. } => "rebuild",
            Self::Alert { .. } => "alert",
            Self::Tick { .. } => "tick",
            Self::Rekey { .. } => "rekey",
            Self::Erase { .. } => "erase",
            Self::Readmit { .. } => "readmit",
        }
    }

    /// The user it is about, when it is about one.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::Release { user_id }
            | Self::Rebuild { user_id }
            | Self::Alert { user_id, .. }
            | Self::Erase { user_id }
            | Self::Readmit { user_id } => Some(user_id),
            Self::Rekey { user_id } => user_id.as_deref(),
            Self::Redrive(_) | Self::Discard(_) | Self::Tick { .. } => None,
        }
    }

    /// The particulars that are sealed, if there are any.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Release { .. }
            | Self::Rebuild { .. }
            | Self::Rekey { .. }
            | Self::Erase { .. }
            | Self::Readmit { .. }
            | Self::Tick { .. } => None,
            Self::Alert { order, .. } => postcard::to_allocvec(order).ok(),
            Self::Redrive(letters) | Self::Discard(letters) => {
                let names = letters.names.iter().map(|name| (name.lane.0, name.number));
                postcard::to_allocvec(&names.collect::<Vec<_>>()).ok()
            }
        }
    }

    /// What the store has; `None` when this release does not know it.
    pub fn of_stored(kind: &str, user_id: Option<&str>, body: Option<&[u8]>) -> Option<Self> {
        let letters = || {
            let names: Vec<(i32, i64)> = postcard::from_bytes(body?).ok()?;
            let name = |(lane, number)| Letter { lane: Lane(lane), number };
            Some(Letters::of(names.into_iter().map(name)))
        };
        match kind {
            "release" => Some(Self::Release { user_id: user_id?.to_owned() }),
            "rebuild" => Some(Self::Rebuild { user_id: user_id?.to_owned() }),
            "rekey" => Some(Self::Rekey { user_id: user_id.map(str::to_owned) }),
            "erase" => Some(Self::Erase { user_id: user_id?.to_owned() }),
            "readmit" => Some(Self::Readmit { user_id: user_id?.to_owned() }),
            "redrive" => letters().map(Self::Redrive),
            "discard" => letters().map(Self::Discard),
            "alert" => {
                let order = postcard::from_bytes(body?).ok()?;
                Some(Self::Alert { user_id: user_id?.to_owned(), order })
            }
            _ => None,
        }
    }
}

/// The outcome of an order about alerts that was carried out.
pub const DONE: &str = "done";

/// The outcome of a release that has ended the quarantine.
pub const RELEASED: &str = "released";

/// The outcome of a rebuild that has come to the state that was there.
pub const REBUILT_THE_SAME: &str =
    "rebuilt from stored records, and it is the state that was there";

/// The outcome of a rebuild that has come to another state.
pub const REBUILT_ANOTHER: &str =
    "rebuilt from stored records, in the place of a state that was another";

/// Where the particulars of a command lie; the service's own key seals them.
pub fn place(lane: Lane, requested_at: Timestamp) -> Place {
    let record = requested_at.as_micros();
    Place { table: "lane_commands", column: "body", user: i64::from(lane.0), record }
}

/// The commands of one lane that wait for their turn.
#[derive(Default)]
pub(crate) struct Orders {
    waiting: RefCell<VecDeque<Command>>,
    /// Met since the lane was claimed: the store may still show one as open that is in flight.
    met: RefCell<BTreeSet<i64>>,
    arrived: Notify,
}

impl Orders {
    /// Whether a command has not been met before.
    pub(crate) fn is_new(&self, id: i64) -> bool {
        self.met.borrow_mut().insert(id)
    }

    /// It was met and cannot be opened now: it is met again.
    pub(crate) fn forget(&self, id: i64) {
        self.met.borrow_mut().remove(&id);
    }

    /// Queues a command behind the others.
    pub(crate) fn put(&self, command: Command) {
        self.waiting.borrow_mut().push_back(command);
        self.arrived.notify_one();
    }

    /// Queues the rest of a command before the others.
    pub(crate) fn put_back(&self, rest: Command) {
        self.waiting.borrow_mut().push_front(rest);
        self.arrived.notify_one();
    }

    /// Whether time waits to pass.
    pub(crate) fn has_tick(&self) -> bool {
        let is_tick = |command: &Command| matches!(command.order, Order::Tick { .. });
        self.waiting.borrow().iter().any(is_tick)
    }

    /// The next command.
    pub(crate) fn next(&self) -> Option<Command> {
        self.waiting.borrow_mut().pop_front()
    }

    /// Returns when a command waits.
    pub(crate) async fn arrived(&self) {
        while self.waiting.borrow().is_empty() {
            self.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(lane: i32, number: i64) -> Letter {
        Letter { lane: Lane(lane), number }
    }

    #[test]
    fn an_order_comes_back_from_the_store_as_it_was() {
        for order in [
            Order::Release { user_id: "u".to_owned() },
            Order::Rebuild { user_id: "u".to_owned() },
            Order::Rekey { user_id: None },
            Order::Rekey { user_id: Some("u".to_owned()) },
            Order::Erase { user_id: "u".to_owned() },
            Order::Readmit { user_id: "u".to_owned() },
            Order::Redrive(Letters::of([letter(1, 3), letter(0, 1)])),
            Order::Discard(Letters::of([])),
            Order::Alert {
                user_id: "u".to_owned(),
                order: alert::Order::Acknowledge { episode: 3, by: "somebody".to_owned() },
            },
        ] {
            let body = order.to_bytes();
            let read = Order::of_stored(order.kind(), order.user_id(), body.as_deref());
            assert_eq!(read, Some(order));
        }
    }

    #[test]
    fn what_this_release_does_not_know_is_no_order() {
        assert_eq!(Order::of_stored("dance", Some("u"), None), None);
        assert_eq!(Order::of_stored("release", None, None), None);
        assert_eq!(Order::of_stored("erase", None, None), None);
        assert_eq!(Order::of_stored("redrive", None, Some(&[0xff, 0xff])), None);
    }

    #[test]
    fn letters_are_taken_in_the_order_given_and_once() {
        let (first, second) = (letter(1, 3), letter(0, 4));
        assert_eq!(Letters::of([first, second, first]).names, [first, second]);
    }
}
