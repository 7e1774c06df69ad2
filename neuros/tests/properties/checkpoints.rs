//! Checkpoints hold all of a state, and bytes that are none are refused, whatever they are.

use neuros::checkpoint::{Error, VERSION};
use neuros::event::Record;
use neuros::wire::{Intake, Message, decode};
use neuros::{Explain, Policy, State, step};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use xxhash_rust::xxh3::xxh3_64;

use super::logs::sendings;
use super::records::{decoded, logged};
use super::settings::{LOGS, cases, under};
use super::world::World;

/// Bytes either are refused with a reason, or give a state that writes and reads itself the same.
fn are_refused_or_stable(bytes: &[u8]) -> Result<(), TestCaseError> {
    match State::from_checkpoint(bytes) {
        Err(error) => {
            prop_assert!(!error.to_string().is_empty());
            Ok(())
        }
        Ok(state) => {
            let written = state.to_checkpoint();
            let read = State::from_checkpoint(&written);
            prop_assert!(read.as_ref() == Ok(&state), "it reads back as another state");
            prop_assert_eq!(read.unwrap().to_checkpoint(), written);
            Ok(())
        }
    }
}

/// The bytes with the checksum that they should end with, as somebody who made them up would.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len().saturating_sub(4));
    let sum = xxh3_64(&bytes).to_le_bytes();
    bytes.extend_from_slice(&sum[..4]);
    bytes
}

/// Steps a log with a state that was let in: whatever it says, nothing panics.
fn can_be_lived_with(bytes: &[u8], log: &[Record<'_>]) {
    let Ok(mut state) = State::from_checkpoint(bytes) else { return };
    let mut outcomes = Vec::new();
    for record in log {
        step(&Policy::default(), &mut state, record, Explain::Everything, &mut outcomes);
        assert!(outcomes.iter().all(|outcome| outcome.explanation.is_some()));
        assert!(!state.to_checkpoint().is_empty());
    }
}

/// The states that a log ends with, as checkpoints.
fn checkpoints() -> impl Strategy<Value = Vec<Vec<u8>>> {
    sendings().prop_map(|sendings| {
        let (log, policy) = (logged(&sendings), Policy::default());
        let mut world = World::new(&policy, Explain::Switches);
        world.play(&decoded(&log));
        world.checkpoints().into_values().collect()
    })
}

proptest! {
    #![proptest_config(cases(LOGS))]

    #[test]
    fn at_any_point_a_checkpoint_restores_the_state_and_changes_nothing_that_follows(
        sendings in sendings(),
        under in under(),
    ) {
        let (log, policy) = (logged(&sendings), under.policy());
        let records = decoded(&log);
        let mut kept = World::new(&policy, Explain::Everything);
        let mut restored = World::new(&policy, Explain::Everything);
        for record in &records {
            prop_assert!(kept.outcomes_of(record) == restored.outcomes_of(record));
            let state = restored.states.get_mut(record.user_id.as_str()).unwrap();
            let bytes = state.to_checkpoint();
            let back = State::from_checkpoint(&bytes);
            prop_assert!(back.as_ref() == Ok(&*state));
            *state = back.unwrap();
            prop_assert_eq!(state.to_checkpoint(), bytes);
        }
        prop_assert!(kept.states == restored.states);
    }

    #[test]
    fn a_checkpoint_cut_short_or_drawn_out_is_refused(
        checkpoints in checkpoints(),
        cut in any::<Index>(),
        tail in vec(any::<u8>(), 1..20),
    ) {
        for bytes in checkpoints {
            let part = &bytes[..cut.index(bytes.len())];
            prop_assert!(State::from_checkpoint(part).is_err());
            prop_assert!(State::from_checkpoint(&[&bytes[..], &tail].concat()).is_err());
        }
    }

    #[test]
    fn a_checkpoint_with_a_flipped_bit_is_refused(
        checkpoints in checkpoints(),
        flips in vec((any::<Index>(), 0..8_u8), 1..40),
    ) {
        for bytes in checkpoints {
            for (place, bit) in &flips {
                let mut damaged = bytes.clone();
                damaged[place.index(bytes.len())] ^= 1 << bit;
                prop_assert!(State::from_checkpoint(&damaged).is_err());
            }
        }
    }

    #[test]
    fn a_checkpoint_that_somebody_made_up_is_refused_or_can_be_lived_with(
        sendings in sendings(),
        checkpoints in checkpoints(),
        flips in vec((any::<Index>(), 0..8_u8), 1..20),
        together in any::<bool>(),
    ) {
        let log = logged(&sendings);
        let log: Vec<_> = decoded(&log).into_iter().take(4).collect();
        for bytes in &checkpoints {
            let mut damaged = bytes.clone();
            for (place, bit) in &flips {
                if !together {
                    damaged.clone_from(bytes);
                }
                damaged[place.index(bytes.len())] ^= 1 << bit;
                damaged = with_checksum(damaged);
                are_refused_or_stable(&damaged)?;
                can_be_lived_with(&damaged, &log);
            }
        }
    }

    #[test]
    fn random_bytes_are_refused_or_stable(
        bytes in vec(any::<u8>(), 0..300),
        small in vec(0..4_u8, 0..300),
    ) {
        for bytes in [&bytes, &small] {
            are_refused_or_stable(bytes)?;
            are_refused_or_stable(&with_checksum([&[VERSION], &bytes[..]].concat()))?;
        }
    }

    #[test]
    fn another_version_is_refused_by_its_number(
        checkpoints in checkpoints(),
        version in any::<u8>(),
    ) {
        prop_assume!(version != VERSION);
        for mut bytes in checkpoints {
            bytes[0] = version;
            let error = State::from_checkpoint(&bytes).err().unwrap();
            prop_assert_eq!(&error, &Error::UnknownVersion(version));
            let says_so = error.to_string().contains(&format!("version {version},"));
            prop_assert!(says_so);
        }
    }
}

/// States at the end of what numbers can say: the last switch number, a day before all days.
#[test]
fn extremes_that_somebody_made_up_do_no_harm() {
    let head = [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 224, 63];
    let since = [128, 128, 219, 175, 241, 218, 151, 6];
    let last_seq = [&head[..], &since, &[255; 9], &[1], &[0; 20], &[2, 0], &[0; 4]].concat();
    let no_day = [&head[..], &since, &[0; 18], &[1, 255, 255, 255, 255, 15, 0, 0, 2, 0], &[0; 4]];
    let record = r#"{"user_id":"u","timestamp":"2025-03-03T08:00:00Z","metrics":{"stress_level":0.95,"recovery_score":70}}"#;
    let message = Message { value: record.as_bytes(), ..Message::default() };
    let record = decode(&message, &Intake::default()).unwrap();
    for bytes in [last_seq, no_day.concat()] {
        let bytes = with_checksum(bytes);
        can_be_lived_with(&bytes, std::slice::from_ref(&record));
    }
}

#[test]
fn no_bytes_are_no_checkpoint() {
    assert_eq!(State::from_checkpoint(&[]).err(), Some(Error::Empty));
    assert!(State::from_checkpoint(&[VERSION]).is_err());
}
