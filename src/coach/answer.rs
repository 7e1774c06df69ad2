//! What a language model has written, read and judged: one short plain text, or a reason why it will not do. It is no
//! more believed than it must be.

use actors::phi::Phi;
use serde::Deserialize;

use super::Why;
use crate::telemetry::is_hostile;

/// Characters of a message, at most.
const CHARACTERS_MAX: usize = 400;

/// What a message has beside letters, digits and spaces: no markup, no code, no address.
const MARKS: &str = " .,;:!?'\"()%/&+-\u{2013}\u{2014}\u{2018}\u{2019}\u{201c}\u{201d}\u{2026}";

/// Beginnings of words that no message has: where advice on health begins.
const MEDICAL: [&str; 18] = [
    "antibiotic",
    "arrhythm",
    "cardiac",
    "diagnos",
    "disease",
    "disorder",
    "doctor",
    "dosage",
    "dose",
    "emergency",
    "hospital",
    "illness",
    "medic",
    "physician",
    "pill",
    "prescri",
    "symptom",
    "therap",
];

/// The answer of `chat/completions`, as far as we look at it.
#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Written,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Written {
    content: Option<String>,
    refusal: Option<String>,
}

/// The message in an answer to `prompt`.
pub(super) fn message_in(body: &[u8], prompt: &str) -> Result<Phi<String>, Why> {
    let completion = serde_json::from_slice::<Completion>(body).map_err(|_| Why::NotUnderstood)?;
    let Some(Choice { message, finish_reason }) = completion.choices.into_iter().next() else {
        return Err(Why::NotUnderstood);
    };
    let is_refused = message.refusal.is_some_and(|refusal| !refusal.is_empty());
    if is_refused || finish_reason.as_deref() == Some("content_filter") {
        return Err(Why::Refused);
    }
    if finish_reason.as_deref() == Some("length") {
        return Err(Why::TooLong);
    }
    judged(&Phi::new(message.content.unwrap_or_default()), prompt)
}

/// A text on one line, if a person may be told it.
fn judged(text: &Phi<String>, prompt: &str) -> Result<Phi<String>, Why> {
    let kept = text.expose().chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    let kept = Phi::new(kept.filter(|c| !is_hostile(*c)).collect::<String>());
    let line = Phi::new(kept.expose().split_whitespace().collect::<Vec<_>>().join(" "));
    let said = line.expose();
    if said.is_empty() {
        return Err(Why::Empty);
    }
    if said.chars().count() > CHARACTERS_MAX {
        return Err(Why::TooLong);
    }
    let is_plain = said.chars().all(|c| c.is_alphanumeric() || MARKS.contains(c));
    // A full stop within a word, or a colon before slashes, is of an address.
    let is_address = said.contains("//")
        || said.split('.').skip(1).any(|rest| rest.starts_with(char::is_alphanumeric));
    let lower = Phi::new(said.to_lowercase());
    let is_medical =
        words(lower.expose()).any(|word| MEDICAL.iter().any(|its| word.starts_with(its)));
    let invents = numbers(said).any(|number| !numbers(prompt).any(|given| given == number));
    let has_words = said.chars().any(char::is_alphabetic);
    if !is_plain || is_address || is_medical || invents || !has_words {
        return Err(Why::Unfit);
    }
    Ok(line)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
}

/// The numbers in a text, as they are written.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_numeric()).filter(|number| !number.is_empty())
}
