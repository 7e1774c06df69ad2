//! A dead letter on its way out: the record as it came, and headers that say what was wrong with it.

use std::fmt;

use neuros::time::Timestamp;

use crate::incoming::{HEADER_OVERHEAD, Raw};
use crate::lane::Lane;
use crate::log::Outgoing;
use crate::phi::Phi;
use crate::seal::Place;

/// The version of the headers (`dlq.version`).
const VERSION: &str = "1";

/// A dead letter's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    /// The lane that has read it, whoever its user's home is by now.
    pub lane: Lane,
    /// Its number in that lane's outbox.
    pub number: i64,
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lane, number } = self;
        write!(f, "{lane}/{number}")
    }
}

/// What is said about a dead letter.
pub struct Failure<'a> {
    /// Why, machine-readable.
    pub reason: &'a str,
    /// Why, for people.
    pub detail: &'a str,
    /// The topic that it was read from.
    pub topic: &'a str,
    /// The partition.
    pub lane: Lane,
    /// The offset.
    pub offset: i64,
    /// When it failed.
    pub failed_at: Timestamp,
}

/// The message for the dead letter topic: key, value and headers untouched, then the `dlq.*` headers.
///
/// A value that would make the message larger than `bytes_max` stays in the store; the message then
/// comes without it and with the header `dlq.truncated`. So do headers and a key that are too large.
pub fn outgoing(raw: Phi<Raw>, failure: &Failure<'_>, bytes_max: usize) -> Outgoing {
    let Raw { key, value, mut headers } = raw.into_inner();
    let said_from = headers.len();
    let mut add =
        |name: &str, value: String| headers.push((name.to_owned(), Some(value.into_bytes())));
    add("dlq.reason", failure.reason.to_owned());
    add("dlq.detail", failure.detail.to_owned());
    add("dlq.topic", failure.topic.to_owned());
    add("dlq.partition", failure.lane.to_string());
    add("dlq.offset", failure.offset.to_string());
    add("dlq.failed_at", failure.failed_at.to_string());
    add("dlq.version", VERSION.to_owned());
    let own = headers.len() - said_from;
    let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let bytes = |headers: &[(String, Option<Vec<u8>>)]| -> usize {
        let of = headers.iter().map(|(name, value)| name.len() + length(value) + HEADER_OVERHEAD);
        length(&key) + of.sum::<usize>()
    };
    if bytes(&headers) + length(&value) <= bytes_max {
        return Outgoing { key, value: value.map(Phi::new), headers, trace: None };
    }
    if bytes(&headers) > bytes_max / 2 {
        // Even without its value it is too large: what is said about it must get through.
        headers.drain(..headers.len() - own);
    }
    headers.push(("dlq.truncated".to_owned(), Some(b"true".to_vec())));
    let key = key.filter(|key| key.len() <= bytes_max / 2);
    Outgoing { key, value: None, headers, trace: None }
}

/// Where a dead letter's record lies; the service's own key seals it.
pub fn place(Letter { lane, number }: Letter) -> Place {
    Place { table: "dead_letters", column: "body", user: i64::from(lane.0), record: number }
}

/// The bytes that are sealed.
pub fn to_bytes(raw: &Phi<Raw>) -> Phi<Vec<u8>> {
    Phi::new(postcard::to_allocvec(raw.expose()).unwrap_or_default())
}

/// The record in opened bytes; `None` when they are none.
pub fn of_bytes(bytes: &Phi<Vec<u8>>) -> Option<Phi<Raw>> {
    postcard::from_bytes(bytes.expose()).ok().map(Phi::new)
}
