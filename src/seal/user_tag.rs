//! What log lines call a user instead of by their id: a keyed digest of it. Never the id, nor anything from
//! which somebody without the key could find it by trying.

use actors::seal::{DataKey, UserTag};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};

/// The first key that a service ever had. Whatever seals or wraps later, it stays, so that tags stay.
const FIRST: u32 = 1;
/// What the service's own key is used for here, so that it does nothing else twice.
const SALT: &[u8] = b"biometric-bridge";
const INFO: &[u8] = b"tags of users in logs, 1";

/// The tag of a user: the first 8 bytes of HMAC-SHA-256 (RFC 2104) over the id, with a key derived from the service's
/// first own key by HKDF-SHA-256 (RFC 5869). `None` when that one is not at hand.
pub(super) fn of(service_key: &DataKey, user_id: &str) -> Option<UserTag> {
    let pseudo_random = Salt::new(HKDF_SHA256, SALT).extract(service_key.numbered(FIRST)?.expose());
    let derived = pseudo_random.expand(&[INFO], HMAC_SHA256).ok()?;
    let tag = hmac::sign(&hmac::Key::from(derived), user_id.as_bytes());
    tag.as_ref().first_chunk().map(|bytes| UserTag(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(service_key: &DataKey, user_id: &str) -> String {
        of(service_key, user_id).expect("a tag").to_string()
    }

    #[test]
    fn a_tag_is_sixteen_digits_of_a_keyed_digest() {
        // By another implementation: Python's `hmac` and `hashlib`, with RFC 5869 written out.
        let key = DataKey::new(&[7; 32], 1);
        assert_eq!(tag(&key, "test_user_123"), "f359e64f884b6b9e");
        assert_ne!(tag(&key, "test_user_124"), tag(&key, "test_user_123"));
        assert_ne!(tag(&DataKey::new(&[8; 32], 1), "test_user_123"), tag(&key, "test_user_123"));
        assert_eq!(UserTag([0, 0, 0, 0, 0, 0, 0, 1]).to_string(), "0000000000000001");
    }

    #[test]
    fn a_tag_stays_when_the_service_has_a_next_key() {
        let first = DataKey::new(&[7; 32], 1);
        let second = DataKey::with_older(&[9; 32], 2, vec![first.clone()]);
        assert_eq!(tag(&first, "u1"), tag(&second, "u1"));
        assert_eq!(of(&DataKey::new(&[9; 32], 2), "u1"), None, "another key is no way to it");
    }
}
