//! Sealing what is about a person's body, and the keys for it. No key and no plaintext is ever logged,
//! shown or put into an error.
//!
//! Three levels: the [key-encryption keys](key_encryption) are in a [file](key_file) that never comes near the
//! database, or in [Vault](crate::vault); they wrap the [data keys](key_ring), one for each user, which the database
//! keeps; a data key seals what is the user's, each piece in its [envelope].

pub mod envelope;
pub mod file_encryption;
pub mod key_encryption;
pub mod key_file;
pub mod key_ring;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod tests;
mod user_tag;

use actors::phi::Phi;
use actors::seal::{DataKey, Place, Seal, Sealed, Sealing, Unopened};

pub use envelope::Algorithm;
use envelope::{Binding, Key, Ready};

/// The system has no randomness to give, so no key and no nonce can be made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no randomness: {0}")]
pub struct NoRandomness(getrandom::Error);

/// Seals with an algorithm of choice and random nonces, and opens whatever any of them has sealed; the
/// [envelope] has the reasons.
#[derive(Clone, Copy, Debug)]
pub struct Sealer {
    algorithm: Algorithm,
}

impl Sealer {
    /// A sealer.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness for nonces: no record must depend on it before it was asked for.
    pub fn new(algorithm: Algorithm) -> Result<Self, NoRandomness> {
        fill_random(&mut [0; 16])?;
        Ok(Self { algorithm })
    }

    /// Whether a made-up text, sealed with a made-up key, opens where it belongs and nowhere else.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn works(&self) -> Result<bool, NoRandomness> {
        let mut bytes = [0; 32];
        fill_random(&mut bytes)?;
        let (key, text) = (DataKey::new(&bytes, 1), Phi::new(b"made up to be sealed".to_vec()));
        let place = Place { table: "none", column: "none", user: 1, record: 1 };
        let sealed = self.seal(&key, place, &text).0;
        let elsewhere = self.open(&key, Place { record: 2, ..place }, &sealed);
        let opens = self.open(&key, place, &sealed).is_ok_and(|opened| opened == text);
        Ok(opens && elsewhere == Err(Unopened::NotAuthentic))
    }
}

impl Seal for Sealer {
    fn seal(&self, key: &DataKey, place: Place, plaintext: &Phi<Vec<u8>>) -> Sealed {
        self.with(key)(place, plaintext)
    }

    fn with<'s>(&'s self, key: &'s DataKey) -> Sealing<'s> {
        let ready = Ready::new(self.algorithm, raw(key));
        Box::new(move |place, plaintext| {
            let texts = [place.table, place.column];
            let (binding, nonce) = (binding(place, &texts), envelope::fresh_nonce());
            let sealed = ready.seal(binding, &nonce, plaintext.expose());
            // More than 64 GiB in one piece, which nothing that we read can be. It must not leave in the
            // clear, so it leaves as nothing, which does not open.
            Sealed(sealed.unwrap_or_default())
        })
    }

    fn open(&self, key: &DataKey, place: Place, sealed: &[u8]) -> Result<Phi<Vec<u8>>, Unopened> {
        let texts = [place.table, place.column];
        // Looked up by number, never found by trying; with a number that is not at hand the envelope says which.
        let number = envelope::key_number(sealed);
        let key = number.and_then(|number| key.numbered(number)).unwrap_or(key);
        envelope::open(raw(key), binding(place, &texts), sealed).map(Phi::new)
    }
}

fn raw(key: &DataKey) -> Key<'_> {
    Key { bytes: key.expose(), number: key.number() }
}

fn binding<'b>(place: Place, texts: &'b [&'b str]) -> Binding<'b> {
    Binding { user: place.user, record: place.record, texts }
}

/// Fills `bytes` with what a key may be made of.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(NoRandomness)
}
