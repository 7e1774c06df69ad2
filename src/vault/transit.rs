//! Questions to Vault's transit engine over HTTP; each waits for its answer. What is away, or refuses us, is named with
//! the cure; a token is in none of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use actors::seal::{DataKey, KeysAway};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use ureq::http::HeaderValue;
use zeroize::Zeroizing;

use super::answer::{About, Batch, Item, errors, said};
use crate::http::client;
use crate::settings::KeysVault;

/// Bytes of a token, at most: those that are issued in batches have a few hundred.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Bytes of an answer: what is around it, and each element, at most.
const ANSWER_BYTES: (usize, usize) = (64 << 10, 1 << 10);
/// Bytes of an element in a question: a key has 44 characters, a ciphertext about 90, associated data up to 110.
const ELEMENT_BYTES: usize = 1 << 10;

/// The transit engine of a Vault, and one key in it.
pub(super) struct Transit {
    agent: ureq::Agent,
    /// `https://vault.example:8200/v1/transit`.
    engine: String,
    /// As it may be shown.
    shown: String,
    mount: String,
    key: String,
    token_file: PathBuf,
    namespace: Option<HeaderValue>,
    timeout: Duration,
}

/// One element of a question, with what it is bound to.
pub(super) struct Given<T> {
    pub(super) text: T,
    pub(super) associated_data: String,
}

#[derive(Serialize)]
struct Question<E> {
    batch_input: Vec<E>,
}

#[derive(Serialize)]
struct Plain<'a> {
    plaintext: &'a str,
    associated_data: String,
}

#[derive(Serialize)]
struct Cipher<'a> {
    ciphertext: &'a str,
    associated_data: String,
}

impl Transit {
    /// What the settings name, if they name a Vault.
    ///
    /// # Errors
    ///
    /// One sentence that says which setting names what cannot be read.
    pub(super) fn of(settings: &KeysVault) -> Result<Option<Self>, String> {
        let (Some(url), Some(token_file)) = (&settings.url, &settings.token_file) else {
            return Ok(None);
        };
        let authorities = settings.ca_file.as_ref();
        let authorities =
            authorities.map(|path| client::authorities("keys.vault.ca_file", path)).transpose()?;
        let namespace = settings.namespace.as_deref().map(HeaderValue::from_str).transpose();
        Ok(Some(Self {
            agent: client::agent(authorities.as_deref(), settings.timeout),
            engine: format!("{}/v1/{}", url.expose().trim_end_matches('/'), settings.mount),
            shown: url.to_string(),
            mount: settings.mount.clone(),
            key: settings.key.clone(),
            token_file: token_file.clone(),
            namespace: namespace.map_err(|_| "`keys.vault.namespace` is none".to_owned())?,
            timeout: settings.timeout,
        }))
    }

    /// The version of the key that wraps by now.
    pub(super) fn newest_version(&self) -> Result<u32, KeysAway> {
        let request = self.agent.get(format!("{}/keys/{}", self.engine, self.key));
        let answer = self.told(request)?.call();
        let (status, body) = self.read(answer, 1)?;
        if status != 200 {
            return Err(self.away(status, &body, "read", "keys"));
        }
        let about = About::read(&body).ok_or_else(|| self.not_understood())?;
        about.newest_version().map_err(|problem| {
            let key = format!("cannot wrap by its key {} of {}", self.key, self.mount);
            self.refused(&key, &problem)
        })
    }

    /// Wraps data keys.
    pub(super) fn encrypt(&self, keys: &[Given<DataKey>]) -> Result<Vec<Item<String>>, KeysAway> {
        let mut texts = Vec::with_capacity(keys.len());
        for key in keys {
            // Of its final length from the start: growing would leave a key behind in freed memory.
            let mut text = Zeroizing::new(String::with_capacity(44));
            BASE64_STANDARD.encode_string(key.text.expose(), &mut text);
            texts.push(text);
        }
        let elements = keys.iter().zip(&texts).map(|(key, text)| Plain {
            plaintext: text,
            associated_data: BASE64_STANDARD.encode(&key.associated_data),
        });
        let body = self.ask("encrypt", elements.collect())?;
        let batch = Batch::read(&body, keys.len()).and_then(Batch::ciphertexts);
        batch.ok_or_else(|| self.not_understood())
    }

    /// Unwraps data keys, which have these numbers.
    pub(super) fn decrypt(
        &self,
        keys: &[Given<String>],
        numbers: &[u32],
    ) -> Result<Vec<Item<DataKey>>, KeysAway> {
        let elements = keys.iter().map(|key| Cipher {
            ciphertext: &key.text,
            associated_data: BASE64_STANDARD.encode(&key.associated_data),
        });
        let body = self.ask("decrypt", elements.collect())?;
        let batch = Batch::read(&body, keys.len()).and_then(|batch| batch.keys(numbers));
        batch.ok_or_else(|| self.not_understood())
    }

