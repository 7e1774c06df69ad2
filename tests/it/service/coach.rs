//! The coach against a stand-in for a language model: what leaves, what does not, and what comes of it. No mode change
//! ever waits for it.

mod answers;
mod budget;
mod lives;
mod shown;

use serde_json::Value;

use super::check;
use super::feed::{MORNING, stream};
use super::site::{Site, Stamps};
use crate::servers::{Model, Outgoing};

/// The key of the account; it must be in no log.
const KEY: &str = "sk-canary-4711";

/// An installation whose coach asks `model`, about mode changes of any age.
fn coached(model: &Model) -> Option<Site<'static>> {
    let mut site = Site::shared(Stamps::Producer)?;
    site.set("BRIDGE__COACH__ENABLED", "true");
    site.set("OPENAI_API_KEY", KEY);
    site.set("OPENAI_BASE_URL", &model.url());
    site.set("BRIDGE__COACH__NEWER_THAN", "0s");
    site.set("BRIDGE__COACH__CALLS_PER_MINUTE", "10000");
    site.set("BRIDGE__COACH__CALLS_PER_USER_DAY", "10000");
    site.set("LOG_LEVEL", "trace");
    Some(site)
}

/// A person as nobody else is called.
fn person(number: usize) -> String {
    format!("kunigunde-{number}-canary")
}

/// Of each of these people an event of strain, as their `number`th: the first changes their mode.
fn strain(site: &Site<'_>, people: &[String], number: i64) {
    let seconds = MORNING + number * 60;
    let value = |user: &String| {
        format!(
            "{{\"user_id\":\"{user}\",\"device_id\":\"ring-canary\",\"event_type\":\"vitals\",\
             \"session_id\":\"session-canary\",\"timestamp\":{seconds},\
             \"metrics\":{{\"stress_level\":0.95}}}}"
        )
    };
    let values: Vec<String> = people.iter().map(value).collect();
    let messages: Vec<Outgoing<'_>> = people
        .iter()
        .zip(&values)
        .map(|(user, value)| Outgoing {
            key: Some(user.as_bytes()),
            value: Some(value.as_bytes()),
            timestamp: Some((seconds + 1) * 1_000),
            ..Outgoing::default()
        })
        .collect();
    site.kafka.produce(&site.topics.events, &messages);
}

/// Waits until each mode change has its message.
fn wait_told(site: &Site<'_>) {
    site.wait_sql(
        "SELECT NOT EXISTS (SELECT 1 FROM mode_transitions t LEFT JOIN coach_messages m
             ON m.user_number = t.user_number AND m.n = t.n WHERE m.body IS NULL)",
    );
}

/// Messages as they are exported.
fn messages(site: &Site<'_>) -> Vec<Value> {
    let text = site.run(&["export", "coach-messages"]);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// How many rows of the log of accesses have that type.
fn accesses(site: &Site<'_>, kind: &str) -> i64 {
    site.number(&format!("SELECT count(*) FROM phi_access_log WHERE access_type = '{kind}'"))
}

#[test]
fn without_being_switched_on_nothing_is_sent_and_a_key_alone_is_told_of_once() {
    let model = Model::start();
    let Some(mut site) = coached(&model) else { return };
    site.set("BRIDGE__COACH__ENABLED", "false");
    let bridge = site.start();
    strain(&site, &[person(1), person(2)], 0);
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM mode_transitions"), 2);
    bridge.end();
    assert_eq!(model.connections(), 0);
    for table in ["coach_messages", "coach_cursors"] {
        assert_eq!(site.number(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
    let log = bridge.log();
    let told = log.matches("OPENAI_API_KEY is unused: `coach.enabled` is false").count();
    assert_eq!(told, 1, "{log}");
}

#[test]
fn each_mode_change_has_one_message_and_nothing_that_leaves_says_whose_it_is() {
    let model = Model::start();
    let Some(site) = coached(&model) else { return };
    // Whatever is asked is written down before: rows that are committed by then.
    let looker = site.twin();
    model.look(move |asked| {
        let written = accesses(&looker, "DISCLOSE");
        assert!(written >= i64::try_from(asked).expect("few"), "{written} rows, {asked} calls");
    });
    let bridges = [site.start(), site.start()];
    bridges.iter().for_each(crate::servers::Bridge::wait_some_lanes);
    let people: Vec<String> = (0..6).map(person).collect();
    let events: Vec<_> = (0..60)
        .flat_map(|number| {
            people.iter().map(move |user| super::feed::Event::swinging(user, number))
        })
        .collect();
    stream(site.kafka, &site.topics.events, &events, 60);
    check::all(&site);
    wait_told(&site);
    let changes = site.number("SELECT count(*) FROM mode_transitions");
    assert!(changes >= 6, "{changes}");
    let asked = model.asked();
    assert_eq!(i64::try_from(asked.len()).expect("few"), changes, "each was asked for once");
    for it in &asked {
        assert_eq!(it.path, "/v1/chat/completions");
        assert!(it.head.contains(&format!("authorization: Bearer {KEY}")), "{}", it.head);
        assert_eq!(it.body["model"], "gpt-4o-mini");
        let names: Vec<&String> = it.body.as_object().expect("an object").keys().collect();
        assert_eq!(names, ["max_tokens", "messages", "model", "temperature"]);
        assert!(!it.head.contains("kunigunde"), "{}", it.head);
        let body = it.body.to_string();
        for alien in ["kunigunde", "\"d\"", "vitals", "2025", "17409"] {
            assert!(!body.contains(alien), "{alien} in {body}");
        }
        assert!(it.prompt().starts_with("Mode before: "), "{}", it.prompt());
    }
    let said = messages(&site);
    assert_eq!(i64::try_from(said.len()).expect("few"), changes);
    assert!(said.iter().all(|it| it["source"] == "model" && it["fallback_reason"].is_null()));
    assert_eq!(accesses(&site, "DISCLOSE"), changes);
    let ended = "SELECT count(*) FROM phi_access_log WHERE access_type = 'DISCLOSURE ENDED'
         AND record_id LIKE 'n = %, to 127.0.0.1: answered' AND user_id LIKE 'kunigunde-%'
         AND accessor_id LIKE 'biometric-bridge/%'";
    assert_eq!(site.number(ended), changes);
    site.run(&["audit", "verify"]);
    bridges.iter().for_each(crate::servers::Bridge::end);
    for bridge in &bridges {
        let log = bridge.log();
        for secret in [KEY, "kunigunde", "What is usual for this person", "works hard"] {
            assert!(!log.contains(secret), "{secret} is in the log");
        }
    }
}
