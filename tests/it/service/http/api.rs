//! What the API lets people see and do besides: alerts and what is done about them, timelines, the policy, and how
//! the parts are.

use serde_json::{Value, json};

use super::issuer::{SigningKey, set_of};
use super::office::{Answer, Office, ask, ask_saying, ask_with};
use super::people::trust_at;
use super::said::{lines, strain};
use crate::servers::Bridge;
use crate::service::feed::{Event, MORNING, stream};
use crate::service::site::{Site, Stamps};

/// Sends a reading of now that says strain, and waits until somebody should be told.
fn strain_and_wait(site: &Site<'_>, user: &str) {
    strain(site, user);
    site.wait_sql(&format!(
        "SELECT count(*) > 0 FROM alert_changes JOIN users USING (user_number)
         WHERE user_id = '{user}'"
    ));
}

fn post(bridge: &Bridge, path: &str, token: &str, body: &str) -> Answer {
    ask_saying(bridge, "POST", path, &[format!("Authorization: Bearer {token}")], body)
}

#[test]
fn alerts_are_shown_and_what_people_do_about_them_is_done_by_the_owner_of_the_lane() {
    let Some(mut site) = Site::shared(Stamps::Broker) else { return };
    let key = SigningKey::elliptic("e");
    trust_at(&mut site, &set_of(&[&key]));
    let bridge = site.start();
    strain_and_wait(&site, "ada");
    let (own, nurse) = (key.token("ada", "self"), key.token("nurse", "care:ada"));
    let alerts = |query: &str| {
        ask(&bridge, &format!("/api/v1/users/ada/alerts{query}"), &own).json()["alerts"].clone()
    };
    let open = alerts("?open=true");
    assert_eq!(open, json!(lines(&site.run(&["export", "alerts", "--user", "ada"]))));
    let id = open[0]["id"].as_str().expect("an id").to_owned();
    let path = |what: &str| format!("/api/v1/users/ada/alerts/{id}/{what}");

    let done = post(&bridge, &path("ack"), &nurse, "");
    assert_eq!((done.status, &done.json()["outcome"]), (202, &json!("done")));
    let again = post(&bridge, &path("ack"), &nurse, "{}");
    assert_eq!((again.status, again.detail().as_str()), (409, "it is so already"));
    let snoozed = post(&bridge, &path("snooze"), &own, "{\"until\":\"2100-01-01T00:00:00Z\"}");
    assert_eq!(snoozed.status, 202, "{snoozed:?}");
    let past = post(&bridge, &path("snooze"), &own, "{\"until\":\"2020-01-01T00:00:00Z\"}");
    assert_eq!(past.status, 409, "{past:?}");
    let now = alerts("?open=true");
    assert_eq!(now.as_array().map(Vec::len), Some(1), "the newest of each: {now}");
    assert_eq!(now[0]["status"], "acknowledged");
    assert_eq!(now[0]["snoozed_until"], "2100-01-01T00:00:00.000000Z");
    assert_eq!(post(&bridge, &path("resolve"), &nurse, "").status, 202);
    assert_eq!(alerts("?open=true"), json!([]));
    let all = alerts("");
    assert_eq!(all, json!(lines(&site.run(&["export", "alerts", "--user", "ada"]))));
    assert_eq!(all[3]["status"], "resolved");
    assert_eq!(all[3]["by"], "http/subject nurse", "who did it is told");
    let first = ask(&bridge, "/api/v1/users/ada/alerts?limit=1", &own).json();
    let rest = ask(&bridge, &format!("/api/v1/users/ada/alerts?after={}", first["next"]), &own);
    assert_eq!(rest.json()["alerts"].as_array().map(Vec::len), Some(3));
    assert_eq!(rest.json()["next"], Value::Null);

    for (body, said) in [
        ("[]", "`body` must be a JSON object with the field `until`"),
        ("{", "`body` must be a JSON object with the field `until`"),
        ("", "`body` must be a JSON object with the field `until`"),
        ("{\"until\":\"canary\"}", "`until` must be a time such as"),
        ("{\"until\":\"2100-01-01T00:00:00Z\",\"canary\":1}", "`body` must be"),
    ] {
        let answer = post(&bridge, &path("snooze"), &own, body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.detail().starts_with(said), "{}", answer.detail());
        assert!(!answer.detail().contains("canary"));
    }
    let odd = post(&bridge, "/api/v1/users/ada/alerts/mode_reflex/ack", &own, "");
    assert_eq!(odd.detail(), "`id` must be the id of an alert, a UUID");
    let none = "/api/v1/users/ada/alerts/e008323a-b960-50ac-9291-583f77b5308a/ack";
    let over = post(&bridge, &path("ack"), &own, "");
    assert_eq!((over.status, post(&bridge, none, &own, "")), (409, over.clone()));
    assert!(over.detail().contains("no such open alert"), "{}", over.detail());
    assert_eq!(post(&bridge, &path("ack"), &key.token("eve", "self"), "").status, 404);
    let logged = site.sql(
        "SELECT accessor_id, access_type, user_id FROM phi_access_log
         WHERE access_type IN ('ACKNOWLEDGE', 'RESOLVE') ORDER BY id LIMIT 2",
    );
    assert_eq!(logged, ["http/subject nurse|ACKNOWLEDGE|ada"; 2].join("\n"));
    bridge.end();
    let by =
        site.sql("SELECT DISTINCT requested_by FROM lane_commands WHERE kind = 'alert' ORDER BY 1");
    assert_eq!(by, "http/subject ada\nhttp/subject nurse");
}

