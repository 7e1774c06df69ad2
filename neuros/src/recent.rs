//! The newest record identities of a user, by which repeats and revisions are recognised. Records
//! are compared by digest; nothing of their content is kept.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::event::Record;
use crate::time::Timestamp;

/// The newest identities, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Recent {
    identities: VecDeque<Identity>,
    /// No remembered record is later: most records are, and need no search.
    latest: Option<Timestamp>,
}

/// A record as the state remembers it.
///
/// Source and content are 64-bit XXH3 digests (of device and event type; of the canonical events):
/// two that collide by chance are one in 10^19, and a producer that seeks collisions deceives only
/// the user it writes for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) source: u64,
    pub(crate) time: i64,
    pub(crate) content: u64,
}

/// What a record is to a user who remembers the newest ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    New,
    /// The same identity with other content.
    Revision,
    /// The same identity and content.
    Duplicate,
}

impl Recent {
    /// Restores what [`Recent::identities`] gave.
    pub(crate) fn restore(identities: impl IntoIterator<Item = Identity>) -> Self {
        let identities: VecDeque<_> = identities.into_iter().collect();
        let latest = identities.iter().map(|identity| Timestamp::from_micros(identity.time)).max();
        Self { identities, latest }
    }

    pub(crate) fn identities(&self) -> impl ExactSizeIterator<Item = &Identity> {
        self.identities.iter()
    }

    /// Judges `record` and remembers it; beyond `remember` records the oldest is forgotten.
    pub(crate) fn admit(&mut self, record: &Record<'_>, remember: u32) -> Novelty {
        let identity = Identity {
            source: digest_of_source(&record.device_id, &record.event_type),
            time: record.time.as_micros(),
            content: digest_of_content(record),
        };
        let known = (self.latest >= Some(record.time))
            .then(|| self.identities.iter_mut().find(|known| known.is_of_same_record(&identity)))
            .flatten();
        if let Some(known) = known {
            let same = known.content == identity.content;
            known.content = identity.content;
            return if same { Novelty::Duplicate } else { Novelty::Revision };
        }
        self.identities.push_back(identity);
        self.latest = self.latest.max(Some(record.time));
        while self.identities.len() > usize::try_from(remember).unwrap_or(usize::MAX) {
            self.identities.pop_front();
        }
        Novelty::New
    }
}

impl Identity {
    fn is_of_same_record(&self, other: &Self) -> bool {
        self.time == other.time && self.source == other.source
    }
}

type Bytes = SmallVec<[u8; 256]>;

fn digest_of_source(device_id: &str, event_type: &str) -> u64 {
    let mut bytes = Bytes::new();
    put_text(&mut bytes, device_id);
    put_text(&mut bytes, event_type);
    xxh3_64(&bytes)
}

/// The digest of the canonical events: their own times, metrics, values and confidences.
///
/// Readings are ordered by metric, so that the order in which a producer wrote them is no content.
fn digest_of_content(record: &Record<'_>) -> u64 {
    let mut bytes = Bytes::new();
    for event in record.events() {
        bytes.extend_from_slice(&event.time.as_micros().to_le_bytes());
        for reading in event.readings {
            put_text(&mut bytes, reading.metric.name());
            put_number(&mut bytes, reading.value);
            put_number(&mut bytes, reading.confidence);
        }
        // No metric name is empty: this ends the event.
        bytes.push(0);
    }
    xxh3_64(&bytes)
}

fn put_text(bytes: &mut Bytes, text: &str) {
    // Names are at most 255 bytes long.
    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(text.as_bytes());
}

fn put_number(bytes: &mut Bytes, number: Option<f64>) {
    match number {
        None => bytes.push(0),
        Some(number) => {
            bytes.push(1);
            bytes.extend_from_slice(&number.to_bits().to_le_bytes());
        }
    }
}
