//! A user's stored records in order, a page at a time. Each record leads only to the one before it, so the
//! way back is gone first, and of each page only where it begins is kept: never all places at once.

use crate::lane::UserNumber;
use crate::rows::RecordPlace;
use crate::store::{Begin, NumberedPlace, Store, StoreError, StoredRecord};

/// The way through a user's records, oldest first.
pub struct Chain {
    user: UserNumber,
    /// The newest record of each page; the oldest page is the last.
    pages: Vec<NumberedPlace>,
    /// The oldest page, which was just met.
    oldest: Vec<NumberedPlace>,
    /// The number up to which records were given.
    given: i64,
}

impl Chain {
    /// Finds the way to a user's records with numbers above `after` and up to `upto`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn find(
        store: &dyn Store,
        user: UserNumber,
        after: i64,
        upto: i64,
    ) -> Result<Self, StoreError> {
        let mut chain = Self { user, pages: Vec::new(), oldest: Vec::new(), given: after };
        let mut begin = Begin::Newest { upto };
        loop {
            let page = store.places_back(user, begin, after).await?;
            let (Some(newest), Some(oldest)) = (page.first(), page.last().copied()) else { break };
            if begin == Begin::At(oldest) {
                // What should be before it is gone.
                break;
            }
            chain.pages.push(*newest);
            chain.oldest = page;
            if oldest.number == after + 1 {
                break;
            }
            begin = Begin::At(oldest);
        }
        Ok(chain)
    }

    /// The number of the first record that is there; `None` when there is none.
    pub fn first(&self) -> Option<i64> {
        self.oldest.last().map(|oldest| oldest.number)
    }

    /// The next records, in order; `None` after the last.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn next(
        &mut self,
        store: &dyn Store,
    ) -> Result<Option<Vec<StoredRecord>>, StoreError> {
        let Some(newest) = self.pages.pop() else { return Ok(None) };
        let mut page = std::mem::take(&mut self.oldest);
        if page.is_empty() {
            page = store.places_back(self.user, Begin::At(newest), self.given).await?;
        }
        self.given = newest.number;
        let places: Vec<RecordPlace> = page.iter().map(|numbered| numbered.place).collect();
        store.records_at(self.user, &places).await.map(Some)
    }
}