#[test]
fn what_nobody_carries_out_in_time_is_asked_for_all_the_same() {
    let Some(mut site) = Site::shared(Stamps::Broker) else { return };
    let key = SigningKey::elliptic("e");
    trust_at(&mut site, &set_of(&[&key]));
    let bridge = site.start();
    strain_and_wait(&site, "ada");
    let own = key.token("ada", "self");
    let open = ask(&bridge, "/api/v1/users/ada/alerts", &own).json();
    bridge.end();
    // One that is no member of the group has no lane.
    site.set("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let idle = site.start();
    idle.wait_until("at its store", |_, body| body["parts"]["keys"]["ok"] == true);
    let path = format!(
        "/api/v1/users/ada/alerts/{}/ack",
        open["alerts"][0]["id"].as_str().expect("an id")
    );
    let asked = post(&idle, &path, &own, "");
    assert_eq!((asked.status, &asked.json()["outcome"]), (202, &Value::Null));
    idle.end();
    let open = "SELECT count(*) FROM lane_commands WHERE applied_batch IS NULL";
    assert_eq!(site.number(open), 1);
}

/// An installation that has read three hours of a user: strain, calm, strain.
fn swinging(key: &SigningKey) -> Option<(Site<'static>, Bridge)> {
    let mut site = Site::shared(Stamps::Producer)?;
    trust_at(&mut site, &set_of(&[key]));
    site.set("BRIDGE__CHECKPOINT__EVERY_RECORDS", "7");
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, &events(), 100);
    site.wait_caught_up();
    Some((site, bridge))
}

fn events() -> Vec<Event> {
    (0..90).map(|number| Event::swinging("ada", number)).collect()
}

