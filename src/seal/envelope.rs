//! The envelope around sealed bytes: its layout, what it is bound to, its nonces. Never says what is
//! in it.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of the envelope: 1 |
//! | 1 | algorithm: 1 is AES-256-GCM |
//! | 4 | number of the key among its owner's, little-endian |
//! | 12 | nonce |
//! | as the plaintext | ciphertext |
//! | 16 | tag |
//!
//! **Associated data.** The first six bytes above, the user and the record (8 bytes each,
//! little-endian), then each text that names the place, behind its length in 8 bytes. All but the
//! texts is of fixed length and each text says its own, so no two places share an encoding. GCM does
//! not commit to its key; therefore the number of the key is bound too, and a key is looked up by
//! owner and number, never found by trying.
//!
//! **Nonces** are 96 random bits each (NIST SP 800-38D, section 8.2.2). Several processes may seal with
//! one user's key at once (an owner that does not know yet that it was replaced, and its successor),
//! and a process that died may have sealed what was never committed. So nothing that is counted can
//! be a nonce: not the record number or offset, which a successor uses again with other content, nor
//! a counter in memory or in the database. A random prefix with a counter behind it would collide
//! for a whole process at once and is outside of section 8.2.2, which wants at least 96 random bits.
//! Random nonces allow 2^32 seals with one key (section 8.3): a repeat then has a chance below 2^-32. A
//! user with ten seals a second reaches that after 13 years.
//!
//! The bits come from a ChaCha12 generator per thread, seeded and every 64 KiB seeded anew by the
//! system: a call to the system for each nonce would cost more than the seal. A nonce need not be
//! secret, only new; keys come from the system itself. One thing would break this: a process or
//! virtual machine copied while it runs and continued twice, for both would draw the same bits
//! until they are seeded anew. The service never forks.

#[cfg(test)]
mod tests;

use actors::seal::Unopened;
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use rand::Rng as _;

const VERSION: u8 = 1;
const AES_256_GCM: u8 = 1;

const HEADER_BYTES: usize = 6;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What an envelope adds to its plaintext, in bytes.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

/// What makes a nonce; 96 bits.
pub(super) type Nonce = [u8; NONCE_BYTES];

/// A key with its number among its owner's.
#[derive(Clone, Copy)]
pub(super) struct Key<'k> {
    pub(super) bytes: &'k [u8; 32],
    pub(super) number: u32,
}

/// What sealed bytes are bound to, besides their key.
#[derive(Clone, Copy)]
pub(super) struct Binding<'b> {
    pub(super) user: i64,
    pub(super) record: i64,
    /// Names the place: table and column, and what else must be the same.
    pub(super) texts: &'b [&'b str],
}

/// A nonce that no key has met, but for the chance in the module's doc.
pub(super) fn fresh_nonce() -> Nonce {
    let mut nonce = Nonce::default();
    rand::rng().fill_bytes(&mut nonce);
    nonce
}

/// Seals `plaintext`; none when it is longer than the 64 GiB that GCM allows.
pub(super) fn seal(
    key: Key<'_>,
    binding: Binding<'_>,
    nonce: Nonce,
    plaintext: &[u8],
) -> Option<Vec<u8>> {
    let header = header(key.number);
    // Of the final length from the start: growing would leave plaintext behind in freed memory.
    let mut sealed = Vec::with_capacity(OVERHEAD_BYTES + plaintext.len());
    sealed.extend_from_slice(&header);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plaintext);
    let (_, text) = sealed.split_at_mut(HEADER_BYTES + NONCE_BYTES);
    let tag = encrypt(key.bytes, &nonce, &associated_data(&header, binding), text)?;
    sealed.extend_from_slice(&tag);
    Some(sealed)
}

/// Opens what [`seal`] gave for the same key and binding.
pub(super) fn open(key: Key<'_>, binding: Binding<'_>, sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
    match sealed.first() {
        None => return Err(Unopened::Damaged),
        Some(&VERSION) => {}
        Some(&other) => return Err(Unopened::UnknownVersion(other)),
    }
    let (header, rest) = sealed.split_first_chunk::<HEADER_BYTES>().ok_or(Unopened::Damaged)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Unopened::Damaged)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Unopened::Damaged)?;
    let [_, algorithm, number @ ..] = *header;
    if algorithm != AES_256_GCM {
        return Err(Unopened::UnknownAlgorithm(algorithm));
    }
    let number = u32::from_le_bytes(number);
    if number != key.number {
        return Err(Unopened::OtherKey(number));
    }
    let mut text = ciphertext.to_vec();
    decrypt(key.bytes, nonce, &associated_data(header, binding), &mut text, tag)
        .ok_or(Unopened::NotAuthentic)?;
    Ok(text)
}

fn header(key_number: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = key_number.to_le_bytes();
    [VERSION, AES_256_GCM, a, b, c, d]
}

fn associated_data(header: &[u8; HEADER_BYTES], binding: Binding<'_>) -> Vec<u8> {
    // What the longest of our places takes, so that it is allocated once.
    let mut data = Vec::with_capacity(128);
    data.extend_from_slice(header);
    data.extend_from_slice(&binding.user.to_le_bytes());
    data.extend_from_slice(&binding.record.to_le_bytes());
    for text in binding.texts {
        data.extend_from_slice(&(text.len() as u64).to_le_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    data
}

/// AES-256-GCM (NIST SP 800-38D) with a tag of 128 bits, in place. The key schedule is made anew each
/// time: kept for each user it would take 624 bytes of secrets.
fn encrypt(
    key: &[u8; 32],
    nonce: &Nonce,
    associated_data: &[u8],
    text: &mut [u8],
) -> Option<[u8; TAG_BYTES]> {
    let cipher = Aes256Gcm::new(key.into());
    let tag = cipher.encrypt_inout_detached(nonce.into(), associated_data, text.into());
    tag.ok().map(Into::into)
}

/// The way back; `text` stays as it is unless the tag is right.
fn decrypt(
    key: &[u8; 32],
    nonce: &Nonce,
    associated_data: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_BYTES],
) -> Option<()> {
    let cipher = Aes256Gcm::new(key.into());
    cipher.decrypt_inout_detached(nonce.into(), associated_data, text.into(), tag.into()).ok()
}
