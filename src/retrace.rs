//! A person's stored records looked back at, as they were applied, each with what came of it and why. Never more of
//! them than somebody can wait for, and nothing of it is written anywhere.

use actors::chain::Chain;
use actors::lane::UserNumber;
use actors::person::Person;
use actors::restore::{Replayed, RestoreError, Restorer};
use actors::seal::DataKey;
use actors::store::{Begin, NumberedPlace, Store as _, StoreError, StoredRecord, StoredUser};
use neuros::time::Timestamp;

use crate::store::SqlStore;

/// Whose records, and what opens them.
#[derive(Clone, Copy)]
pub(crate) struct Source<'s> {
    pub(crate) store: &'s SqlStore,
    pub(crate) restorer: &'s Restorer,
    pub(crate) stored: &'s StoredUser,
    pub(crate) key: &'s DataKey,
}

/// A stretch of a person's records by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The record before the first.
    pub(crate) after: i64,
    /// The last.
    pub(crate) upto: i64,
}

impl Source<'_> {
    /// The records that were stored from `since` on; `None` when they are more than `most`.
    pub(crate) async fn stored_since(
        self,
        since: Timestamp,
        most: i64,
    ) -> Result<Option<Numbers>, StoreError> {
        let mut back = self.back();
        let mut numbers: Option<Numbers> = None;
        while let Some(page) = back.next(self.store).await? {
            for NumberedPlace { number, place } in page {
                let upto = numbers.map_or(number, |numbers| numbers.upto);
                if place.stamp < since {
                    return Ok(Some(Numbers { after: number, upto }));
                }
                if upto - number >= most {
                    return Ok(None);
                }
                numbers = Some(Numbers { after: number - 1, upto });
            }
        }
        let start = self.stored.start.record_number;
        Ok(Some(numbers.unwrap_or(Numbers { after: start, upto: start })))
    }

    /// The newest record that was stored by `until`, or the newest of all; `None` when there is none. The inner error
    /// when more than `most` have come since.
    pub(crate) async fn newest_by(
        self,
        until: Option<Timestamp>,
        most: i64,
    ) -> Result<Result<Option<NumberedPlace>, TooFar>, StoreError> {
        let mut back = self.back();
        if let Some(until) = until
            && let Some(based) = self.store.based_after(self.stored.user, until).await?
        {
            back.begin = Some(Begin::At(based));
        }
        let mut passed = 0;
        while let Some(page) = back.next(self.store).await? {
            for place in page {
                if until.is_none_or(|until| place.place.stamp <= until) {
                    return Ok(Ok(Some(place)));
                }
                passed += 1;
                if passed > most {
                    return Ok(Err(TooFar));
                }
            }
        }
        Ok(Ok(None))
    }

    /// The number of the oldest base within a stretch.
    pub(crate) async fn oldest_base(self, numbers: Numbers) -> Result<Option<i64>, StoreError> {
        let oldest = self.store.first_base_behind(self.stored.user, numbers.after).await?;
        Ok(oldest.filter(|number| *number < numbers.upto))
    }

    fn back(self) -> Back {
        let StoredUser { user, start, .. } = self.stored;
        let begin = Some(Begin::Newest { upto: i64::MAX });
        Back { user: *user, start: start.record_number, begin }
    }
}

/// More records lie between than are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFar;

/// The way back through a person's records, newest first, a page at a time.
struct Back {
    user: UserNumber,
    start: i64,
    begin: Option<Begin>,
}

impl Back {
    /// The next places; `None` behind the oldest record that is there.
    async fn next(&mut self, store: &SqlStore) -> Result<Option<Vec<NumberedPlace>>, StoreError> {
        let Some(begin) = self.begin.take() else { return Ok(None) };
        let mut page = store.places_back(self.user, begin, self.start).await?;
        if let (Begin::At(first), Some(found)) = (begin, page.first())
            && first == *found
        {
            // The page before this one has it.
            page.remove(0);
        }
        let Some(oldest) = page.last() else { return Ok(None) };
        if oldest.number > self.start + 1 {
            self.begin = Some(Begin::At(*oldest));
        }
        Ok(Some(page))
    }
}

/// Records that are applied before others on the thread have their turn.
const AT_A_STRETCH: i64 = 64;

/// A person's records on their way past somebody who looks.
pub(crate) struct Retracing<'s> {
    source: Source<'s>,
    /// As they are after the records that have passed.
    pub(crate) person: Person,
    chain: Chain,
    page: std::vec::IntoIter<StoredRecord>,
}

impl<'s> Retracing<'s> {
    /// Goes to before the first of these records, or to the oldest base behind it when records up to there have gone;
    /// `None` when more than `most` lie between that and where a state is kept, or are to pass.
    pub(crate) async fn begin(
        source: Source<'s>,
        numbers: Numbers,
        most: i64,
    ) -> Result<Option<Self>, RestoreError> {
        match Self::begin_at(source, numbers, most).await {
            Err(RestoreError::Unreadable { user_id, problem }) => {
                let after = source.oldest_base(numbers).await?;
                let after = after.ok_or(RestoreError::Unreadable { user_id, problem })?;
                Self::begin_at(source, Numbers { after, ..numbers }, most).await
            }
            begun => begun,
        }
    }

    async fn begin_at(
        source: Source<'s>,
        Numbers { after, upto }: Numbers,
        most: i64,
    ) -> Result<Option<Self>, RestoreError> {
        let Source { store, restorer, stored, key } = source;
        let left = most.saturating_sub(upto - after);
        let Some(person) = restorer.at(stored, key, after, left).await? else { return Ok(None) };
        let chain = Chain::find(store, stored.user, after, upto).await?;
        if after < upto && chain.first() != Some(after + 1) {
            let problem = "records have gone that a base holds".to_owned();
            return Err(RestoreError::Unreadable { user_id: stored.user_id.clone(), problem });
        }
        Ok(Some(Self { source, person, chain, page: Vec::new().into_iter() }))
    }

    /// The next record, and what came of it; of an order there is nothing to say. `None` after the last.
    pub(crate) async fn next(
        &mut self,
    ) -> Result<Option<(StoredRecord, Option<Replayed>)>, RestoreError> {
        let Source { store, restorer, stored, key } = self.source;
        loop {
            if let Some(record) = self.page.next() {
                if record.number % AT_A_STRETCH == 0 {
                    tokio::task::yield_now().await;
                }
                let person = &mut self.person;
                let replayed = restorer.replay_explained(person, stored, key, &record).await?;
                return Ok(Some((record, replayed)));
            }
            match self.chain.next(store).await? {
                Some(page) => self.page = page.into_iter(),
                None => return Ok(None),
            }
        }
    }
}
