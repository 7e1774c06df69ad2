//! The records of a batch, by user: each user once, in the order of their first record.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::batch::Dead;
use crate::router::UserWork;
use crate::user::Taken;

/// The users of a batch with their work.
#[derive(Default)]
pub(crate) struct Gathering {
    pub(crate) works: Vec<UserWork>,
    /// Users whose dead letters are among the batch, each once.
    pub(crate) mentioned: Vec<Arc<str>>,
    /// Users whose quarantine begins with this batch; they have a dead letter in it.
    pub(crate) quarantine: Vec<Arc<str>>,
    /// Places in `works`; never iterated.
    places: HashMap<Arc<str>, usize, RandomState>,
}

impl Gathering {
    /// Gathers records by user. Users of whom there are dead letters only, and those whose quarantine
    /// begins without a record before it, are mentioned: nothing of theirs is evaluated.
    pub(crate) fn of(
        applications: Vec<Taken>,
        dead_letters: &[Dead],
        quarantine: Vec<String>,
    ) -> Self {
        let mut gathering = Self::default();
        for taken in applications {
            let place = gathering.place_of(&taken.record.user_id);
            if let Some(work) = gathering.works.get_mut(place) {
                work.records.push(taken);
            }
        }
        let of_letters = dead_letters.iter().filter_map(|dead| dead.user_id.as_deref());
        let mut mentioned: Vec<&str> = of_letters.collect();
        mentioned.sort_unstable();
        mentioned.dedup();
        gathering.mentioned = mentioned.into_iter().map(Arc::from).collect();
        gathering.quarantine = quarantine.into_iter().map(Arc::from).collect();
        gathering
    }

    /// A user's work, which begins empty.
    pub(crate) fn work_of(&mut self, user_id: &Arc<str>) -> Option<&mut UserWork> {
        let place = self.place_of(user_id);
        self.works.get_mut(place)
    }

    fn place_of(&mut self, user_id: &str) -> usize {
        if let Some(place) = self.places.get(user_id) {
            return *place;
        }
        let user_id: Arc<str> = user_id.into();
        let place = self.works.len();
        self.places.insert(Arc::clone(&user_id), place);
        self.works.push(UserWork { user_id, records: SmallVec::new(), checkpoint: false });
        place
    }
}
