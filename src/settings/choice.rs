//! Settings that are one, or some, of a few words.

use std::collections::BTreeSet;
use std::fmt;

use super::node::Content;
use super::setting::{Setting, Wrong};

/// One of a few words.
pub(super) trait Choice: Copy + Ord + 'static {
    /// Every word.
    const ALL: &'static [(&'static str, Self)];
}

/// Declares a choice: a type with docs, and the word for each variant.
macro_rules! choices {
    ($(
        #[doc = $doc:literal]
        $Choice:ident { $( #[doc = $variant_doc:literal] $Variant:ident = $word:literal, )+ }
    )+) => { $(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $Choice { $( #[doc = $variant_doc] $Variant, )+ }

        impl $Choice {
            /// The word for it.
            pub fn word(self) -> &'static str {
                match self { $( Self::$Variant => $word, )+ }
            }
        }

        impl Choice for $Choice {
            const ALL: &'static [(&'static str, Self)] = &[ $( ($word, Self::$Variant), )+ ];
        }

        impl fmt::Display for $Choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl Setting for $Choice {
            type Limits = ();

            fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
                given.word().and_then(find).ok_or(Wrong::Kind)
            }

            fn show(&self) -> String {
                self.word().to_owned()
            }

            fn wanted((): &()) -> String {
                words::<Self>()
            }
        }
    )+ };
}

choices! {
    /// How connections to Kafka are secured, by Kafka's names.
    SecurityProtocol {
        /// Not at all.
        Plaintext = "plaintext",
        /// TLS.
        Ssl = "ssl",
        /// Authenticated, and readable by all.
        SaslPlaintext = "sasl_plaintext",
        /// Authenticated over TLS.
        SaslSsl = "sasl_ssl",
    }
    /// How we prove to Kafka who we are.
    SaslMechanism {
        /// User name and password as they are.
        Plain = "PLAIN",
        /// RFC 5802 with SHA-256.
        ScramSha256 = "SCRAM-SHA-256",
        /// RFC 5802 with SHA-512.
        ScramSha512 = "SCRAM-SHA-512",
    }
    /// What happens to a lane whose position the log's retention has passed.
    BelowStart {
        /// It stops, for an operator to decide.
        Stop = "stop",
        /// It goes on from the earliest record, and the gap is recorded.
        Earliest = "earliest",
    }
    /// What seals health data and keys.
    SealAlgorithm {
        /// NIST SP 800-38D.
        Aes256Gcm = "aes-256-gcm",
        /// draft-irtf-cfrg-xchacha-03.
        XChaCha20Poly1305 = "xchacha20-poly1305",
    }
    /// Which records and requests are followed, by OpenTelemetry's names.
    Sampler {
        /// All.
        AlwaysOn = "always_on",
        /// None.
        AlwaysOff = "always_off",
        /// A part of them, whoever has decided before.
        Ratio = "traceidratio",
        /// As was decided before; else all.
        ParentOrAlwaysOn = "parentbased_always_on",
        /// As was decided before; else none.
        ParentOrAlwaysOff = "parentbased_always_off",
        /// As was decided before; else a part of them.
        ParentOrRatio = "parentbased_traceidratio",
    }
    /// What wraps data keys.
    KeyWrapper {
        /// A key of the key file.
        File = "file",
        /// A key of HashiCorp Vault's transit engine.
        Vault = "vault",
    }
    /// How a token is signed, by the names of RFC 7518 and RFC 8037. None of them is symmetric.
    SigningAlgorithm {
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
        /// With SHA-384.
        Rs384 = "RS384",
        /// With SHA-512.
        Rs512 = "RS512",
        /// RSASSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// With SHA-384.
        Ps384 = "PS384",
        /// With SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
    /// The form of log lines.
    LogFormat {
        /// Text on a terminal, else JSON.
        Auto = "auto",
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Text = "text",
    }
    /// A connection that may carry health data.
    Channel {
        /// To Kafka.
        Kafka = "kafka",
        /// To Redis.
        Redis = "redis",
        /// To the AUREN API, and from whoever asks us.
        Websocket = "websocket",
        /// To PostgreSQL.
        Postgres = "postgres",
        /// To the language model of the coach.
        Coach = "coach",
    }
}

impl From<SealAlgorithm> for crate::seal::Algorithm {
    fn from(chosen: SealAlgorithm) -> Self {
        match chosen {
            SealAlgorithm::Aes256Gcm => Self::Aes256Gcm,
            SealAlgorithm::XChaCha20Poly1305 => Self::XChaCha20Poly1305,
        }
    }
}

impl SigningAlgorithm {
    /// What issuers use.
    pub(super) const USUAL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];
}

impl SecurityProtocol {
    /// Whether connections are encrypted.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether we say who we are.
    pub fn is_authenticated(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

fn find<T: Choice>(word: &str) -> Option<T> {
    let word = word.trim();
    T::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, choice)| *choice)
}

fn word_of<T: Choice>(choice: T) -> &'static str {
    T::ALL.iter().find(|(_, other)| *other == choice).map_or("", |(word, _)| *word)
}

/// The words, as a sentence lists them.
fn words<T: Choice>() -> String {
    let words: Vec<&str> = T::ALL.iter().map(|(word, _)| *word).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

impl<T: Choice> Setting for BTreeSet<T> {
    type Limits = ();

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        let chosen: Option<Self> = match given {
            Content::Null => Some(Self::new()),
            Content::Text(text) => {
                text.split(',').filter(|word| !word.trim().is_empty()).map(find).collect()
            }
            Content::List(list) => {
                list.iter().map(|element| element.value.word().and_then(find)).collect()
            }
            Content::Bool(_) | Content::Number(_) | Content::Mapping(_) => None,
        };
        chosen.ok_or(Wrong::Kind)
    }

    fn show(&self) -> String {
        let words: Vec<&str> = self.iter().map(|choice| word_of(*choice)).collect();
        format!("[{}]", words.join(", "))
    }

    fn wanted((): &()) -> String {
        format!("a list, each element {}", words::<T>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_either_case_and_listed_when_wrong() {
        let read = |word: &str| SecurityProtocol::read(&Content::Text(word.to_owned()), &());
        assert_eq!(read("SASL_SSL").expect("a choice"), SecurityProtocol::SaslSsl);
        assert!(read("tls").is_err());
        let wanted = "plaintext, ssl, sasl_plaintext or sasl_ssl";
        assert_eq!(SecurityProtocol::wanted(&()), wanted);
    }

    #[test]
    fn several_words_are_a_list_or_a_text_with_commas() {
        let read = |text: &str| BTreeSet::<Channel>::read(&Content::Text(text.to_owned()), &());
        assert_eq!(read("redis, kafka,").expect("a list").show(), "[kafka, redis]");
        assert_eq!(read("").expect("a list").show(), "[]");
        assert!(read("redis kafka").is_err());
    }
}