    /// Asks about many at once; gives an answer that has outcomes.
    fn ask<E: Serialize>(
        &self,
        what: &str,
        batch_input: Vec<E>,
    ) -> Result<Zeroizing<Vec<u8>>, KeysAway> {
        let count = batch_input.len();
        let mut question = Zeroizing::new(Vec::with_capacity((count + 1) * ELEMENT_BYTES));
        serde_json::to_writer(&mut *question, &Question { batch_input })
            .map_err(|error| KeysAway(format!("a question to Vault cannot be written: {error}")))?;
        let request = self.agent.post(format!("{}/{what}/{}", self.engine, self.key));
        let request = self.told(request)?.header("content-type", "application/json");
        let (status, body) = self.read(request.send(&question[..]), count)?;
        // Status 400 has outcomes too, when Vault says something against one of them.
        match status {
            200 => Ok(body),
            400 if Batch::read(&body, count).is_some() => Ok(body),
            _ => Err(self.away(status, &body, "update", what)),
        }
    }

    /// A request that says who we are.
    fn told<B>(
        &self,
        request: ureq::RequestBuilder<B>,
    ) -> Result<ureq::RequestBuilder<B>, KeysAway> {
        let request =
            request.header("x-vault-token", self.token()?).header("x-vault-request", "true");
        Ok(match &self.namespace {
            Some(namespace) => request.header("x-vault-namespace", namespace),
            None => request,
        })
    }

    /// Our token, as it is by now: whoever renews it puts another one in its place.
    fn token(&self) -> Result<HeaderValue, KeysAway> {
        let told = |problem: String| {
            KeysAway(format!(
                "`keys.vault.token_file` names {}, {problem}",
                self.token_file.display()
            ))
        };
        let read = || -> io::Result<Zeroizing<Vec<u8>>> {
            let mut token = Zeroizing::new(Vec::with_capacity(TOKEN_BYTES_MAX));
            File::open(&self.token_file)?.take(TOKEN_BYTES_MAX as u64).read_to_end(&mut token)?;
            Ok(token)
        };
        let token = read().map_err(|error| {
            told(format!("which cannot be read: {error}; have a Vault Agent write our token there"))
        })?;
        let token = token.trim_ascii();
        let mut header = HeaderValue::from_bytes(token).ok().filter(|_| !token.is_empty());
        if let Some(header) = &mut header {
            header.set_sensitive(true);
        }
        header.ok_or_else(|| told("which has no token; wanted is one, and nothing else".to_owned()))
    }

    /// Status and body of an answer to a question with so many elements.
    fn read(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
        count: usize,
    ) -> Result<(u16, Zeroizing<Vec<u8>>), KeysAway> {
        let unanswered = |problem: String| {
            KeysAway(format!(
                "Vault at {} (`keys.vault.url`) is away: {problem}; look at its address, and at `keys.vault.ca_file` \
                 when it is its certificate",
                self.shown
            ))
        };
        let mut answer =
            answer.map_err(|error| unanswered(client::unanswered(error, self.timeout)))?;
        let status = answer.status().as_u16();
        let bytes_max = ANSWER_BYTES.0 + count * ANSWER_BYTES.1;
        // Room for all of it, as in `encrypt`.
        let mut body = Zeroizing::new(Vec::with_capacity(bytes_max + 64));
        let mut reader = answer.body_mut().as_reader().take(bytes_max as u64 + 1);
        reader.read_to_end(&mut body).map_err(|error| unanswered(said(&error.to_string())))?;
        match body.len() <= bytes_max {
            true => Ok((status, body)),
            false => Err(self.not_understood()),
        }
    }

    /// What a status says, and what helps.
    fn away(&self, status: u16, body: &[u8], capability: &str, what: &str) -> KeysAway {
        let path = format!("{}/{what}/{}", self.mount, self.key);
        let words = self.words(&errors(body));
        let problem = match status {
            403 => format!(
                "refuses our token (403): renew what `keys.vault.token_file` holds, and grant `{capability}` on {path}"
            ),
            404 => format!(
                "has no {path} (404): look at `keys.vault.mount`, `keys.vault.key` and `keys.vault.namespace`, or make \
                 the key with `vault write -f {}/keys/{}`",
                self.mount, self.key
            ),
            429 => "has too much to do (429)".to_owned(),
            503 => "is sealed or in maintenance (503): unseal it".to_owned(),
            300..400 => format!(
                "sends us elsewhere ({status}), where our token does not go: let `keys.vault.url` name the active node"
            ),
            _ => format!("answers {status} on {path}: look at its log"),
        };
        let words = if words.is_empty() { words } else { format!("; it says: {words}") };
        KeysAway(format!("Vault at {} (`keys.vault.url`) {problem}{words}", self.shown))
    }

    /// What Vault says against us.
    pub(super) fn refused(&self, what: &str, problem: &str) -> KeysAway {
        let problem = self.words(problem);
        KeysAway(format!("Vault at {} (`keys.vault.url`) {what}: {problem}", self.shown))
    }

    pub(super) fn not_understood(&self) -> KeysAway {
        KeysAway(format!(
            "what answers at {} (`keys.vault.url`) does not speak as Vault's transit engine does; look at the address, \
             and at proxies between",
            self.shown
        ))
    }

    /// Words from outside, on one line and not for long, unless somebody there repeats our token.
    fn words(&self, words: &str) -> String {
        let token = self.token().ok();
        let token = token.as_ref().and_then(|token| token.to_str().ok());
        match token.is_some_and(|token| words.contains(token)) {
            true => String::new(),
            false => said(words),
        }
    }
}
