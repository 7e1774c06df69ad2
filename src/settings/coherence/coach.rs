//! Where the coach's settings lead, what of them does not fit together, and what an operator should be told of them.

use super::{Channel, Found, Notice};
use crate::settings::SecretUrl;
use crate::settings::table::{Coach, Settings};

/// OpenAI's own API.
const OPENAI: (&str, &str) = ("https://api.openai.com/v1", "api.openai.com");

impl Coach {
    /// Where the API is.
    pub fn base(&self) -> &str {
        self.base_url.as_ref().map_or(OPENAI.0, SecretUrl::expose)
    }

    /// The machine that it is on.
    pub fn host(&self) -> &str {
        self.base_url.as_ref().map_or(OPENAI.1, |url| url.host().unwrap_or_default())
    }
}

pub(super) fn contradictions(settings: &Settings, found: &mut Found) {
    let coach = &settings.coach;
    found.must(
        !coach.enabled || coach.openai_api_key.is_some(),
        &["coach.enabled", "coach.openai_api_key"],
        "is true without `coach.openai_api_key`; set OPENAI_API_KEY, or leave it false",
    );
    let strange = coach.base_url.as_ref().map(|url| url.strange_parameters(&[]));
    found.must(
        strange.is_none_or(|strange| strange.is_empty()),
        &["coach.base_url"],
        "has parameters; wanted is where the API is, such as https://llm.example/v1",
    );
}

/// Whether what explains mode changes goes to another machine in the clear, and the cure.
pub(super) fn open_channel(
    settings: &Settings,
) -> (bool, Channel, &'static [&'static str], &'static str) {
    let is_clear = |url: &SecretUrl| url.scheme() == "http" && !url.is_loopback();
    let coach = &settings.coach;
    (
        coach.enabled && coach.base_url.as_ref().is_some_and(is_clear),
        Channel::Coach,
        &["coach.base_url", "security.allow_plaintext"],
        "write https://",
    )
}

pub(super) fn notice(settings: &Settings) -> Option<Notice> {
    let coach = &settings.coach;
    let (key, text) = match (coach.enabled, &coach.openai_api_key) {
        (false, None) => return None,
        (false, Some(_)) => (
            "coach.openai_api_key",
            "OPENAI_API_KEY is unused: `coach.enabled` is false".to_owned(),
        ),
        (true, _) => (
            "coach.enabled",
            format!("what explains mode changes goes to {}, a third party", coach.host()),
        ),
    };
    Some(Notice { key, text })
}
