//! What is told of mode changes of every kind, and what no answer may hold.

use std::collections::BTreeMap;

use actors::phi::Phi;
use neuros::wire::Intake;
use neuros::{Explain, Kind, Policy};
use serde_json::{Value, json};

use super::Why;
use super::answer::message_in;
use super::brief::{Brief, INSTRUCTIONS};
use crate::replay::{Applied, Line, Replay};

const LOGS: [&str; 2] = [
    include_str!("../../tests/data/golden/edges.ndjson"),
    include_str!("../../tests/data/golden/people.ndjson"),
];

/// Mode changes as they are stored, the first of each kind.
fn kinds() -> BTreeMap<(&'static str, &'static str, &'static str), Value> {
    let (policy, mut kinds) = (Policy::default(), BTreeMap::new());
    for log in LOGS {
        let intake = Intake { future_max: policy.clock.max_future, ..Intake::default() };
        let mut replay = Replay::new(&policy, intake, Explain::Switches, None);
        for line in log.lines() {
            let line = Line::parse(line.as_bytes()).expect("a line of a log");
            replay.apply(&line, |applied| {
                let Applied::Record { user_id, outcomes } = applied else { return };
                for outcome in outcomes.iter().filter(|outcome| outcome.kind == Kind::Switched) {
                    let reason = outcome.reason.map_or("", neuros::Reason::as_str);
                    let kind = (outcome.previous_mode.as_str(), outcome.mode.as_str(), reason);
                    let explanation = outcome.explanation.as_ref().expect("why");
                    kinds.entry(kind).or_insert_with(|| {
                        json!({
                            "message_id": "e008323a-b960-50ac-9291-583f77b5308a", "n": 17, "seq": 4,
                            "type": "mode_switch", "user_id": user_id, "session_id": "session",
                            "previous_mode": outcome.previous_mode, "mode": outcome.mode,
                            "reason": reason, "reason_text": explanation.headline(),
                            "confidence": outcome.confidence, "time": outcome.time,
                            "explanation": explanation,
                        })
                    });
                }
            });
        }
    }
    kinds
}

fn brief(stored: &Value) -> Option<Brief> {
    Brief::of(&Phi::new(stored.to_string().into_bytes()))
}

/// To be read by a person: what leaves of a mode change of each kind, and the sentence that stays.
#[test]
fn what_is_told_of_each_kind_of_mode_change_is_as_it_was_reviewed() {
    let mut got = format!("{INSTRUCTIONS}\n");
    for ((before, after, reason), stored) in kinds() {
        let Brief { prompt, sentence, .. } = brief(&stored).expect("a mode change");
        let (prompt, sentence) = (prompt.expose(), sentence.expose());
        got.push_str(&format!("\n== {before} -> {after}: {reason}\n{prompt}\n>> {sentence}\n"));
    }
    let golden = include_str!("../../tests/data/coach/briefs.golden");
    for (number, (got, wanted)) in got.lines().zip(golden.lines()).enumerate() {
        assert_eq!(got, wanted, "line {}", number + 1);
    }
    assert_eq!(got.lines().count(), golden.lines().count());
}

/// Puts `with` in the place of one leaf after the other that `is` one, and gives what that makes.
fn replaced(value: &Value, is: fn(&Value) -> bool, with: &Value) -> Vec<Value> {
    let children: Vec<(String, Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, it)| (name.clone(), it.clone())).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(place, it)| (place.to_string(), it.clone())).collect()
        }
        leaf => return if is(leaf) { vec![with.clone()] } else { Vec::new() },
    };
    let mut all = Vec::new();
    for (name, child) in children {
        for changed in replaced(&child, is, with) {
            let mut whole = value.clone();
            match &mut whole {
                Value::Array(items) => items[name.parse::<usize>().expect("a place")] = changed,
                whole => whole[&name] = changed,
            }
            all.push(whole);
        }
    }
    all
}

#[test]
fn no_text_and_no_measured_value_of_a_mode_change_leaves() {
    let mut tried = 0;
    for stored in kinds().values() {
        let (text, number) = (json!("canary"), json!(987_654.25));
        let texts = replaced(stored, Value::is_string, &text);
        let numbers = replaced(stored, Value::is_number, &number);
        for changed in texts.iter().chain(&numbers) {
            tried += 1;
            let Some(Brief { prompt, .. }) = brief(changed) else { continue };
            assert!(!prompt.expose().contains("canary"), "{}", prompt.expose());
            assert!(!prompt.expose().contains("98765"), "{}", prompt.expose());
            assert!(prompt.expose().len() < 1_500);
        }
    }
    assert!(tried > 5_000, "{tried}");
    assert!(brief(&json!({})).is_none());
}

#[test]
fn every_rule_speaks_for_some_mode_change_that_was_reviewed() {
    let kinds = kinds();
    let told: String =
        kinds.values().filter_map(brief).map(|brief| brief.prompt.expose().clone()).collect();
    for sign in [
        "HRV is well below",
        "heart rate has been high",
        "stress is very high",
        "recovery is low",
        "HRV of the night was",
        "several signs of depletion",
        "both high",
        "both low",
        "nothing out of the ordinary",
        "nothing has confirmed",
        "not known well yet",
    ] {
        assert!(told.contains(sign), "{sign}");
    }
}

#[test]
fn an_answer_is_one_plain_text_without_numbers_of_its_own() {
    let prompt = "- stress: 12 % above the threshold";
    let said = |content: Value| {
        let body =
            json!({ "choices": [{ "finish_reason": "stop", "message": { "content": content } }] });
        message_in(body.to_string().as_bytes(), prompt).map(Phi::into_inner)
    };
    let fine = "Your stress is 12 % above its mark; breathe, and take it gently.";
    assert_eq!(said(json!(fine)), Ok(fine.to_owned()));
    assert_eq!(said(json!(" Ä\u{a0}b\r\nc ")), Ok("Ä b c".to_owned()));
    assert_eq!(said(json!("x".repeat(400))), Ok("x".repeat(400)));
    for (content, why) in [
        (json!("x".repeat(401)), Why::TooLong),
        (json!(null), Why::Empty),
        (json!("\u{1b}\u{202e}"), Why::Empty),
        (json!("take it\u{200f} gently"), Why::Unfit),
        (json!("Look at evil.example"), Why::Unfit),
        (json!("Your stress is 13 % above its mark."), Why::Unfit),
        (json!("Your stress is 1 2 % above its mark."), Why::Unfit),
        (json!("Take ٣ tablets."), Why::Unfit),
        (json!("Look at www.example.org"), Why::Unfit),
        (json!("Write to me@example.org"), Why::Unfit),
        (json!("```rm```"), Why::Unfit),
        (json!("Take your MEDICATION."), Why::Unfit),
        (json!("!?"), Why::Unfit),
    ] {
        assert_eq!(said(content.clone()), Err(why), "{content}");
    }
    for body in ["", "{}", "[]", "{\"choices\":[]}", "data: {}\n\n", "{\"choices\":[{}]}"] {
        assert_eq!(
            message_in(body.as_bytes(), prompt).map(Phi::into_inner),
            Err(Why::NotUnderstood)
        );
    }
}
