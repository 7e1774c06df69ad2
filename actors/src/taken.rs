//! What a person is handed: records of the log, and orders. It decides nothing.

use neuros::alert::Order;
use neuros::event::Record;
use neuros::time::Timestamp;

use crate::dead_letter::Letter;
use crate::lane::Provenance;
use crate::trace::Trace;

/// Something for a person.
pub struct Taken {
    /// Its place among all that the batch applies.
    pub position: i32,
    /// Where it comes from.
    pub provenance: Provenance,
    /// The dead letter that it was meanwhile.
    pub letter: Option<Letter>,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// What it is.
    pub entry: Entry,
}

/// What a person's records are.
pub enum Entry {
    /// What a device has sent.
    Record(Box<Record<'static>>),
    /// What is asked of the person's alerts.
    Order(Box<AskedOf>),
}

/// An order, and whose alerts it is about.
pub struct AskedOf {
    /// Who.
    pub user_id: String,
    /// What.
    pub order: Order,
    /// When.
    pub at: Timestamp,
}

impl Taken {
    /// Whose it is.
    pub fn user_id(&self) -> &str {
        match &self.entry {
            Entry::Record(record) => &record.user_id,
            Entry::Order(asked) => &asked.user_id,
        }
    }
}

/// Something that this release cannot evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// Where it comes from.
    pub provenance: Provenance,
    /// The dead letter that it was meanwhile.
    pub letter: Option<Letter>,
}

impl Panicked {
    pub(crate) fn over(taken: &Taken) -> Self {
        Self { provenance: taken.provenance, letter: taken.letter }
    }
}
