//! Checkpoints: where chains end at a time, signed. A line of JSON each; what is signed is not the text but
//! what it says, in one encoding.

use actors::hash_chain::{Encoding, Head, RowHash};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::signature::{PublicKey, SigningKey};

/// The hash of a checkpoint.
pub type CheckpointHash = [u8; 32];

/// Where chains end, says a signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which key signs it: [`PublicKey::id`].
    pub key: String,
    /// Which process; it has that name from its start to its end.
    pub signer: String,
    /// Numbers the signer's checkpoints, from 1.
    pub number: i64,
    /// When, in microseconds since 1970, by the signer's clock.
    pub time_us: i64,
    /// The hash of the signer's checkpoint before it; `None` for the first.
    pub previous: Option<CheckpointHash>,
    /// Writers whose chains have moved since, with where they end, in order.
    pub chains: Vec<(String, Head)>,
}

/// A checkpoint with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What is signed.
    pub checkpoint: Checkpoint,
    signature: Vec<u8>,
}

/// A text that is no checkpoint of a version that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no checkpoint that this release knows")]
pub struct NoCheckpoint;

impl Checkpoint {
    /// What is signed.
    fn to_bytes(&self) -> Vec<u8> {
        let mut encoding = Encoding::of("biometric-bridge audit checkpoint");
        encoding.text(&self.key);
        encoding.text(&self.signer);
        encoding.number(self.number);
        encoding.number(self.time_us);
        encoding.optional(self.previous.as_ref().map(|hash| &hash[..]));
        encoding.number(i64::try_from(self.chains.len()).unwrap_or(i64::MAX));
        for (writer, head) in &self.chains {
            encoding.text(writer);
            encoding.number(head.sequence);
            encoding.optional(head.hash.map(RowHash::to_bytes).as_deref());
        }
        encoding.into_bytes()
    }

    /// What the signer's next one names as the one before.
    pub fn hash(&self) -> CheckpointHash {
        Sha256::digest(self.to_bytes()).into()
    }

    /// Signs it.
    pub fn sign(self, key: &SigningKey) -> Signed {
        let signature = key.sign(&self.to_bytes());
        Signed { checkpoint: self, signature }
    }
}

impl Signed {
    /// Whether this key has signed just that.
    pub fn is_by(&self, key: &PublicKey) -> bool {
        key.has_signed(&self.checkpoint.to_bytes(), &self.signature)
    }

    /// As a line, without its end.
    pub fn to_line(&self) -> String {
        let Checkpoint { key, signer, number, time_us, previous, chains } = &self.checkpoint;
        let time = DateTime::from_timestamp_micros(*time_us).unwrap_or_default();
        let chain = |(writer, head): &(String, Head)| ChainLine {
            writer: writer.clone(),
            sequence: head.sequence,
            hash: head.hash.map(|hash| hex::encode(hash.to_bytes())).unwrap_or_default(),
        };
        let line = Line {
            version: LINE_VERSION,
            key: key.clone(),
            signer: signer.clone(),
            number: *number,
            time: time.to_rfc3339_opts(SecondsFormat::Micros, true),
            previous: previous.map(hex::encode),
            chains: chains.iter().map(chain).collect(),
            signature: BASE64_STANDARD.encode(&self.signature),
        };
        // Texts and numbers are always JSON.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Reads a line.
    ///
    /// # Errors
    ///
    /// When it is not, letter by letter, what [`Signed::to_line`] makes of a checkpoint.
    pub fn of_line(line: &[u8]) -> Result<Self, NoCheckpoint> {
        let signed = Self::read(line)?;
        // The same may be said in other letters, and what was changed must not pass for that.
        if signed.to_line().as_bytes() == line.trim_ascii_end() {
            Ok(signed)
        } else {
            Err(NoCheckpoint)
        }
    }

    fn read(line: &[u8]) -> Result<Self, NoCheckpoint> {
        let line: Line = serde_json::from_slice(line).map_err(|_| NoCheckpoint)?;
        if line.version != LINE_VERSION {
            return Err(NoCheckpoint);
        }
        let time: DateTime<Utc> = line.time.parse().map_err(|_| NoCheckpoint)?;
        let previous = line.previous.map(|hash| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(hash, &mut bytes).map(|()| bytes).map_err(|_| NoCheckpoint)
        });
        let chain = |chain: ChainLine| {
            let hash = hex::decode(chain.hash).ok().and_then(|hash| RowHash::from_bytes(&hash));
            let hash = Some(hash.ok_or(NoCheckpoint)?);
            Ok((chain.writer, Head { sequence: chain.sequence, hash }))
        };
        let chains: Result<Vec<_>, NoCheckpoint> = line.chains.into_iter().map(chain).collect();
        let checkpoint = Checkpoint {
            key: line.key,
            signer: line.signer,
            number: line.number,
            time_us: time.timestamp_micros(),
            previous: previous.transpose()?,
            chains: chains?,
        };
        let signature = BASE64_STANDARD.decode(line.signature).map_err(|_| NoCheckpoint)?;
        Ok(Self { checkpoint, signature })
    }
}

const LINE_VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    version: u8,
    key: String,
    signer: String,
    number: i64,
    time: String,
    previous: Option<String>,
    chains: Vec<ChainLine>,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainLine {
    writer: String,
    sequence: i64,
    hash: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(key: &SigningKey) -> Signed {
        let hash = RowHash::from_bytes(&[1; 33]);
        let checkpoint = Checkpoint {
            key: key.public().id(),
            signer: "service/1".to_owned(),
            number: 2,
            time_us: 1_740_988_800_123_456,
            previous: Some([7; 32]),
            chains: vec![("lane/0".to_owned(), Head { sequence: 9, hash })],
        };
        checkpoint.sign(key)
    }

    #[test]
    fn a_checkpoint_comes_back_from_its_line_with_a_signature_that_is_good() {
        let key = SigningKey::generate().expect("a key");
        let signed = signed(&key);
        let line = signed.to_line();
        assert!(line.contains(r#""time":"2025-03-03T08:00:00.123456Z""#), "{line}");
        let read = Signed::of_line(line.as_bytes()).expect("a checkpoint");
        assert_eq!(read, signed);
        assert!(read.is_by(&key.public()));
        assert!(!read.is_by(&SigningKey::generate().expect("a key").public()));
    }

    #[test]
    fn whatever_is_changed_in_a_line_is_no_checkpoint_or_not_signed() {
        let key = SigningKey::generate().expect("a key");
        let line = signed(&key).to_line();
        let public = key.public();
        for place in 0..line.len() {
            for other in [b'0', b'1', b'a', b'"', b' '] {
                let mut changed = line.clone().into_bytes();
                if changed[place] == other {
                    continue;
                }
                changed[place] = other;
                let read = Signed::of_line(&changed);
                let is_good = read.is_ok_and(|read| read.is_by(&public));
                assert!(!is_good, "{}", String::from_utf8_lossy(&changed));
            }
        }
        for line in ["", "{}", "null", &line.replace("\"version\":1", "\"version\":2")] {
            assert_eq!(Signed::of_line(line.as_bytes()), Err(NoCheckpoint), "{line}");
        }
    }
}
