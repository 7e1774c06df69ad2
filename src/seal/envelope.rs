//! The envelope around sealed bytes: its layout, what it is bound to, its nonces. Never says what is
//! in it.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of the envelope: 1 |
//! | 1 | algorithm: 1 is AES-256-GCM, 2 is XChaCha20-Poly1305 |
//! | 4 | number of the key among its owner's, little-endian |
//! | 12, or 24 of XChaCha20-Poly1305 | nonce |
//! | as the plaintext | ciphertext |
//! | 16 | tag |
//!
//! **Associated data.** The first six bytes above, the user and the record (8 bytes each,
//! little-endian), then each text that names the place, behind its length in 8 bytes. All but the
//! texts is of fixed length and each text says its own, so no two places share an encoding. Neither
//! algorithm commits to its key; therefore the number of the key is bound too, and a key is looked up by
//! owner and number, never found by trying.
//!
//! **Nonces** of AES-256-GCM are 96 random bits each (NIST SP 800-38D, section 8.2.2). Several processes may seal with
//! one user's key at once (an owner that does not know yet that it was replaced, and its successor),
//! and a process that died may have sealed what was never committed. So nothing that is counted can
//! be a nonce: not the record number or offset, which a successor uses again with other content, nor
//! a counter in memory or in the database. A random prefix with a counter behind it would collide
//! for a whole process at once and is outside of section 8.2.2, which wants at least 96 random bits.
//! Random nonces allow 2^32 seals with one key (section 8.3): a repeat then has a chance below 2^-32. A
//! user with ten seals a second reaches that after 13 years. Those of XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha-03) are 192 random bits: the same chance is reached after 2^80 seals, which is never.
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
use aes_gcm::aead::{self, AeadInOut, KeyInit as _};
use chacha20poly1305::XChaCha20Poly1305;
use rand::Rng as _;

const VERSION: u8 = 1;

const HEADER_BYTES: usize = 6;
const TAG_BYTES: usize = 16;

/// What seals. An envelope says which it was, so whatever either has sealed opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// AES-256-GCM (NIST SP 800-38D): fast where the processor helps.
    #[default]
    Aes256Gcm = 1,
    /// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): nonces for ever, and as fast where the processor does not help.
    XChaCha20Poly1305 = 2,
}

impl Algorithm {
    fn of_number(number: u8) -> Result<Self, Unopened> {
        [Self::Aes256Gcm, Self::XChaCha20Poly1305]
            .into_iter()
            .find(|algorithm| *algorithm as u8 == number)
            .ok_or(Unopened::UnknownAlgorithm(number))
    }

    const fn nonce_bytes(self) -> usize {
        match self {
            Self::Aes256Gcm => 12,
            Self::XChaCha20Poly1305 => NONCE_BYTES_MAX,
        }
    }

    /// What an envelope adds to its plaintext, in bytes.
    pub const fn overhead_bytes(self) -> usize {
        HEADER_BYTES + self.nonce_bytes() + TAG_BYTES
    }
}

const NONCE_BYTES_MAX: usize = 24;

/// What makes a nonce; each algorithm takes as many bytes from the front as it needs.
pub(super) type Nonce = [u8; NONCE_BYTES_MAX];

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

/// A key made ready to seal one thing after the other: its schedule is made once. For as long as those take, and no
/// longer: kept for each user it would take 624 bytes of secrets.
pub(super) struct Ready {
    cipher: Cipher,
    algorithm: Algorithm,
    key_number: u32,
}

impl Ready {
    /// Makes `key` ready.
    pub(super) fn new(algorithm: Algorithm, key: Key<'_>) -> Self {
        Self { cipher: Cipher::new(algorithm, key.bytes), algorithm, key_number: key.number }
    }

    /// Seals `plaintext`; none when it is longer than the algorithm allows: 64 GiB with GCM, 256 GiB with the other.
    pub(super) fn seal(
        &self,
        binding: Binding<'_>,
        nonce: &Nonce,
        plaintext: &[u8],
    ) -> Option<Vec<u8>> {
        let header = header(self.algorithm, self.key_number);
        let nonce = &nonce[..self.algorithm.nonce_bytes()];
        // Of the final length from the start: growing would leave plaintext behind in freed memory.
        let mut sealed = Vec::with_capacity(self.algorithm.overhead_bytes() + plaintext.len());
        sealed.extend_from_slice(&header);
        sealed.extend_from_slice(nonce);
        sealed.extend_from_slice(plaintext);
        let (_, text) = sealed.split_at_mut(HEADER_BYTES + nonce.len());
        let tag = self.cipher.encrypt(nonce, &associated_data(&header, binding), text)?;
        sealed.extend_from_slice(&tag);
        Some(sealed)
    }
}