#[test]
fn a_timeline_is_what_was_sent_and_what_came_of_it() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = swinging(&key) else { return };
    let token = key.token("ada", "self");
    let at = |minute: i64| {
        jiff::Timestamp::from_second(MORNING + minute * 60).expect("a time").to_string()
    };
    let timeline = |from: i64, to: i64, more: &str| {
        let query = format!("from={}&to={}{more}", at(from), at(to));
        ask(&bridge, &format!("/api/v1/users/ada/timeline?{query}"), &token)
    };
    let shown = timeline(20, 140, "").json();
    let beats = shown["readings"].as_array().expect("lines").iter();
    let beats = beats.clone().find(|line| line["name"] == "heart_rate").expect("a line");
    let sent: Vec<f64> = events()[10..70]
        .iter()
        .map(|event| serde_json::from_str::<Value>(&event.value).expect("JSON"))
        .map(|event| event["metrics"]["heart_rate"].as_f64().expect("a number"))
        .collect();
    let points = beats["points"].as_array().expect("points");
    let values: Vec<f64> =
        points.iter().map(|point| point["value"].as_f64().expect("a number")).collect();
    assert_eq!((&values, &beats["count"]), (&sent, &json!(60)));

    let changes = lines(&site.run(&["export", "transitions", "--user", "ada"]));
    let within = |change: &&Value| {
        let at = change["explanation"]["evaluated_at"].as_str().expect("a time");
        let at: jiff::Timestamp = at.parse().expect("a time");
        (MORNING + 1_200..MORNING + 8_400).contains(&at.as_second())
    };
    let entered: Vec<&Value> =
        changes.iter().filter(within).map(|change| &change["mode"]).collect();
    let modes = shown["modes"].as_array().expect("modes");
    let told: Vec<&Value> = modes.iter().skip(1).map(|lasting| &lasting["mode"]).collect();
    assert!(entered.len() >= 2, "{entered:?}");
    assert_eq!(told, entered);
    assert!(modes.windows(2).all(|pair| pair[0]["to"] == pair[1]["from"]), "without a gap");
    assert_eq!((&modes[0]["from"], &modes[0]["reason"]), (&shown["from"], &Value::Null));
    assert_eq!(modes[modes.len() - 1]["to"], shown["to"]);

    let few = timeline(0, 200, "&points=8").json();
    let points = few["readings"][0]["points"].as_array().expect("points").len();
    assert!(points <= 8 && few["readings"][0]["count"] == 90, "{few}");
    assert!(few["baselines"][0]["count"].as_u64() > Some(5), "{few}");
    let nothing = timeline(500, 600, "").json();
    assert_eq!(nothing["readings"], json!([]));
    assert_eq!(nothing["modes"].as_array().map(Vec::len), Some(1), "the mode lasts");
    let backwards = timeline(100, 100, "");
    assert_eq!(
        (backwards.status, backwards.detail().as_str()),
        (422, "`to`: it must be later than `from`")
    );
    for (query, named) in [
        ("", "`from`"),
        ("?from=now&to=then", "`from`"),
        ("?from=2025-03-03T08:00:00Z", "`to`"),
        ("?from=2025-03-03T08:00:00Z&to=2025-03-04T08:00:00Z&points=3", "`points`"),
    ] {
        let answer = ask(&bridge, &format!("/api/v1/users/ada/timeline{query}"), &token);
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.detail().starts_with(named), "{}", answer.detail());
    }
    bridge.end();
}

#[test]
fn a_state_has_a_tag_that_is_another_when_anything_in_it_is() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = swinging(&key) else { return };
    let token = key.token("ada", "self");
    let path = "/api/v1/users/ada/state";
    let tag = ask(&bridge, path, &token).headers["etag"].clone();
    let head = [format!("Authorization: Bearer {token}"), format!("If-None-Match: {tag}")];
    let same = ask_with(&bridge, path, &head);
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    stream(site.kafka, &site.topics.events, &[Event::swinging("ada", 90)], 1);
    site.wait_caught_up();
    assert_eq!(ask_with(&bridge, path, &head).status, 200, "another state");
    bridge.end();
}

#[test]
fn anybody_may_know_the_policy_and_how_the_parts_are() {
    let office = Office::new();
    let bridge = office.open();
    let policy = ask_with(&bridge, "/api/v1/policy", &[]);
    assert_eq!(policy.json()["version"], neuros::Policy::default().version);
    assert_eq!(policy.json()["reflex"]["heart_rate"], neuros::Policy::default().reflex.heart_rate);
    let known = format!("If-None-Match: \"other\", {}", policy.headers["etag"]);
    assert_eq!(ask_with(&bridge, "/api/v1/policy", &[known]).status, 304);
    let health = ask_with(&bridge, "/api/v1/health", &[]);
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("unready")));
    assert_eq!(health.json()["parts"]["keys"]["ok"], true);
    bridge.end();
}
