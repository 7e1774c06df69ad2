//! What is shown of a person: what the store holds, to whom it may be shown, and never before it is written
//! down who looked.

use serde_json::{Value, json};

use super::issuer::{AUDIENCE, ISSUER, SigningKey, set_of};
use super::office::{Answer, ask, ask_with};
use super::said::lines;
use crate::servers::Bridge;
use crate::service::feed::{Event, stream};
use crate::service::site::{Site, Stamps};

/// A text as a part of a path (RFC 3986), every byte of it.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Lets an installation know an issuer.
pub(crate) fn trust_at(site: &mut Site<'_>, set: &str) {
    let file = site.key_file.with_extension("jwks");
    std::fs::write(&file, set).expect("written");
    site.set("BRIDGE__AUTH__JWKS_FILE", file.to_str().expect("a path"));
    site.set("BRIDGE__AUTH__ISSUER", ISSUER);
    site.set("BRIDGE__AUTH__AUDIENCE", AUDIENCE);
}

fn path(user_id: &str, what: &str) -> String {
    format!("/api/v1/users/{}/{what}", encoded(user_id))
}

/// People whose ids are as odd as ids may be.
fn people() -> [String; 4] {
    ["ada".to_owned(), "u/1 ?#&+%41;=é💡".to_owned(), "n".repeat(255), "ada ".to_owned()]
}

/// An installation with people in it, of whom this much was read.
fn peopled(key: &SigningKey) -> Option<(Site<'static>, Bridge)> {
    let mut site = Site::shared(Stamps::Producer)?;
    trust_at(&mut site, &set_of(&[key]));
    site.set("LOG_LEVEL", "trace");
    // Of most of them the checkpoint lags: what comes behind it is shown all the same.
    site.set("BRIDGE__CHECKPOINT__EVERY_RECORDS", "7");
    site.set("BRIDGE__CHECKPOINT__EVERY", "1h");
    let people = people();
    let crowd = (0..40).flat_map(|number| {
        people.iter().enumerate().map(move |(seed, person)| Event::of(person, seed, number))
    });
    let events: Vec<Event> = crowd.collect();
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, &events, 100);
    site.wait_caught_up();
    Some((site, bridge))
}

#[test]
fn state_and_mode_changes_are_shown_as_they_are_stored() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = peopled(&key) else { return };
    let operator = key.token("ops", "operator");
    let states = lines(&site.run(&["export", "states"]));
    assert_eq!(states.len(), 4);
    let mut pages = 0;
    for state in states {
        let user_id = state["user_id"].as_str().expect("an id");
        let token = key.token(user_id, "self");
        let answer = ask(&bridge, &path(user_id, "state"), &token);
        assert_eq!(answer.status, 200, "{user_id}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json");
        let shown = answer.json();
        for (name, value) in state.as_object().expect("an object") {
            assert_eq!(&shown[name], value, "{name} of {user_id}");
        }
        assert_eq!((&shown["quarantined"], &shown["record_number"]), (&json!(false), &json!(40)));
        assert!(shown["as_of"].is_string(), "{shown}");
        let changes = lines(&site.run(&["export", "transitions", "--user", user_id]));
        assert_eq!(shown["seq"], changes.len(), "{user_id}");
        let all = ask(&bridge, &path(user_id, "transitions"), &operator).json();
        assert_eq!((&all["transitions"], &all["next"]), (&json!(changes), &Value::Null));
        let mut paged = Vec::new();
        let mut after = json!(0);
        while !after.is_null() {
            let page = path(user_id, &format!("transitions?limit=2&after={after}"));
            let page = ask(&bridge, &page, &token).json();
            let transitions = page["transitions"].as_array().expect("a list");
            assert!(transitions.len() <= 2);
            pages += 1;
            paged.extend(transitions.clone());
            after = page["next"].clone();
            assert!(after.is_null() || after == transitions[1]["seq"], "{after}");
        }
        assert_eq!(paged, changes);
    }
    assert!(pages > 4, "some have more than a page: {pages}");
    bridge.end();
}

#[test]
fn the_same_is_shown_from_a_store_without_a_server() {
    let key = SigningKey::elliptic("e");
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    trust_at(&mut site, &set_of(&[&key]));
    let file = site.key_file.with_extension("db");
    site.set("POSTGRES_URL", &format!("sqlite:{}?mode=rwc", file.display()));
    site.run(&["migrate", "up"]);
    let events: Vec<Event> = (0..40).map(|number| Event::of("ada", 3, number)).collect();
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, &events, 100);
    let token = key.token("ada", "self");
    let read = "biometric_events_processed_total";
    bridge.wait_metric(read, |count| count >= 40.0);
    let shown = ask(&bridge, &path("ada", "state"), &token).json();
    let changes = ask(&bridge, &path("ada", "transitions"), &token).json();
    bridge.end();
    let state = lines(&site.run(&["export", "states"])).remove(0);
    for (name, value) in state.as_object().expect("an object") {
        assert_eq!(&shown[name], value, "{name}");
    }
    assert_eq!(changes["transitions"], json!(lines(&site.run(&["export", "transitions"]))));
    assert_eq!(shown["seq"], changes["transitions"].as_array().expect("a list").len());
}

