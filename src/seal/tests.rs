//! What the port promises: it opens where it belongs and nowhere else, and shows nothing.

use super::*;

const PLACE: Place =
    Place { table: "biometric_events", column: "payload", user: 16_385, record: 42 };

fn sealer() -> AesGcm {
    AesGcm::new().expect("the system gives randomness")
}

fn key(byte: u8, number: u32) -> DataKey {
    DataKey::new([byte; 32], number)
}

#[test]
fn what_is_sealed_opens_again_whatever_its_length() {
    let (seal, key) = (sealer(), key(1, 1));
    for length in [0, 1, 15, 16, 17, 1_300, 1 << 20] {
        let plaintext: Vec<u8> = (0..=250).cycle().take(length).collect();
        let sealed = seal.seal(&key, PLACE, &plaintext);
        assert_eq!(sealed.0.len(), length + envelope::OVERHEAD_BYTES);
        assert_eq!(sealed.0.capacity(), sealed.0.len(), "it was never moved");
        assert!(seal.open(&key, PLACE, &sealed.0) == Ok(plaintext), "{length}");
    }
}

#[test]
fn the_same_is_never_sealed_alike() {
    let (seal, key) = (sealer(), key(1, 1));
    assert_ne!(seal.seal(&key, PLACE, b"72"), seal.seal(&key, PLACE, b"72"));
}

#[test]
fn nothing_opens_in_another_place() {
    let (seal, key) = (sealer(), key(1, 1));
    let sealed = seal.seal(&key, PLACE, b"72").0;
    for place in [
        Place { table: "dead_letters", ..PLACE },
        Place { column: "reason", ..PLACE },
        Place { user: 16_386, ..PLACE },
        Place { user: -16_385, ..PLACE },
        Place { record: 43, ..PLACE },
        Place { record: -42, ..PLACE },
    ] {
        assert_eq!(seal.open(&key, place, &sealed), Err(Unopened::NotAuthentic), "{place:?}");
    }
}

#[test]
fn nothing_opens_with_another_key() {
    let seal = sealer();
    let sealed = seal.seal(&key(1, 3), PLACE, b"72").0;
    assert_eq!(seal.open(&key(2, 3), PLACE, &sealed), Err(Unopened::NotAuthentic));
    assert_eq!(seal.open(&key(1, 4), PLACE, &sealed), Err(Unopened::OtherKey(3)));
    // The number in the envelope made to fit is noticed too.
    let mut renumbered = sealed;
    renumbered[2] = 4;
    assert_eq!(seal.open(&key(1, 4), PLACE, &renumbered), Err(Unopened::NotAuthentic));
}

#[test]
fn the_plaintext_is_not_in_the_envelope() {
    let sealed = sealer().seal(&key(1, 1), PLACE, b"heart_rate 72").0;
    assert!(
        !sealed.windows(4).any(|window| b"heart_rate 72".windows(4).any(|text| text == window))
    );
}

#[test]
fn nothing_of_key_or_content_is_in_debug() {
    let key = key(0x5a, 1);
    let sealed = sealer().seal(&key, PLACE, b"72");
    assert_eq!(format!("{key:?} {sealed:?}"), "DataKey { .. } Sealed(36 bytes)");
}
