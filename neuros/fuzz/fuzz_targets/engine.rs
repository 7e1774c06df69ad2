//! Any bytes are a log of one user, a message a line: the state stays bounded and survives its
//! checkpoint, and any bytes are a checkpoint or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use neuros::time::Timestamp;
use neuros::wire::{Intake, Message, decode};
use neuros::{Explain, Policy, State, step};
use xxhash_rust::xxh3::xxh3_64;

/// The most that a state may take, whatever was sent (the default policy).
const CHECKPOINT_BYTES_MAX: usize = 12 << 10;

/// The bytes as a checkpoint whose checksum is right, so that what is behind it is reached.
fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    let [sum @ .., _, _, _, _] = xxh3_64(bytes).to_le_bytes();
    [bytes, &sum].concat()
}

fuzz_target!(|log: &[u8]| {
    if let Ok(state) = State::from_checkpoint(&with_checksum(log)) {
        assert!(State::from_checkpoint(&state.to_checkpoint()).as_ref() == Ok(&state));
    }
    let (policy, intake) = (Policy::default(), Intake::default());
    let mut state: Option<State> = None;
    let mut outcomes = Vec::new();
    for line in log.split(|byte| *byte == b'\n') {
        // The first eight bytes of a line, when they are no JSON, are its record time.
        let (record_time, value) = match line.split_first_chunk::<8>() {
            Some((time, rest)) if rest.first() == Some(&b'{') => {
                (Some(Timestamp::from_millis(i64::from_le_bytes(*time))), rest)
            }
            _ => (None, line),
        };
        let message = Message { value, record_time, ..Message::default() };
        let Ok(record) = decode(&message, &intake) else { continue };
        let state = state.get_or_insert_with(|| State::born(&record));
        outcomes.clear();
        step(&policy, state, &record, Explain::Everything, &mut outcomes);
        assert_eq!(outcomes.len(), record.events().len());
        for outcome in &outcomes {
            assert!((0.0..=1.0).contains(&outcome.confidence));
            assert!(outcome.explanation.as_ref().is_some_and(|why| !why.to_string().is_empty()));
        }
    }
    if let Some(state) = state {
        let bytes = state.to_checkpoint();
        assert!(bytes.len() <= CHECKPOINT_BYTES_MAX);
        assert!(State::from_checkpoint(&bytes).as_ref() == Ok(&state));
    }
});
