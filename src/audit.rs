//! The log of accesses as evidence: the ends of its chains signed from time to time, exported, and verified
//! with nothing but a public key. Never writes to the log itself.
//!
//! Whoever can write to the database can make a chain anew from any row on, or cut its end off, and it is
//! a chain still. A [checkpoint] that lies elsewhere, signed with a key that the database does not have,
//! says how it was.

pub mod checkpoint;
pub mod checkpointer;
pub mod claims;
pub mod export;
pub mod sink;
pub mod stored;
pub mod verify;

pub use checkpoint::{Checkpoint, Signed};
pub use claims::Claims;
pub use verify::{Finding, Report, Verifier, Wrong};

/// What the first row of a service's chain says was done: the service has started.
pub const STARTED: &str = "START";
/// What its last row says: the service has ended in order, and nothing follows.
pub const ENDED: &str = "END";
