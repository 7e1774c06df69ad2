//! The records of a batch, by user: each user once, with their records as they came. Nothing is evaluated here.

use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use neuros::time::Timestamp;
use tokio::time::Instant;

use crate::batch::{Dead, End};
use crate::capacity::USERS_PAGE;
use crate::lane::UserNumber;
use crate::live::Seat;
use crate::residents::Residents;
use crate::router::LOST;
use crate::taken::Taken;

/// The users of a batch, and what each has in it.
pub(crate) struct Gathering {
    works: Vec<UserWork>,
    taken: Vec<Taken>,
    /// Of each record the place of its user's work.
    works_of: Vec<usize>,
    /// Users whose dead letters are among the batch, each once.
    pub(crate) mentioned: Vec<Arc<str>>,
}

/// A user's part of a batch.
#[derive(Clone)]
pub(crate) struct UserWork {
    pub(crate) seat: Seat,
    user: UserNumber,
    /// Where in the order of a batch that is arranged the user's records are named; before, how many they are.
    records: Range<usize>,
    /// Write a checkpoint even if nothing is new.
    pub(crate) checkpoint: bool,
}

/// The same, user by user, by number.
pub(crate) struct Arranged {
    works: Vec<UserWork>,
    taken: Vec<Option<Taken>>,
    /// Places in `taken`.
    order: Vec<usize>,
}

impl Gathering {
    /// How many users there are.
    pub(crate) fn len(&self) -> usize {
        self.works.len()
    }

    /// Has a user's checkpoint written with the batch stamped `stamp`.
    pub(crate) fn add_checkpoint(
        &mut self,
        seat: Seat,
        stamp: Timestamp,
        residents: &mut Residents,
    ) {
        if let Some(place) = self.place_of(seat, stamp, residents) {
            self.works[place].checkpoint = true;
        }
    }

    /// The place of a user's work in the batch stamped `stamp`.
    fn place_of(
        &mut self,
        seat: Seat,
        stamp: Timestamp,
        residents: &mut Residents,
    ) -> Option<usize> {
        let resident = residents.live.get_mut(seat)?;
        let known = resident.work.filter(|(of, _)| *of == stamp);
        let (_, place) = *resident.work.insert(known.unwrap_or((stamp, self.works.len())));
        if known.is_none() {
            let user = resident.user;
            self.works.push(UserWork { seat, user, records: 0..0, checkpoint: false });
        }
        Some(place)
    }

    /// Puts users into the order of their numbers, and behind each other what they have.
    pub(crate) fn arrange(self) -> Arranged {
        let Self { mut works, taken, works_of, .. } = self;
        let mut by_user: Vec<(UserNumber, usize)> =
            works.iter().map(|work| work.user).zip(0..).collect();
        by_user.sort_unstable();
        let mut begin = 0;
        for (_, place) in &by_user {
            let records = &mut works[*place].records;
            let end = begin + records.end;
            *records = begin..begin;
            begin = end;
        }
        let mut order = vec![0; taken.len()];
        for (place, work) in works_of.into_iter().enumerate() {
            let records = &mut works[work].records;
            order[records.end] = place;
            records.end += 1;
        }
        let taken = taken.into_iter().map(Some).collect();
        let works = by_user.into_iter().map(|(_, place)| works[place].clone()).collect();
        Arranged { works, taken, order }
    }
}

impl Arranged {
    /// How many users there are.
    pub(crate) fn len(&self) -> usize {
        self.works.len()
    }

    /// The user at `place` with what is theirs, in order; each record once.
    pub(crate) fn work(&mut self, place: usize) -> (&UserWork, impl Iterator<Item = Taken>) {
        let Self { works, taken, order } = self;
        let work = &works[place];
        let records = order[work.records.clone()].iter();
        (work, records.filter_map(|place| taken[*place].take()))
    }
}

impl Residents {
    /// Gathers the records of the batch stamped `stamp` by user, and brings into memory who is not there.
    /// Users of whom there are dead letters only, and those whose quarantine begins without a record before
    /// it, are mentioned: nothing of theirs is evaluated.
    pub(crate) async fn gather(
        &mut self,
        applications: Vec<Taken>,
        dead_letters: &[Dead],
        stamp: Timestamp,
    ) -> Result<Gathering, End> {
        let seats = self.admit(&applications, stamp).await?;
        let of_letters = dead_letters.iter().filter_map(|dead| dead.user_id.as_deref());
        let mut mentioned: Vec<&str> = of_letters.collect();
        mentioned.sort_unstable();
        mentioned.dedup();
        let mut gathering = Gathering {
            works: Vec::with_capacity(applications.len()),
            taken: applications,
            works_of: Vec::with_capacity(seats.len()),
            mentioned: mentioned.into_iter().map(Arc::from).collect(),
        };
        let now = Instant::now();
        for seat in seats {
            let place = gathering.place_of(seat, stamp, self).ok_or(LOST)?;
            gathering.works_of.push(place);
            gathering.works[place].records.end += 1;
            if let Some(resident) = self.live.get_mut(seat) {
                (resident.touched, resident.seen) = (stamp, now);
            }
        }
        Ok(gathering)
    }

    /// Where the user of each record sits; whoever is not in memory is brought there, with one query for
    /// all.
    async fn admit(&mut self, taken: &[Taken], stamp: Timestamp) -> Result<Vec<Seat>, End> {
        self.sweep();
        let seats: Vec<Option<Seat>> =
            taken.iter().map(|taken| self.live.seat_of(taken.user_id())).collect();
        let mut met = HashSet::<&str, RandomState>::default();
        let absent: Vec<Arc<str>> = taken
            .iter()
            .zip(&seats)
            .filter(|(taken, seat)| seat.is_none() && met.insert(taken.user_id()))
            .map(|(taken, _)| Arc::from(taken.user_id()))
            .collect();
        for page in absent.chunks(USERS_PAGE) {
            self.load(page, stamp).await?;
        }
        self.ports.observer.live_users(self.lane, self.live.len());
        let seat = |(taken, seat): (&Taken, Option<Seat>)| {
            seat.or_else(|| self.live.seat_of(taken.user_id())).ok_or(LOST)
        };
        taken.iter().zip(seats).map(seat).collect()
    }
}
