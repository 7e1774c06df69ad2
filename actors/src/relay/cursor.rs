//! How far a sink has come, and how far of that the store knows. It is only ever moved up.

use std::time::Duration;

use tokio::time::Instant;

/// How far a sink has come.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    /// Everything up to this number is safe at the sink.
    pub(super) number: i64,
    /// What the store says of it.
    pub(super) stored: i64,
    /// Since when the store lags behind.
    lags_since: Option<Instant>,
}

/// How long the stored cursor may lag: a crash repeats the messages of this time, and for them one
/// transaction is enough.
const CURSOR_LAG: Duration = Duration::from_millis(200);

impl Cursor {
    /// Where the store says that a sink is.
    pub(super) fn at(stored: i64) -> Self {
        Self { number: stored, stored, lags_since: None }
    }

    /// The store knows all of it.
    pub(super) fn is_stored(&mut self) {
        (self.stored, self.lags_since) = (self.number, None);
    }

    pub(super) fn move_to(&mut self, number: i64) {
        if number > self.number {
            self.number = number;
            self.lags_since.get_or_insert_with(Instant::now);
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.lags_since.is_some_and(|since| since.elapsed() >= CURSOR_LAG)
    }

    /// Returns when it is due.
    pub(super) async fn due(&self) {
        match self.lags_since {
            Some(since) => tokio::time::sleep_until(since + CURSOR_LAG).await,
            None => std::future::pending().await,
        }
    }
}
