//! What can be looked back at once old records have gone: what comes behind the oldest state that is kept, and no
//! record that lies between that and what has gone.

use serde_json::{Value, json};

use super::issuer::{SigningKey, set_of};
use super::office::ask;
use super::people::trust_at;
use crate::service::feed::{Event, stream};
use crate::service::site::{Site, Stamps};

#[test]
fn a_look_back_to_records_that_have_gone_begins_behind_the_state_that_is_kept() {
    let key = SigningKey::elliptic("e");
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    trust_at(&mut site, &set_of(&[&key]));
    site.set("BRIDGE__HTTP__DEBUG", "true");
    site.set("BRIDGE__CHECKPOINT__EVERY_RECORDS", "1");
    let bridge = site.start();
    let send = |numbers: std::ops::Range<usize>| {
        let events: Vec<Event> = numbers.map(|number| Event::swinging("ada", number)).collect();
        stream(site.kafka, &site.topics.events, &events, 10);
        site.wait_caught_up();
    };
    send(0..40);
    let mode = ask(&bridge, "/api/v1/users/ada/state", &key.token("ada", "self")).json();
    // As retention does it: a base is made of a checkpoint, and then records up to it go; here all but five of them.
    site.sql(
        "INSERT INTO base_checkpoints (user_number, record_number, message_number, engine, body, created_at)
         SELECT user_number, record_number, message_number, 1, checkpoint, checkpointed_at FROM users",
    );
    assert_eq!(site.sql("SELECT record_number FROM base_checkpoints"), "40");
    send(40..100);
    site.sql("DELETE FROM event_records WHERE number <= 35");
    let token = key.token("ops", "operator");
    let path = "/api/v1/users/ada/timeline?from=2025-03-03T08:00:00Z&to=2025-03-04T08:00:00Z";
    let timeline = ask(&bridge, path, &token).json();
    for line in timeline["readings"].as_array().expect("lines") {
        assert_eq!(line["count"], 60, "{}", line["name"]);
    }
    let modes = timeline["modes"].as_array().expect("modes");
    assert_eq!((&modes[0]["mode"], &modes[0]["reason"]), (&mode["mode"], &Value::Null));
    assert!(modes.len() > 1, "{timeline}");
    let events = ask(&bridge, "/debug/users/ada/events?after=0&limit=10", &token).json();
    let events = events["events"].as_array().expect("a list");
    let numbers = events.iter().filter_map(|event| event["record"]["number"].as_i64());
    assert_eq!(numbers.collect::<Vec<_>>(), (41..=50).collect::<Vec<_>>());
    let now = ask(&bridge, "/debug/users/ada", &token).json();
    assert_eq!(
        (&now["record_number"], now["outcomes"].as_array().map(Vec::len)),
        (&json!(100), Some(10))
    );
    bridge.end();
}