/// Opens what [`Ready::seal`] gave for the same key and binding.
pub(super) fn open(key: Key<'_>, binding: Binding<'_>, sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
    match sealed.first() {
        None => return Err(Unopened::Damaged),
        Some(&VERSION) => {}
        Some(&other) => return Err(Unopened::UnknownVersion(other)),
    }
    let (header, rest) = sealed.split_first_chunk::<HEADER_BYTES>().ok_or(Unopened::Damaged)?;
    let [_, algorithm, number @ ..] = *header;
    let algorithm = Algorithm::of_number(algorithm)?;
    let (nonce, rest) = rest.split_at_checked(algorithm.nonce_bytes()).ok_or(Unopened::Damaged)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Unopened::Damaged)?;
    let number = u32::from_le_bytes(number);
    if number != key.number {
        return Err(Unopened::OtherKey(number));
    }
    let mut text = ciphertext.to_vec();
    let associated_data = associated_data(header, binding);
    let cipher = Cipher::new(algorithm, key.bytes);
    cipher.decrypt(nonce, &associated_data, &mut text, tag).ok_or(Unopened::NotAuthentic)?;
    Ok(text)
}

/// The number of the key that has sealed, as the envelope says; nothing is believed of it until it opens.
pub(super) fn key_number(sealed: &[u8]) -> Option<u32> {
    let [_, _, number @ ..] = *sealed.first_chunk::<HEADER_BYTES>()?;
    Some(u32::from_le_bytes(number))
}

fn header(algorithm: Algorithm, key_number: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = key_number.to_le_bytes();
    [VERSION, algorithm as u8, a, b, c, d]
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

/// A key's schedule.
enum Cipher {
    Aes256Gcm(Box<Aes256Gcm>),
    XChaCha20Poly1305(XChaCha20Poly1305),
}

impl Cipher {
    fn new(algorithm: Algorithm, key: &[u8; 32]) -> Self {
        match algorithm {
            Algorithm::Aes256Gcm => Self::Aes256Gcm(Box::new(Aes256Gcm::new(key.into()))),
            Algorithm::XChaCha20Poly1305 => {
                Self::XChaCha20Poly1305(XChaCha20Poly1305::new(key.into()))
            }
        }
    }

    /// Encrypts in place, with a tag of 128 bits.
    fn encrypt(
        &self,
        nonce: &[u8],
        associated_data: &[u8],
        text: &mut [u8],
    ) -> Option<[u8; TAG_BYTES]> {
        match self {
            Self::Aes256Gcm(cipher) => encrypt_by(&**cipher, nonce, associated_data, text),
            Self::XChaCha20Poly1305(cipher) => encrypt_by(cipher, nonce, associated_data, text),
        }
    }

    /// The way back; `text` stays as it is unless the tag is right.
    fn decrypt(
        &self,
        nonce: &[u8],
        associated_data: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Option<()> {
        match self {
            Self::Aes256Gcm(cipher) => decrypt_by(&**cipher, nonce, associated_data, text, tag),
            Self::XChaCha20Poly1305(cipher) => {
                decrypt_by(cipher, nonce, associated_data, text, tag)
            }
        }
    }
}

fn encrypt_by<C: AeadInOut>(
    cipher: &C,
    nonce: &[u8],
    associated_data: &[u8],
    text: &mut [u8],
) -> Option<[u8; TAG_BYTES]> {
    let nonce = aead::Nonce::<C>::try_from(nonce).ok()?;
    let tag = cipher.encrypt_inout_detached(&nonce, associated_data, text.into());
    tag.ok()?.as_slice().try_into().ok()
}

fn decrypt_by<C: AeadInOut>(
    cipher: &C,
    nonce: &[u8],
    associated_data: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_BYTES],
) -> Option<()> {
    let nonce = aead::Nonce::<C>::try_from(nonce).ok()?;
    let tag = aead::Tag::<C>::try_from(tag.as_slice()).ok()?;
    cipher.decrypt_inout_detached(&nonce, associated_data, text.into(), &tag).ok()
}
