//! The newest record identities of a user, by which repeats and revisions are recognised. Records
//! are compared by digest; nothing of their content is kept.

use std::collections::VecDeque;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::event::Record;
use crate::time::Timestamp;

/// The newest identities, the oldest first.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Recent {
    pub(crate) identities: VecDeque<Identity>,
    /// No remembered record is later: most records are, and need no search.
    pub(crate) latest: Option<Timestamp>,
}

/// A record as the state remembers it, by digests (XXH3).
///
/// 56 bits for its identity: among 64 remembered records a chance collision is one in 10^15, and
/// a producer that seeks collisions deceives only the users it writes for. 40 bits for its
/// content, which is compared only where the identity is the same.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Identity {
    pub(crate) record: u64,
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
    /// Judges `record` and remembers it; beyond `remember` records the oldest is forgotten.
    pub(crate) fn admit(&mut self, record: &Record<'_>, remember: u32) -> Novelty {
        let identity =
            Identity { record: digest_of_identity(record), content: digest_of_content(record) };
        let known = (self.latest >= Some(record.time))
            .then(|| self.identities.iter_mut().find(|known| known.record == identity.record))
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

/// The digest of what names a record: device, event type and the record's own time.
fn digest_of_identity(record: &Record<'_>) -> u64 {
    let device = xxh3_64(record.device_id.as_bytes());
    let event_type = xxh3_64_with_seed(record.event_type.as_bytes(), device);
    xxh3_64_with_seed(&record.time.as_micros().to_le_bytes(), event_type) >> 8
}

/// The digest of the canonical events: their own times, metrics, values and confidences.
///
/// Readings are ordered by metric, so that the order in which a producer wrote them is no content.
fn digest_of_content(record: &Record<'_>) -> u64 {
    let mut digest = 0;
    for event in record.events() {
        let count = u64::try_from(event.readings.len()).unwrap_or(u64::MAX);
        digest = digest_of_words([event.time.as_micros().cast_unsigned(), count, 0], digest);
        for reading in event.readings {
            let metric = reading.metric.code();
            let words = [metric, bits(reading.value), bits(reading.confidence)];
            digest = digest_of_words(words, digest);
        }
    }
    digest >> 24
}

fn digest_of_words(words: [u64; 3], seed: u64) -> u64 {
    xxh3_64_with_seed(words.map(u64::to_le_bytes).as_flattened(), seed)
}

/// A number's bits; for none those of a NaN, which no number here is.
fn bits(number: Option<f64>) -> u64 {
    number.map_or(u64::MAX, f64::to_bits)
}
