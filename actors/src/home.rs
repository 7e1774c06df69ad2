//! Which lane is a user's home: the partition that Kafka's own default partitioner gives the user id.

use crate::lane::Lane;

/// The home lane of `user_id` among `partition_count` lanes (at least 1).
///
/// `(murmur2(user_id) & 0x7fffffff) mod N`, as the Java client does it for a key.
pub fn home(user_id: &str, partition_count: i32) -> Lane {
    let hash = murmur2(user_id.as_bytes()) & 0x7fff_ffff;
    let count = partition_count.unsigned_abs().max(1);
    // A remainder below 2^31 fits.
    Lane(i32::try_from(hash % count).unwrap_or(0))
}

/// MurmurHash2 (Austin Appleby, public domain) with the seed of Kafka's `Utils.murmur2`.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka's lengths are 32-bit too.
    let mut hash = SEED ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_java_client() {
        let cases = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn one_lane_is_everybody_s_home() {
        assert_eq!(home("anybody", 1), Lane(0));
    }
}
