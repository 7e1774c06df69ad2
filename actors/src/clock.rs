//! The clock as the lanes need it. It stamps batches and measures; no decision depends on it.

use neuros::time::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}
