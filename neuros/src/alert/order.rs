//! What is asked of a person's alerts from outside the log: by an operator, or by time itself. An order that
//! is carried out takes its place among the person's records, in this binary form.

use serde::{Deserialize, Serialize};

use super::quiet::Quiet;
use crate::redact::redacted_debug;
use crate::time::Timestamp;

/// What is asked. An episode is named by the number of the first that was said of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Time has passed: what is due becomes true.
    Tick,
    /// Somebody has seen it.
    Acknowledge {
        /// Which.
        episode: i64,
        /// Who.
        by: String,
    },
    /// Say nothing of the rule until then, unless it becomes more serious.
    Snooze {
        /// Which.
        episode: i64,
        /// Until when, µs since 1970.
        until: i64,
        /// Who.
        by: String,
    },
    /// It is over, whatever the readings say; the rule begins anew when they have been normal.
    Resolve {
        /// Which.
        episode: i64,
        /// Who.
        by: String,
    },
    /// The person's quiet hours from now on; `None` for none.
    Quiet(Option<Quiet>),
}

/// Why an order is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such episode, or it is over.
    #[error("the person has no such open alert: it is over, or never was")]
    NotOpen,
    /// It is as asked already.
    #[error("it is so already")]
    Already,
    /// A snooze must end later than it begins.
    #[error("the time until which to snooze is past")]
    Past,
}

/// An order as it is kept among a person's records.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// When it was carried out, µs since 1970.
    at: i64,
    order: Order,
}

redacted_debug!(Order, Stored);

/// The first byte of a stored order, which no stored record has.
const VERSION: u8 = 0x81;

impl Stored {
    /// An order carried out at `at`.
    pub fn new(at: Timestamp, order: Order) -> Self {
        Self { at: at.as_micros(), order }
    }

    /// When it was carried out.
    pub fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.at)
    }

    /// What was carried out.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Whether these bytes are of an order, and not of a record.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|first| *first >= 0x80)
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing into a vector cannot fail, and no part of an order refuses to be written.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    /// The order that [`Stored::to_bytes`] gave as `bytes`.
    ///
    /// # Errors
    ///
    /// In words, when another release wrote it or it is damaged.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (version, body) = bytes.split_first().ok_or("the stored order is empty")?;
        if *version != VERSION {
            return Err(format!("the stored order has version {version}, which is unknown here"));
        }
        let (stored, rest) = postcard::take_from_bytes(body)
            .map_err(|_| "the stored order is damaged".to_owned())?;
        if rest.is_empty() { Ok(stored) } else { Err("the stored order is damaged".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_comes_back_from_its_bytes() {
        let by = || "operator".to_owned();
        let quiet = Quiet::new("Europe/Berlin", 22 * 60, 7 * 60).expect("valid");
        for order in [
            Order::Tick,
            Order::Acknowledge { episode: 3, by: by() },
            Order::Snooze { episode: 3, until: 9, by: by() },
            Order::Resolve { episode: i64::MAX, by: by() },
            Order::Quiet(Some(quiet)),
            Order::Quiet(None),
        ] {
            let stored = Stored::new(Timestamp::from_micros(7), order);
            let bytes = stored.to_bytes();
            assert!(Stored::is_one(&bytes));
            assert_eq!(Stored::of_bytes(&bytes), Ok(stored));
            for end in 0..bytes.len() {
                assert!(Stored::of_bytes(&bytes[..end]).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn a_stored_record_is_no_order() {
        assert!(!Stored::is_one(&[crate::event::stored::VERSION]));
        assert!(Stored::of_bytes(&[0x82, 0, 0]).is_err());
    }
}
