//! Alerts: which of a person's decisions somebody should hear of, and when they have heard enough. Pure as the
//! engine is: the same records, orders and ticks in the same order give the same changes, byte for byte.
//!
//! A person has at most one open episode of each [`Rule`]. It is pending, fires, may be acknowledged or
//! snoozed, and is resolved or expires. Only some changes are to be notified ([`Change::notify`]); what
//! was held back is counted with its reason ([`Held`]).

mod book;
mod change;
mod episode;
mod grade;
mod obeying;
mod order;
mod passing;
mod quiet;
mod rule;
mod rules;
mod silence;
mod words;

pub use book::{Book, Meeting};
pub use change::{Change, Evidence, Held, Status};
pub use grade::{Grade, Measure, Severity};
pub use order::{Order, Refusal, Stored};
pub use quiet::Quiet;
pub use rule::{Bound, Rule, When};
pub use rules::Rules;

#[cfg(test)]
mod tests;
