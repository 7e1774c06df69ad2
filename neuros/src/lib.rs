//! The NEUROS decision engine: from the bytes of a wearable's message to an explained mode change.
//!
//! [`wire::decode`] makes a message a [`event::Record`], [`step`](fn@step) folds it into a person's [`State`]
//! under a [`Policy`] and gives an [`Outcome`] for each of its events. Nothing here reads a clock,
//! does I/O or draws a random number: the same records in the same order give the same outcomes.

pub mod alert;
mod baseline;
mod candidate;
pub mod checkpoint;
mod condition;
mod counterfactual;
mod evaluate;
pub mod event;
pub mod explain;
mod gate;
mod incoming;
mod memory;
mod mode;
mod outcome;
pub mod policy;
mod recent;
mod redact;
mod rule;
mod signal;
mod state;
mod step;
mod summary;
pub mod time;
mod view;
pub mod wire;

pub use counterfactual::{Change as Counterfactual, counterfactual};
pub use mode::Mode;
pub use outcome::{Kind, Outcome, Reason};
pub use policy::Policy;
pub use rule::{Rule, RuleSet};
pub use signal::Signal;
pub use state::{Decision, Indicator, State};
pub use step::{Explain, step};
pub use summary::{BaselineSummary, StateSummary};

/// The version of what the engine decides: it changes when the same records under the same policy
/// could give another outcome or another state. Stored records name the one that they were decided by.
pub const ENGINE_VERSION: u16 = 1;
