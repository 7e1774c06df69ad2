//! The users of a lane that are in memory, each in a seat of their own: looked for by id once a batch,
//! found by seat ever after. It knows nothing of stores or batches.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use neuros::time::Timestamp;
use slab::Slab;
use tokio::time::Instant;

use crate::lane::UserNumber;
use crate::user::User;

/// A user in memory.
pub(crate) struct Resident {
    pub(crate) user_id: Arc<str>,
    pub(crate) user: UserNumber,
    pub(crate) actor: Box<User>,
    /// The store has, or will have with the batches in flight, a row.
    pub(crate) is_stored: bool,
    /// The stamp of the newest batch with something of this user.
    pub(crate) touched: Timestamp,
    /// When that was, on this process's own clock: the stamp only orders.
    pub(crate) seen: Instant,
    /// Since when the actor is there.
    pub(crate) began: Instant,
    /// The stamp of the oldest batch whose records the stored checkpoint has not.
    pub(crate) unwritten_since: Option<Timestamp>,
    /// The stamp of the newest batch in which the user has work, and the place of that work there.
    pub(crate) work: Option<(Timestamp, usize)>,
}

/// Where a user sits for as long as they are in memory; somebody else's afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat(usize);

/// The users in memory.
#[derive(Default)]
pub(crate) struct Live {
    /// Never iterated.
    seats: HashMap<Arc<str>, Seat, RandomState>,
    residents: Slab<Resident>,
}

impl Live {
    pub(crate) fn len(&self) -> usize {
        self.residents.len()
    }

    /// Where a user sits, if they are in memory.
    pub(crate) fn seat_of(&self, user_id: &str) -> Option<Seat> {
        self.seats.get(user_id).copied()
    }

    pub(crate) fn get(&self, seat: Seat) -> Option<&Resident> {
        self.residents.get(seat.0)
    }

    pub(crate) fn get_mut(&mut self, seat: Seat) -> Option<&mut Resident> {
        self.residents.get_mut(seat.0)
    }

    /// A user by id.
    pub(crate) fn find(&self, user_id: &str) -> Option<&Resident> {
        self.get(self.seat_of(user_id)?)
    }

    /// Gives a user a seat; whoever had one under this id leaves.
    pub(crate) fn seat(&mut self, resident: Resident) -> Seat {
        let user_id = Arc::clone(&resident.user_id);
        let seat = Seat(self.residents.insert(resident));
        if let Some(before) = self.seats.insert(user_id, seat) {
            self.residents.remove(before.0);
        }
        seat
    }

    /// Lets go of a user.
    pub(crate) fn remove(&mut self, user_id: &str) {
        if let Some(seat) = self.seats.remove(user_id) {
            self.residents.remove(seat.0);
        }
    }

    /// Lets go of everybody who does not stay.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Resident) -> bool) {
        let seats = &mut self.seats;
        self.residents.retain(|_, resident| {
            let stays = stays(resident);
            if !stays {
                seats.remove(&resident.user_id);
            }
            stays
        });
    }

    /// Everybody, in the order of their seats.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Seat, &Resident)> {
        self.residents.iter().map(|(seat, resident)| (Seat(seat), resident))
    }
}