#[test]
fn scopes_say_whom_somebody_may_see() {
    let key = SigningKey::elliptic("e");
    let Some((_site, bridge)) = peopled(&key) else { return };
    let [ada, odd, long, _] = people();
    for (subject, scope, sees) in [
        (&*ada, json!("self"), [200, 404, 404]),
        (&odd, json!("self"), [404, 200, 404]),
        ("nurse", json!("self"), [404, 404, 404]),
        ("nurse", json!("care:ada"), [200, 404, 404]),
        // An id with a space goes into a list only.
        ("nurse", json!([format!("care:{odd}"), format!("care:{long}")]), [404, 200, 200]),
        ("nurse", json!(format!("care:{odd}")), [404, 404, 404]),
        ("ops", json!("operator"), [200, 200, 200]),
        ("audit", json!("auditor"), [404, 404, 404]),
        ("app", json!("openid profile"), [404, 404, 404]),
        ("app", Value::Null, [404, 404, 404]),
        (&ada, json!("ada"), [404, 404, 404]),
    ] {
        let mut claims = super::issuer::claims(subject, "");
        claims["scope"] = scope;
        let token = key.sign(&claims);
        for (whom, wanted) in [&ada, &odd, &long].into_iter().zip(sees) {
            for what in ["state", "transitions"] {
                let answer = ask(&bridge, &path(whom, what), &token);
                assert_eq!(answer.status, wanted, "{what} of {whom} to {claims}");
                let tells =
                    wanted != 200 && (answer.body.contains(whom) || answer.body.contains("mode"));
                assert!(!tells, "{answer:?}");
            }
        }
    }
    bridge.end();
}

#[test]
fn a_value_that_cannot_be_is_named_and_not_quoted() {
    let key = SigningKey::elliptic("e");
    let Some((_site, bridge)) = peopled(&key) else { return };
    let token = key.token("ada", "self");
    let told = |query: &str| {
        let answer = ask(&bridge, &format!("/api/v1/users/ada/{query}"), &token);
        assert_eq!(answer.status, 400, "{query}");
        answer.detail()
    };
    for query in ["0", "1001", "-1", "ten", "", "1&limit=2", "99999999999999999999"] {
        let said = told(&format!("transitions?limit={query}"));
        assert_eq!(said, "`limit` must be a whole number from 1 to 1000, given once");
    }
    for query in ["-1", "1.5", "canary", "9223372036854775808"] {
        let said = told(&format!("transitions?after={query}"));
        assert_eq!(said, "`after` must be a number from 0 on, given once");
    }
    let said = told("transitions?canary=1");
    assert_eq!(said, "only these fields are known here: after, limit");
    assert_eq!(told("state?canary=1"), "only these fields are known here: none");
    let last = ask(&bridge, "/api/v1/users/ada/transitions?after=9223372036854775807", &token);
    assert_eq!(last.json(), json!({"transitions": [], "next": null}));
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let answer = super::office::ask_as(&bridge, method, "/api/v1/users/ada/state", &[]);
        assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "GET"), "{method}");
    }
    for odd in ["/api/v1/users//state", "/api/v1/users/ada/", "/api/v1/users/a%00b/state", "/api"] {
        assert_eq!(ask(&bridge, odd, &key.token("x", "operator")).status, 404, "{odd}");
    }
    let too_long = path(&"n".repeat(256), "state");
    assert_eq!(ask(&bridge, &too_long, &key.token("x", "operator")).status, 404);
    bridge.end();
}

/// Rows of the log of accesses by HTTP, the oldest first.
fn logged(site: &Site<'_>) -> Vec<String> {
    let rows = site.sql(
        "SELECT accessor_id, access_type, table_name, record_id, records, user_id FROM phi_access_log
         WHERE accessor_id LIKE 'http/%' OR accessor_id LIKE 'address%' ORDER BY id",
    );
    rows.lines().map(str::to_owned).collect()
}

