//! The key that signs what others must be able to check, Ed25519 (RFC 8032), and its public part, in files as OpenSSL
//! has them (PKCS#8 and SubjectPublicKeyInfo in PEM, RFC 8410). The private key is in no error and no `Debug`.

mod statement;

pub use statement::StatementError;

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Bytes of a file with a key, at most.
const FILE_BYTES_MAX: usize = 1 << 14;

/// What stands before the 32 bytes of a public key: a sequence with the algorithm's name (RFC 8410,
/// section 4).
const PUBLIC_KEY_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key that signs.
pub struct SigningKey(Ed25519KeyPair);

/// A key that tells whether a signature is good.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The system gives no randomness.
    #[error("the system gives no randomness for a key")]
    NoRandomness,
    /// The file cannot be read.
    #[error(
        "cannot read {}: {source}; `biometric-bridge audit init --output FILE` makes a key that signs",
        .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no key, or another one.
    #[error(
        "{} is no {wanted}; `biometric-bridge audit init` makes the private key, `audit public-key` \
         prints the public one",
        .path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        wanted: &'static str,
    },
}

impl SigningKey {
    /// A new key, of no file yet.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, SigningKeyError> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| SigningKeyError::NoRandomness)
    }

    /// Reads the key in `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or has no private key of Ed25519.
    pub fn read(path: &Path) -> Result<Self, SigningKeyError> {
        let other = || SigningKeyError::Other {
            path: path.to_owned(),
            wanted: "private key of Ed25519 in PEM (BEGIN PRIVATE KEY)",
        };
        let text = read(path)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| other())?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der());
        pair.map(Self).map_err(|_| other())
    }

    /// The content of a file that [`SigningKey::read`] reads back.
    ///
    /// # Errors
    ///
    /// When the library does not give the key away.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, SigningKeyError> {
        let key = self.0.to_pkcs8v1().map_err(|_| SigningKeyError::NoRandomness)?;
        let text = Zeroizing::new(BASE64_STANDARD.encode(key.as_ref()));
        Ok(Zeroizing::new(pem("PRIVATE KEY", &text)))
    }

    /// The key that tells whether what this one has signed is good.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        // It has that length, always.
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

impl PublicKey {
    /// Reads the key in `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or has no public key of Ed25519.
    pub fn read(path: &Path) -> Result<Self, SigningKeyError> {
        let text = read(path)?;
        let key = SubjectPublicKeyInfoDer::from_pem_slice(&text).ok();
        let bytes = key.and_then(|key| key.strip_prefix(&PUBLIC_KEY_PREFIX)?.try_into().ok());
        bytes.map(Self).ok_or_else(|| SigningKeyError::Other {
            path: path.to_owned(),
            wanted: "public key of Ed25519 in PEM (BEGIN PUBLIC KEY)",
        })
    }

    /// The content of a file that [`PublicKey::read`] reads back.
    pub fn to_pem(&self) -> String {
        let der = [&PUBLIC_KEY_PREFIX[..], &self.0].concat();
        pem("PUBLIC KEY", &BASE64_STANDARD.encode(der))
    }

    /// The key itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Names it: the first 16 digits of its SHA-256.
    pub fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.0)[..8])
    }

    /// Whether its private key has signed that.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// Both kinds fit on one line of base64.
fn pem(what: &str, base64: &str) -> String {
    format!("-----BEGIN {what}-----\n{base64}\n-----END {what}-----\n")
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SigningKeyError> {
    let unreadable = |source| SigningKeyError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // Room for all of it, for growing would leave the key behind in freed memory.
    let mut content = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 64));
    file.take(FILE_BYTES_MAX as u64).read_to_end(&mut content).map_err(unreadable)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_files_and_signs_what_its_public_part_accepts() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SigningKey::generate().expect("a key");
        let (private, public) = (folder.path().join("private"), folder.path().join("public"));
        std::fs::write(&private, key.to_pem().expect("its text").as_bytes()).expect("a file");
        std::fs::write(&public, key.public().to_pem()).expect("a file");
        let read = SigningKey::read(&private).expect("the key");
        let public_key = PublicKey::read(&public).expect("the public key");
        assert_eq!((&read.public(), &key.public()), (&public_key, &public_key));
        let mut signature = read.sign(b"message");
        assert!(public_key.has_signed(b"message", &signature));
        assert!(!public_key.has_signed(b"massage", &signature));
        let other = SigningKey::generate().expect("a key").public();
        assert!(!other.has_signed(b"message", &signature));
        assert_ne!(other.id(), public_key.id());
        signature[0] ^= 1;
        assert!(!public_key.has_signed(b"message", &signature));
        assert!(!public_key.has_signed(b"message", b"short"));
        // One is not taken for the other.
        assert!(matches!(SigningKey::read(&public), Err(SigningKeyError::Other { .. })));
        assert!(matches!(PublicKey::read(&private), Err(SigningKeyError::Other { .. })));
    }

    /// RFC 8410, section 10.1 and 10.3: the public key, and the private key in version 1.
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

    #[test]
    fn the_keys_of_the_standard_belong_together_and_are_written_as_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, PRIVATE).expect("a file");
        let key = SigningKey::read(&path).expect("the private key");
        assert_eq!(key.public().to_pem(), PUBLIC);
        assert_eq!(key.to_pem().expect("its text").as_str(), PRIVATE);
        assert!(!format!("{key:?}").contains("INTuctv5"));
    }

    #[test]
    fn what_is_no_key_is_told_with_the_cure() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        for content in [
            &b""[..],
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            &[0xff; 9],
        ] {
            std::fs::write(&path, content).expect("a file");
            for error in [SigningKey::read(&path).map(drop), PublicKey::read(&path).map(drop)] {
                let said = error.expect_err("no key").to_string();
                assert!(said.contains("audit init"), "{said}");
            }
        }
        let missing = SigningKey::read(Path::new("/nowhere/key")).expect_err("no file");
        assert!(matches!(missing, SigningKeyError::Unreadable { .. }));
    }
}
