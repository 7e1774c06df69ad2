//! What the port promises: it opens where it belongs and nowhere else, and shows nothing.

use super::*;

const PLACE: Place =
    Place { table: "biometric_events", column: "payload", user: 16_385, record: 42 };

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Aes256Gcm, Algorithm::XChaCha20Poly1305];

fn sealers() -> [Sealer; 2] {
    ALGORITHMS.map(|algorithm| Sealer::new(algorithm).expect("the system gives randomness"))
}

fn key(byte: u8, number: u32) -> DataKey {
    DataKey::new(&[byte; 32], number)
}

fn phi(text: &[u8]) -> Phi<Vec<u8>> {
    Phi::new(text.to_vec())
}

/// What came of opening, as a test can show it.
fn open(seal: &Sealer, key: &DataKey, place: Place, sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
    seal.open(key, place, sealed).map(Phi::into_inner)
}

#[test]
fn what_is_sealed_opens_again_whatever_its_length() {
    let key = key(1, 1);
    for (seal, algorithm) in sealers().into_iter().zip(ALGORITHMS) {
        for length in [0, 1, 15, 16, 17, 1_300, 1 << 20] {
            let plaintext: Vec<u8> = (0..=250).cycle().take(length).collect();
            let sealed = seal.seal(&key, PLACE, &phi(&plaintext));
            assert_eq!(sealed.0.len(), length + algorithm.overhead_bytes());
            assert_eq!(sealed.0.capacity(), sealed.0.len(), "it was never moved");
            assert!(open(&seal, &key, PLACE, &sealed.0) == Ok(plaintext), "{length}");
        }
    }
}

#[test]
fn each_opens_what_the_other_has_sealed() {
    let ([one, other], key) = (sealers(), key(1, 1));
    for (seals, opens) in [(one, other), (other, one)] {
        let sealed = seals.seal(&key, PLACE, &phi(b"72")).0;
        assert_eq!(open(&opens, &key, PLACE, &sealed), Ok(b"72".to_vec()));
    }
}

#[test]
fn the_same_is_never_sealed_alike() {
    for seal in sealers() {
        let key = key(1, 1);
        assert_ne!(seal.seal(&key, PLACE, &phi(b"72")), seal.seal(&key, PLACE, &phi(b"72")));
    }
}

#[test]
fn nothing_opens_in_another_place() {
    let key = key(1, 1);
    for seal in sealers() {
        let sealed = seal.seal(&key, PLACE, &phi(b"72")).0;
        for place in [
            Place { table: "dead_letters", ..PLACE },
            Place { column: "reason", ..PLACE },
            Place { user: 16_386, ..PLACE },
            Place { user: -16_385, ..PLACE },
            Place { record: 43, ..PLACE },
            Place { record: -42, ..PLACE },
        ] {
            assert_eq!(open(&seal, &key, place, &sealed), Err(Unopened::NotAuthentic), "{place:?}");
        }
    }
}

#[test]
fn nothing_opens_with_another_key() {
    for seal in sealers() {
        let sealed = seal.seal(&key(1, 3), PLACE, &phi(b"72")).0;
        assert_eq!(open(&seal, &key(2, 3), PLACE, &sealed), Err(Unopened::NotAuthentic));
        assert_eq!(open(&seal, &key(1, 4), PLACE, &sealed), Err(Unopened::OtherKey(3)));
        // The number in the envelope made to fit is noticed too.
        let mut renumbered = sealed;
        renumbered[2] = 4;
        assert_eq!(open(&seal, &key(1, 4), PLACE, &renumbered), Err(Unopened::NotAuthentic));
    }
}

#[test]
fn what_a_key_before_has_sealed_opens_and_the_newest_seals() {
    let keys = DataKey::with_older(&[3; 32], 3, vec![key(1, 1), key(2, 2)]);
    for seal in sealers() {
        assert_eq!(envelope::key_number(&seal.seal(&keys, PLACE, &phi(b"72")).0), Some(3));
        for (byte, number) in [(1, 1), (2, 2), (3, 3)] {
            let sealed = seal.seal(&key(byte, number), PLACE, &phi(b"72")).0;
            assert_eq!(open(&seal, &keys, PLACE, &sealed), Ok(b"72".to_vec()));
        }
        let sealed = seal.seal(&key(4, 4), PLACE, &phi(b"72")).0;
        assert_eq!(open(&seal, &keys, PLACE, &sealed), Err(Unopened::OtherKey(4)));
        let other = seal.seal(&key(9, 2), PLACE, &phi(b"72")).0;
        assert_eq!(open(&seal, &keys, PLACE, &other), Err(Unopened::NotAuthentic));
    }
}

#[test]
fn the_plaintext_is_not_in_the_envelope() {
    for seal in sealers() {
        let sealed = seal.seal(&key(1, 1), PLACE, &phi(b"heart_rate 72")).0;
        let shows = |window: &[u8]| b"heart_rate 72".windows(4).any(|text| text == window);
        assert!(!sealed.windows(4).any(shows));
    }
}

#[test]
fn nothing_of_key_or_content_is_in_debug() {
    let key = key(0x5a, 1);
    let sealed = sealers()[0].seal(&key, PLACE, &phi(b"72"));
    assert_eq!(format!("{key:?} {sealed:?}"), "DataKey { .. } Sealed(36 bytes)");
}