#[test]
fn who_reads_is_written_down_before_anything_is_shown_and_so_is_who_is_refused() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = peopled(&key) else { return };
    let operator = key.token("ops", "operator");
    // An answer is there only once its row is.
    let mut expected = Vec::new();
    let mut look = |answer: Answer, status: u16, row: &str| {
        assert_eq!(answer.status, status, "{row}");
        expected.push(row.to_owned());
        assert_eq!(logged(&site), expected);
    };
    let own = key.token("ada", "self");
    look(
        ask(&bridge, "/api/v1/users/ada/state", &own),
        200,
        "http/subject ada|READ|neuros_checkpoints||1|ada",
    );
    look(
        ask(&bridge, "/api/v1/users/ada/transitions?after=2&limit=5", &operator),
        200,
        "http/subject ops|READ|mode_transitions|seq > 2|5|ada",
    );
    look(
        ask(&bridge, "/api/v1/users/bob-7f3a/state", &operator),
        404,
        "http/subject ops|READ|neuros_checkpoints||1|bob-7f3a",
    );
    look(
        ask(&bridge, "/api/v1/users/eve/state", &own),
        404,
        "http/subject ada|DENIED|users||0|eve",
    );
    look(
        ask_with(&bridge, "/api/v1/users/ada/state", &[]),
        401,
        "address 127.0.0.1|AUTHENTICATION FAILED|users|missing|0|",
    );
    let stranger = SigningKey::elliptic("e").token("ada", "self");
    look(
        ask(&bridge, "/api/v1/users/ada/state", &stranger),
        401,
        "address 127.0.0.1|AUTHENTICATION FAILED|users|signature|0|",
    );

    site.sql("ALTER TABLE phi_access_log RENAME TO elsewhere");
    for what in ["state", "transitions"] {
        let answer = ask(&bridge, &path("ada", what), &own);
        assert_eq!(answer.status, 503);
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(answer.detail(), "it cannot be written down who reads, so nothing is shown");
    }
    assert_eq!(ask_with(&bridge, "/api/v1/users/ada/state", &[]).status, 401, "nobody is let in");
    site.sql("ALTER TABLE elsewhere RENAME TO phi_access_log");
    assert_eq!(ask(&bridge, "/api/v1/users/ada/state", &own).status, 200, "as before");

    a_flood_is_counted_and_hides_nothing(&site, &bridge, &own);

    let (log, metrics) = (bridge.log(), bridge.http("/metrics").expect("an answer").1);
    assert!(log.contains("TRACE"), "the log says what it can");
    let token = own.rsplit('.').next().expect("a signature");
    for secret in ["ada", "bob-7f3a", "eve", token, &encoded("ada")] {
        for (place, text) in [("the log", &log), ("/metrics", &metrics)] {
            let found = text.lines().find(|line| says(line, secret));
            assert_eq!(found, None, "{place} tells {secret}");
        }
    }
    bridge.end();
}

/// What strangers are refused fills no log, and keeps nothing out of it that somebody known is refused.
fn a_flood_is_counted_and_hides_nothing(site: &Site<'_>, bridge: &Bridge, own: &str) {
    let refusals = logged(site).len();
    for _ in 0..80 {
        ask_with(bridge, "/api/v1/users/ada/state", &[]);
    }
    assert_eq!(ask(bridge, "/api/v1/users/eve/state", own).status, 404);
    let denied = "http/subject ada|DENIED|users||0|eve";
    assert_eq!(logged(site).last().expect("a row"), denied, "strangers keep nobody out of it");
    let written = logged(site).len() - refusals;
    assert!(written <= 68, "{written}: nobody fills the log with what is refused");
    // Each is there: in a row of its own, or as one of so many more, which are written down within seconds.
    let count = |reason: &str| {
        bridge.metric(&format!("biometric_authentication_failures_total{{reason=\"{reason}\"}}"))
    };
    let all = count("missing") + count("signature");
    let told = "SELECT sum(CASE WHEN records > 0 THEN records ELSE 1 END) FROM phi_access_log
         WHERE access_type = 'AUTHENTICATION FAILED'";
    let is_told = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        site.number(told) as f64 == all
    });
    assert!(all > 60.0 && is_told, "{} of {all}", site.number(told));
    let more = "addresses|AUTHENTICATION FAILED|users|";
    assert!(logged(site).iter().any(|row| row.starts_with(more) && row.contains(" more|")));
}

/// Whether a line has this word, not as a part of another.
fn says(line: &str, secret: &str) -> bool {
    let is_part = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric());
    line.match_indices(secret).any(|(at, _)| {
        !is_part(line[..at].chars().next_back())
            && !is_part(line[at + secret.len()..].chars().next())
    })
}

#[test]
fn whoever_reads_much_at_once_keeps_nobody_but_themselves_waiting() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = peopled(&key) else { return };
    let operator = key.token("ops", "operator");
    let long = path("ada", "timeline?from=2025-03-03T08:00:00Z&to=2025-03-03T09:00:00Z");
    let mut session = site.postgres.session(&site.database);
    // Whoever looks back reads records; whoever asks for mode changes does not.
    session.run("BEGIN; LOCK TABLE event_records IN ACCESS EXCLUSIVE MODE");
    std::thread::scope(|scope| {
        let reads: Vec<_> =
            (0..6).map(|_| scope.spawn(|| ask(&bridge, &long, &operator).status)).collect();
        site.wait_sql(
            "SELECT count(*) >= 2 FROM pg_stat_activity WHERE datname = current_database()
             AND application_name LIKE 'biometric-bridge%' AND wait_event_type = 'Lock'",
        );
        let other = ask(&bridge, &path("ada", "transitions"), &key.token("ada", "self"));
        assert_eq!(other.status, 200, "there is a turn for others: {other:?}");
        session.run("ROLLBACK");
        for read in reads {
            assert_eq!(read.join().expect("asked"), 200, "and those come when it is theirs");
        }
    });
    bridge.end();
}
