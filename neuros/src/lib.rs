//! The NEUROS decision engine.

mod baseline;
mod candidate;
pub mod checkpoint;
mod condition;
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

pub use mode::Mode;
pub use outcome::{Kind, Outcome, Reason};
pub use policy::Policy;
pub use rule::{Rule, RuleSet};
pub use signal::Signal;
pub use state::{Decision, Indicator, State};
pub use step::{Explain, step};
pub use summary::{BaselineSummary, StateSummary};
