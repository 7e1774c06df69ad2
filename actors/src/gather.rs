//! The records of a batch, by user: each user once, in the order of their first record. Nothing is evaluated
//! here.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use neuros::time::Timestamp;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::batch::{Dead, End};
use crate::capacity::USERS_PAGE;
use crate::live::Seat;
use crate::residents::Residents;
use crate::router::{LOST, UserWork};
use crate::taken::Taken;

/// The users of a batch with their work.
pub(crate) struct Gathering {
    pub(crate) works: Vec<UserWork>,
    /// Users whose dead letters are among the batch, each once.
    pub(crate) mentioned: Vec<Arc<str>>,
    /// Users whose quarantine begins with this batch; they have a dead letter in it.
    pub(crate) quarantine: Vec<Arc<str>>,
}

impl Gathering {
    /// A user's work in the batch stamped `stamp`, which begins empty.
    pub(crate) fn work_of(
        &mut self,
        seat: Seat,
        stamp: Timestamp,
        residents: &mut Residents,
    ) -> Option<&mut UserWork> {
        let resident = residents.live.get_mut(seat)?;
        let known = resident.work.filter(|(of, _)| *of == stamp);
        let (_, place) = *resident.work.insert(known.unwrap_or((stamp, self.works.len())));
        if known.is_none() {
            self.works.push(UserWork { seat, records: SmallVec::new(), checkpoint: false });
        }
        self.works.get_mut(place)
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
        quarantine: Vec<String>,
        stamp: Timestamp,
    ) -> Result<Gathering, End> {
        let seats = self.admit(&applications, stamp).await?;
        let of_letters = dead_letters.iter().filter_map(|dead| dead.user_id.as_deref());
        let mut mentioned: Vec<&str> = of_letters.collect();
        mentioned.sort_unstable();
        mentioned.dedup();
        let mut gathering = Gathering {
            works: Vec::with_capacity(applications.len()),
            mentioned: mentioned.into_iter().map(Arc::from).collect(),
            quarantine: quarantine.into_iter().map(Arc::from).collect(),
        };
        let now = Instant::now();
        for (taken, seat) in applications.into_iter().zip(seats) {
            if let Some(work) = gathering.work_of(seat, stamp, self) {
                work.records.push(taken);
            }
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
