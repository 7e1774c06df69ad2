//! What Vault's transit engine answers: read, bounded, and no more believed than it must be.

use actors::seal::DataKey;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::telemetry::escaped;

/// What came of one element of a batch, or what Vault says against it.
pub(super) type Item<T> = Result<T, String>;

/// Characters of what Vault says that we repeat, at most.
const SAID_MAX: usize = 200;

/// Bytes of a ciphertext, at most: one of 32 bytes has about 90.
const CIPHERTEXT_BYTES_MAX: usize = 512;

/// The answer to a batch.
#[derive(Deserialize)]
pub(super) struct Batch<'a> {
    #[serde(borrow)]
    data: Results<'a>,
}

#[derive(Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    batch_results: Vec<Outcome<'a>>,
}

/// Borrowed, so that no key is copied to where it is not forgotten.
#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow)]
    ciphertext: Option<&'a str>,
    #[serde(borrow)]
    plaintext: Option<&'a str>,
    error: Option<String>,
}

impl<'a> Batch<'a> {
    /// Reads an answer with just so many outcomes.
    pub(super) fn read(body: &'a [u8], count: usize) -> Option<Self> {
        let batch: Self = serde_json::from_slice(body).ok()?;
        (batch.data.batch_results.len() == count).then_some(batch)
    }

    /// The ciphertexts; none when one is no ciphertext.
    pub(super) fn ciphertexts(self) -> Option<Vec<Item<String>>> {
        let outcomes = self.data.batch_results.into_iter();
        outcomes
            .map(|outcome| match (outcome.error, outcome.ciphertext) {
                (Some(error), _) if !error.is_empty() => Some(Err(error)),
                (_, Some(text)) => version_of(text).map(|_| Ok(text.to_owned())),
                _ => None,
            })
            .collect()
    }

    /// The data keys of these numbers; none when one is no key.
    pub(super) fn keys(self, numbers: &[u32]) -> Option<Vec<Item<DataKey>>> {
        let outcomes = self.data.batch_results.into_iter().zip(numbers);
        outcomes
            .map(|(outcome, number)| match (outcome.error, outcome.plaintext) {
                (Some(error), _) if !error.is_empty() => Some(Err(error)),
                (_, Some(text)) => data_key(text, *number).map(Ok),
                _ => None,
            })
            .collect()
    }
}

/// A data key from base64, which must have its length.
fn data_key(text: &str, number: u32) -> Option<DataKey> {
    // The longest that as many characters as 32 bytes have can stand for.
    let mut decoded = Zeroizing::new([0; 33]);
    let length = BASE64_STANDARD.decode_slice(text, decoded.as_mut()).ok()?;
    let (key, _) = decoded.split_first_chunk::<32>()?;
    (length == 32).then(|| DataKey::new(key, number))
}

/// The version of the key that made a ciphertext, `vault:v3:…`; none when it is no ciphertext.
pub(super) fn version_of(ciphertext: &str) -> Option<u32> {
    let (version, text) = ciphertext.strip_prefix("vault:v")?.split_once(':')?;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let is_sound = !text.is_empty()
        && ciphertext.len() <= CIPHERTEXT_BYTES_MAX
        && text.bytes().all(is_base64)
        && version.bytes().all(|byte| byte.is_ascii_digit());
    is_sound.then(|| version.parse().ok()).flatten().filter(|version| *version > 0)
}

/// The answer to a question about the key.
#[derive(Deserialize)]
pub(super) struct About {
    data: AboutKey,
}

/// What Vault says of a key, without the key.
#[derive(Deserialize)]
struct AboutKey {
    latest_version: u32,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    derived: bool,
}

impl About {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The version that wraps.
    ///
    /// # Errors
    ///
    /// Why the key is of no use to us.
    pub(super) fn newest_version(self) -> Result<u32, String> {
        let AboutKey { latest_version, kind, derived } = self.data;
        // Those that bind associated data; of AES with 128 bits nobody gets 256.
        if !["aes256-gcm96", "chacha20-poly1305"].contains(&kind.as_str()) {
            return Err(format!("it is of type {}; make one of type aes256-gcm96", said(&kind)));
        }
        match derived {
            true => Err("it is derived, which wants a context; make one that is not".to_owned()),
            false => Ok(latest_version),
        }
    }
}

