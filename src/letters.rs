//! Whose a dead letter is. That stands only in the record itself, so it is opened; nothing of it is kept or shown here.

use actors::dead_letter;
use actors::incoming::Raw;
use actors::intake;
use actors::lane::UserNumber;
use actors::phi::Phi;
use actors::seal::{DataKey, Seal};
use neuros::time::Timestamp;
use neuros::wire::Intake;

use crate::store::SealedLetter;

/// A person as dead letters know them.
#[derive(Clone, Copy)]
pub struct Owner<'p> {
    /// The id that producers use.
    pub user_id: &'p str,
    /// The number, of whoever has one.
    pub user: Option<UserNumber>,
}

/// What looking into a dead letter has come to.
pub enum Found {
    /// It is the person's, and says this, if it opens.
    Theirs(Option<Phi<Raw>>),
    /// It is somebody else's.
    Others,
    /// Nobody can tell whose it is.
    Nobodys,
}

impl Owner<'_> {
    /// Whether a letter, which the service's own key has sealed, is this person's.
    pub fn look_into(self, letter: &SealedLetter, seal: &dyn Seal, service_key: &DataKey) -> Found {
        let place = dead_letter::place(letter.letter);
        let opened = seal.open(service_key, place, &letter.body).ok();
        let raw = opened.and_then(|bytes| dead_letter::of_bytes(&bytes));
        // One that was kept for the person's release says so in the clear.
        if self.user.is_some() && letter.user == self.user {
            return Found::Theirs(raw);
        }
        let Some(raw) = raw else { return Found::Nobodys };
        match user_of(&raw, letter.record_time) {
            Some(user_id) if user_id == self.user_id => Found::Theirs(Some(raw)),
            Some(_) => Found::Others,
            None => Found::Nobodys,
        }
    }
}

/// Whose record it is, as far as it says; one that was too large may say it all the same.
pub fn user_of(raw: &Phi<Raw>, record_time: Option<Timestamp>) -> Option<String> {
    let wire = Intake { bytes_max: usize::MAX, ..Intake::default() };
    intake::user_of(raw, record_time, &wire)
}
