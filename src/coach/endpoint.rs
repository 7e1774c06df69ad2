//! Asking a language model over HTTP, by the API that is like OpenAI's. Neither our key nor what is asked or answered is
//! ever in an error or a log line.

use std::io::Read as _;
use std::time::Duration;

use actors::phi::Phi;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use ureq::http::HeaderValue;
use zeroize::Zeroizing;

use super::Why;
use super::answer::message_in;
use super::brief::INSTRUCTIONS;
use crate::http::client;
use crate::settings::Coach;

/// Tokens of an answer, at most: a message has 400 characters.
const TOKENS_MAX: u32 = 160;
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The pause before a second attempt, when nobody says how long.
const PAUSE: Duration = Duration::from_millis(500);

/// Where language models are asked.
pub(super) struct Endpoint {
    agent: ureq::Agent,
    url: String,
    key: HeaderValue,
    model: String,
}

/// Why there is no message.
pub(super) struct Failed {
    pub(super) why: Why,
    /// For whoever looks after the service.
    pub(super) problem: String,
    /// After that time it may work.
    pub(super) again: Option<Duration>,
}

impl Failed {
    /// The process is going down.
    pub(super) fn ended() -> Self {
        Self::now(Why::Unreachable, "the service ends")
    }

    fn now(why: Why, problem: impl Into<String>) -> Self {
        Self { why, problem: problem.into(), again: None }
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: [Message<'a>; 2],
    max_tokens: u32,
    temperature: f32,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

impl Endpoint {
    /// The one that the settings name.
    ///
    /// # Errors
    ///
    /// One sentence that says which setting cannot be used.
    pub(super) fn of(settings: &Coach, key: &SecretString) -> Result<Self, String> {
        let bearer = Zeroizing::new(format!("Bearer {}", key.expose_secret()));
        let key = HeaderValue::from_str(&bearer);
        let mut key = key.map_err(|_| "`coach.openai_api_key` is no key".to_owned())?;
        key.set_sensitive(true);
        Ok(Self {
            agent: client::agent(None, settings.timeout),
            url: format!("{}/chat/completions", settings.base().trim_end_matches('/')),
            key,
            model: settings.model.clone(),
        })
    }

    /// Asks once; waits for the answer no longer than that.
    pub(super) fn ask(
        &self,
        prompt: &Phi<String>,
        timeout: Duration,
    ) -> Result<Phi<String>, Failed> {
        let (system, user) = (INSTRUCTIONS, prompt.expose().as_str());
        let messages = [("system", system), ("user", user)];
        let question = Question {
            model: &self.model,
            messages: messages.map(|(role, content)| Message { role, content }),
            max_tokens: TOKENS_MAX,
            temperature: 0.3,
        };
        // Of its final length from the start: growing would leave it behind in freed memory.
        let mut body = Zeroizing::new(Vec::with_capacity(2 * (system.len() + user.len()) + 1024));
        let written = serde_json::to_writer(&mut *body, &question);
        written.map_err(|_| Failed::now(Why::NotUnderstood, "a question cannot be written"))?;
        let request = self.agent.post(&self.url).config().timeout_global(Some(timeout)).build();
        let request = request.header("authorization", &self.key);
        let answer = request.header("content-type", "application/json").send(&body[..]);
        let unanswered = |error: ureq::Error| {
            let is_late = matches!(error, ureq::Error::Timeout(_));
            let why = if is_late { Why::Timeout } else { Why::Unreachable };
            Failed::now(why, client::unanswered(error, timeout))
        };
        let mut answer = answer.map_err(unanswered)?;
        let status = answer.status().as_u16();
        if status != 200 {
            let said = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let pause = said.and_then(|said| said.trim().parse().ok()).map(Duration::from_secs);
            let may_work = matches!(status, 429 | 500..=599);
            return Err(Failed {
                why: Why::Status,
                problem: format!("it answers {status}"),
                again: may_work.then(|| pause.unwrap_or(PAUSE)),
            });
        }
        let mut body = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX + 64));
        let reader = answer.body_mut().as_reader();
        let read = reader.take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut body);
        read.map_err(|error| unanswered(error.into()))?;
        if body.len() > ANSWER_BYTES_MAX {
            return Err(Failed::now(Why::NotUnderstood, "its answer is too large"));
        }
        message_in(&body, user).map_err(|why| Failed::now(why, why.problem()))
    }
}