/// What Vault says in an answer that is an error.
pub(super) fn errors(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<String>,
    }
    let refusal = serde_json::from_slice::<Refusal>(body);
    refusal.map(|refusal| refusal.errors.join("; ")).unwrap_or_default()
}

/// Words of Vault, on one line and not for long.
pub(super) fn said(words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    escaped(&words.join(" ")).chars().take(SAID_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(results: &str) -> String {
        format!("{{\"request_id\":\"x\",\"data\":{{\"batch_results\":{results}}}}}")
    }

    #[test]
    fn an_answer_with_more_or_fewer_outcomes_than_asked_for_is_not_understood() {
        let text = answer(r#"[{"ciphertext":"vault:v1:QUJD"}]"#);
        assert!(Batch::read(text.as_bytes(), 1).is_some());
        assert!(Batch::read(text.as_bytes(), 0).is_none());
        assert!(Batch::read(text.as_bytes(), 2).is_none());
        for garbage in ["", "<html>", "{}", "{\"data\":{}}", "[]", "{\"data\":null}"] {
            assert!(Batch::read(garbage.as_bytes(), 1).is_none(), "{garbage}");
        }
    }

    #[test]
    fn a_data_key_has_32_bytes_and_nothing_else_is_one() {
        let of = |length: usize| BASE64_STANDARD.encode(vec![7; length]);
        for (text, is_key) in [
            (of(32), true),
            (of(31), false),
            (of(33), false),
            (of(64), false),
            (of(0), false),
            ("not base64".to_owned(), false),
        ] {
            assert_eq!(data_key(&text, 3).is_some(), is_key, "{}", text.len());
            let body = answer(&format!("[{{\"plaintext\":\"{text}\"}}]"));
            let keys = Batch::read(body.as_bytes(), 1).expect("an answer").keys(&[3]);
            assert_eq!(keys.is_some(), is_key);
        }
        assert_eq!(data_key(&of(32), 3).expect("a key").expose(), &[7; 32]);
    }

    #[test]
    fn what_vault_says_against_one_key_is_of_that_key_alone() {
        let key = BASE64_STANDARD.encode([7; 32]);
        let body = answer(&format!(
            r#"[{{"plaintext":"{key}"}},{{"error":"cipher: \"no\"","plaintext":""}}]"#
        ));
        let keys = Batch::read(body.as_bytes(), 2).expect("an answer").keys(&[1, 2]);
        let [good, bad] = &keys.expect("two outcomes")[..] else { panic!("two") };
        assert_eq!(good.as_ref().map(DataKey::number), Ok(1).as_ref().map(|number| *number));
        assert_eq!(bad.as_ref().err().map(String::as_str), Some("cipher: \"no\""));
    }

    #[test]
    fn a_ciphertext_says_its_version() {
        for (text, version) in [
            ("vault:v1:QUJD", Some(1)),
            ("vault:v12:QUJD+/==", Some(12)),
            ("vault:v0:QUJD", None),
            ("vault:v+1:QUJD", None),
            ("vault:v1:", None),
            ("vault:v1", None),
            ("vault:v99999999999:QUJD", None),
            ("vault:v1:\"", None),
            ("QUJD", None),
        ] {
            assert_eq!(version_of(text), version, "{text}");
        }
        assert_eq!(version_of(&format!("vault:v1:{}", "A".repeat(512))), None);
    }

    #[test]
    fn a_key_that_does_not_bind_is_of_no_use() {
        let about = |kind: &str, derived: bool| {
            let text = format!(
                r#"{{"data":{{"type":"{kind}","latest_version":3,"derived":{derived},"keys":{{}}}}}}"#
            );
            About::read(text.as_bytes()).expect("an answer").newest_version()
        };
        assert_eq!(about("aes256-gcm96", false), Ok(3));
        assert!(about("aes256-gcm96", true).expect_err("derived").contains("derived"));
        assert!(about("rsa-2048", false).expect_err("RSA").contains("rsa-2048"));
    }

    #[test]
    fn words_of_vault_are_one_short_line() {
        let text =
            format!(r#"{{"errors":["1 error\n\t* \u001b[31mdenied","{}"]}}"#, "x".repeat(999));
        let said = said(&errors(text.as_bytes()));
        assert!(said.starts_with("1 error * \\u{1b}[31mdenied; xxx"), "{said}");
        assert_eq!(said.chars().count(), SAID_MAX);
        assert_eq!(errors(b"<html>"), "");
    }
}
