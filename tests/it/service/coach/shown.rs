//! Where messages of the coach are shown.

use serde_json::{Value, json};

use super::{accesses, coached, messages, person, strain, wait_told};
use crate::servers::{Answer, Model};
use crate::service::check;
use crate::service::feed::{Event, stream};
use crate::service::http::issuer::{SigningKey, set_of};
use crate::service::http::office::{ask, ask_with};
use crate::service::http::people::trust_at;

#[test]
fn messages_are_shown_page_by_page_to_whoever_may_see_the_user() {
    let (model, key) = (Model::start(), SigningKey::elliptic("e"));
    let Some(mut site) = coached(&model) else { return };
    trust_at(&mut site, &set_of(&[&key]));
    let bridge = site.start();
    let (user, other) = (person(0), person(1));
    let events: Vec<Event> = (0..180).map(|number| Event::swinging(&user, number)).collect();
    stream(site.kafka, &site.topics.events, &events, 180);
    strain(&site, std::slice::from_ref(&other), 0);
    check::all(&site);
    wait_told(&site);
    let stored = site.run(&["export", "coach-messages", "--user", &user]);
    let stored: Vec<Value> =
        stored.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(stored.len() >= 3, "{}", stored.len());
    assert_eq!(messages(&site).len(), stored.len() + 1);
    let path = format!("/api/v1/users/{user}/coach-messages");
    let token = key.token(&user, "self");
    let whole = ask(&bridge, &path, &token);
    assert_eq!(whole.json(), json!({ "messages": stored, "next": null }));
    let (mut paged, mut after) = (Vec::new(), json!(0));
    while !after.is_null() {
        let page = ask(&bridge, &format!("{path}?limit=2&after={after}"), &token).json();
        paged.extend(page["messages"].as_array().expect("a list").clone());
        after = page["next"].clone();
    }
    assert_eq!(paged, stored);
    let with = |tag: &str| {
        let lines = [format!("Authorization: Bearer {token}"), format!("If-None-Match: {tag}")];
        ask_with(&bridge, &path, &lines).status
    };
    let tag = whole.headers["etag"].clone();
    assert_eq!((with(&tag), with("\"0.100.0.0\"")), (304, 200));
    assert_eq!(ask(&bridge, &path, &key.token(&other, "self")).status, 404);
    let read = "SELECT count(*) FROM phi_access_log WHERE access_type = 'READ'
         AND table_name = 'coach_messages'";
    assert!(site.number(read) >= 4, "each look is written down");
    // Another message is another tag.
    let more: Vec<Event> = (180..240).map(|number| Event::swinging(&user, number)).collect();
    stream(site.kafka, &site.topics.events, &more, 60);
    check::all(&site);
    wait_told(&site);
    assert_eq!(with(&tag), 200);
    let explained = site.run(&["explain", &user]);
    assert!(explained.contains("(model): Your body works hard"), "{explained}");
    let explained: Value =
        serde_json::from_str(&site.run(&["explain", &user, "--json"])).expect("JSON");
    assert_eq!(explained["coach"]["source"], "model");
    let log = bridge.http("/api/v1/health").expect("an answer").1;
    assert!(log.contains("\"coach\":{\"ok\":true}"), "{log}");
    bridge.end();
    assert!(accesses(&site, "DISCLOSE") > 3);
}

#[test]
fn messages_are_kept_in_a_store_without_a_server_too() {
    let model = Model::start();
    let Some(mut site) = coached(&model) else { return };
    let file = site.key_file.with_extension("coach.db");
    site.set("POSTGRES_URL", &format!("sqlite:{}?mode=rwc", file.display()));
    site.set("BRIDGE__COACH__CALLS_PER_USER_DAY", "1");
    site.run(&["migrate", "up"]);
    model.answer(Answer::Text("Take it gently.".to_owned()));
    let bridge = site.start();
    let user = person(0);
    let events: Vec<Event> = (0..60).map(|number| Event::swinging(&user, number)).collect();
    stream(site.kafka, &site.topics.events, &events, 60);
    bridge.wait_metric("biometric_events_processed_total", |count| count >= 60.0);
    let changes = bridge.metric("cognitive_mode_transitions");
    assert!(changes >= 2.0, "{changes}");
    bridge.wait_metric("biometric_coach_messages_total", |told| told == changes);
    bridge.end();
    let said = messages(&site);
    // Of several changes at once anyone may have the one call.
    let (asked, others): (Vec<&Value>, _) =
        said.iter().partition(|said| said["fallback_reason"].is_null());
    assert_eq!(asked.len(), 1, "{said:?}");
    assert_eq!(asked[0]["text"], "Take it gently.");
    assert!(others.iter().all(|said| said["fallback_reason"] == "user_day_spent"), "{said:?}");
}
