//! A person's records looked back at, as they were applied, each with what came of it and why. Never more of them
//! than somebody can wait for.

use actors::chain::Chain;
use actors::lane::UserNumber;
use actors::person::Person;
use actors::restore::Replayed;
use actors::store::{Begin, NumberedPlace, Store as _, StoreError, StoredRecord, StoredUser};
use neuros::time::Timestamp;

use super::archive::{File, Opened, Unread};
use crate::store::SqlStore;

/// A stretch of a person's records by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// The record before the first.
    pub(super) after: i64,
    /// The last.
    pub(super) upto: i64,
}

/// Finds the records that were stored from `since` on; `None` when they are more than `most`.
pub(super) async fn stored_since(
    store: &SqlStore,
    stored: &StoredUser,
    since: Timestamp,
    most: i64,
) -> Result<Option<Numbers>, StoreError> {
    let start = stored.start.record_number;
    let mut back = Back::new(stored.user, start);
    let mut numbers = Numbers { after: start, upto: start };
    let mut is_first = true;
    while let Some(page) = back.next(store).await? {
        for place in page {
            if is_first {
                numbers = Numbers { after: place.number, upto: place.number };
                is_first = false;
            }
            if place.place.stamp < since {
                return Ok(Some(Numbers { after: place.number, ..numbers }));
            }
            numbers.after = place.number - 1;
            if numbers.upto - numbers.after > most {
                return Ok(None);
            }
        }
    }
    Ok(Some(numbers))
}

/// The way back through a person's records, newest first, a page at a time.
pub(super) struct Back {
    user: UserNumber,
    start: i64,
    begin: Option<Begin>,
}

impl Back {
    pub(super) fn new(user: UserNumber, start: i64) -> Self {
        Self { user, start, begin: Some(Begin::Newest { upto: i64::MAX }) }
    }

    /// The next places; `None` behind the oldest record that is there.
    pub(super) async fn next(
        &mut self,
        store: &SqlStore,
    ) -> Result<Option<Vec<NumberedPlace>>, StoreError> {
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

/// A person's records on their way past somebody who looks.
pub(super) struct Retracing<'o> {
    opened: &'o Opened,
    file: &'o File,
    /// As they are after the records that have passed.
    pub(super) person: Person,
    chain: Chain,
    page: std::vec::IntoIter<StoredRecord>,
}

impl<'o> Retracing<'o> {
    /// Goes to before the first of these records; `None` when more than `most` lie between that and where a state
    /// is kept, or are to pass.
    pub(super) async fn begin(
        opened: &'o Opened,
        file: &'o File,
        numbers: Numbers,
        most: i64,
    ) -> Result<Option<Self>, Unread> {
        let Numbers { after, upto } = numbers;
        let (stored, store) = (&file.stored, &*opened.store);
        let left = most.saturating_sub(upto - after);
        let Some(person) = opened.restorer.at(stored, &file.key, after, left).await? else {
            return Ok(None);
        };
        let chain = Chain::find(store, stored.user, after, upto).await?;
        Ok(Some(Self { opened, file, person, chain, page: Vec::new().into_iter() }))
    }

    /// The next record that is about readings, with its stamp; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<(Timestamp, Replayed)>, Unread> {
        let File { stored, key } = self.file;
        loop {
            let Some(record) = self.page.next() else {
                tokio::task::yield_now().await;
                match self.chain.next(&*self.opened.store).await? {
                    Some(page) => self.page = page.into_iter(),
                    None => return Ok(None),
                }
                continue;
            };
            let restorer = &self.opened.restorer;
            let replayed =
                restorer.replay_explained(&mut self.person, stored, key, &record).await?;
            if let Some(replayed) = replayed {
                return Ok(Some((record.place.stamp, replayed)));
            }
        }
    }
}
