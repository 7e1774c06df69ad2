//! Somebody is erased while the service works: nothing of theirs can be read any more, nothing of anybody else is
//! lost, and what is said on the receipt is so.

mod backups;
mod cut_off;
mod memory;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::check;
use super::feed::{Event, Flow, MORNING};
use super::site::{LANES, Site, Stamps};
use crate::servers::{Message, Outgoing, folder};
use crate::support::{stderr, stdout};

/// How many people there are; they are called `user-0` and so on.
const USERS: usize = 12;

/// Makes a signing key, and gives its public half.
pub(crate) fn sign(site: &mut Site<'_>) -> PathBuf {
    let [private, public] =
        ["pem", "pub"].map(|ending| folder().join(format!("{}.{ending}", site.group)));
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).output().expect("openssl runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let (private, text) = (private.to_str().expect("a path"), public.to_str().expect("a path"));
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", private]);
    openssl(&["pkey", "-in", private, "-pubout", "-out", text]);
    site.set("BRIDGE__AUDIT__SIGNING_KEY_FILE", private);
    public
}

fn receipt(site: &Site<'_>, user: &str) -> Value {
    let signed: Value = serde_json::from_str(&site.run(&["erase", user])).expect("JSON");
    signed["statement"].clone()
}

fn keys_in_redis(site: &Site<'_>, user: &str) -> i64 {
    let url = site.variable("REDIS_URL").expect("there is a cache");
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client.get_connection().expect("Redis takes the connection");
    let key = biometric_bridge::cache::state_key(user);
    redis::cmd("EXISTS").arg(key).query(&mut connection).expect("Redis answers")
}

/// Everybody's state is what their records make of it.
fn all_agree(site: &Site<'_>) {
    let scrubbed = site.run(&["state", "scrub", "--all", "--rate", "100000", "--json"]);
    let sum: Value = serde_json::from_str(scrubbed.lines().last().expect("a sum")).expect("JSON");
    let well = ["agree", "without_checkpoint", "erased"].map(|what| sum[what].as_i64());
    assert_eq!(well.into_iter().flatten().sum::<i64>(), sum["users"].as_i64().expect("users"));
}

fn records_of(site: &Site<'_>, user: &str) -> i64 {
    site.number(&format!(
        "SELECT count(*) FROM event_records r JOIN users u USING (user_number)
         WHERE u.user_id = '{user}'"
    ))
}

/// Messages of a topic that say whose they are.
fn of_user<'m>(messages: &'m [Message], user: &str) -> Vec<&'m Message> {
    let key = user.as_bytes();
    messages.iter().filter(|message| message.key.as_deref() == Some(key)).collect()
}

#[test]
fn a_person_is_erased_while_events_flow_and_nobody_else_loses_anything() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let public = sign(&mut site);
    // Other tests have people of the same names in the cache.
    let cache = format!("{}9", site.redis.url());
    site.set("REDIS_URL", &cache);
    let (first, second) = (site.start(), site.start());
    first.wait_some_lanes();
    second.wait_some_lanes();
    let flow = Flow::default();
    let file = folder().join(format!("{}.receipt", site.group));
    let path = file.to_str().expect("a path");
    let (sent, receipt) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, USERS));
        let ends = flow.ends();
        site.wait_more(400);
        assert!(records_of(&site, "user-3") > 0);
        let signed = site.run(&["erase", "user-3", "--receipt", path]);
        let stored = records_of(&site, "user-3");
        site.wait_more(400);
        assert_eq!((stored, records_of(&site, "user-3")), (0, 0), "nothing more is stored");
        drop(ends);
        let signed: Value = serde_json::from_str(&signed).expect("JSON");
        (sending.join().expect("sending does not panic"), signed["statement"].clone())
    });
    site.wait_caught_up();
    check::counts(&site);
    // Each record of the others is there.
    let each = i64::try_from(sent / USERS).expect("few");
    for user in (0..USERS).filter(|user| *user != 3) {
        assert_eq!(records_of(&site, &format!("user-{user}")), each);
    }
    assert_eq!(site.number("SELECT count(*) FROM dead_letters"), 0, "nor dead-lettered");
    let refused = |bridge: &crate::servers::Bridge| {
        ["events", "by_user"].map(|source| {
            bridge.metric(&format!(
                "biometric_records_total{{outcome=\"erased\",source=\"{source}\"}}"
            ))
        })
    };
    let refused: f64 = [&first, &second].into_iter().flat_map(refused).sum();
    let skipped = site.number("SELECT sum(events_skipped + by_user_skipped) FROM lanes");
    assert!(refused > 0.0 && skipped as f64 >= refused, "{refused} of {skipped}");
    let destroyed = &receipt["destroyed"];
    assert_eq!(destroyed["keys"].as_array().expect("keys").len(), 1);
    assert_eq!(destroyed["cache"], "cleared");
    assert_eq!(destroyed["records"].as_i64().expect("a number") + refused as i64, each);
    assert_eq!(keys_in_redis(&site, "user-3"), 0);
    assert!(keys_in_redis(&site, "user-4") > 0);
    let live = "SELECT count(*) FROM encryption_keys k JOIN users u USING (user_number)
         WHERE u.user_id = 'user-3' AND (k.destroyed_at IS NULL OR length(k.encrypted_key) > 0)";
    assert_eq!(site.number(live), 0);
    // Nobody can open anything of theirs: not the commands, nor a process that begins now.
    for what in ["log", "states", "transitions", "alerts"] {
        let output = site.output(&["export", what, "--user", "user-3"], "");
        assert_eq!(stdout(&output), "", "{what}");
        assert!(stderr(&output).contains("erased"), "{}", stderr(&output));
        assert!(!site.run(&["export", what]).contains("user-3"), "{what}");
    }
    let output = site.output(&["state", "show", "user-3"], "");
    assert!(stderr(&output).contains("was erased"), "{}", stderr(&output));
    all_agree(&site);
    verified(&site, path, public.to_str().expect("a path"));
    first.end();
    second.end();
}

/// The receipt is authentic as it is, and not otherwise.
fn verified(site: &Site<'_>, path: &str, public: &str) {
    let verify =
        |path: &str| site.output(&["erase", "verify-receipt", path, "--public-key", public], "");
    let output = verify(path);
    assert!(stdout(&output).starts_with("authentic: user-3 was erased"), "{}", stderr(&output));
    let changed = format!("{path}.changed");
    let text = std::fs::read_to_string(path).expect("the receipt");
    std::fs::write(&changed, text.replace("user-3", "user-4")).expect("written");
    let output = verify(&changed);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    // A receipt that is there is not written over.
    let output = site.output(&["erase", "user-3", "--receipt", path], "");
    assert_eq!(output.status.code(), Some(73), "{}", stderr(&output));
}

#[test]
fn a_receipt_says_what_remains_where_and_until_when() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let output = site.output(&["erase", "u1"], "");
    assert!(stderr(&output).contains("audit.signing_key_file"), "{}", stderr(&output));
    sign(&mut site);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let mut events: Vec<Event> = (0..20).map(|number| Event::of("u1", 1, number)).collect();
    events.extend((0..20).map(|number| Event::of("u2", 2, number)));
    // Letters of both, and one of whom nobody can tell whose it is.
    let letter = |user: &str| {
        let value = json!({"user_id": user, "timestamp": "never", "metrics": {"hrv": 42}});
        Event { value: value.to_string(), ..Event::at(user, 1, 99, MORNING) }
    };
    events.extend([letter("u1"), letter("u1"), letter("u2")]);
    events.push(Event { value: "no event".to_owned(), ..Event::of("u1", 1, 98) });
    let messages: Vec<Outgoing<'_>> = events.iter().map(Event::keyed).collect();
    site.kafka.produce(&site.topics.events, &messages);
    site.wait_caught_up();
    everything_of_one_is_exported(&site);
    let receipt = receipt(&site, "u1");
    let destroyed = &receipt["destroyed"];
    assert_eq!((&destroyed["records"], &destroyed["dead_letters"]), (&json!(20), &json!(2)));
    assert!(destroyed["mode_changes"].as_i64().expect("a number") > 0);
    let remains = receipt["remains"].as_array().expect("a list");
    let of = |place: &str| {
        let found = remains.iter().find(|it| it["where"].as_str().expect("a text").contains(place));
        found.unwrap_or_else(|| panic!("{place} is not among {remains:?}"))
    };
    // As the brokers say it: the events for ever, the others a week and the segment they are in.
    assert_eq!(of(&site.topics.events)["until"], "for ever");
    let until = of(&site.topics.transitions)["until"].as_str().expect("a time").to_owned();
    assert!(
        until.starts_with("20") && until.as_str() > receipt["issued_at"].as_str().expect("a time")
    );
    assert_eq!(
        of("backups of the database")["readable"],
        json!(true),
        "the keys lie beside the data"
    );
    assert!(of("phi_access_log")["what"].as_str().expect("a text").starts_with("the id in"));
    let unknown = "1 letters of which nobody";
    let said = |it: &&Value| it["what"].as_str().expect("a text").starts_with(unknown);
    assert_eq!(remains.iter().find(said).expect("one")["readable"], json!(true));
    // What is left of letters says nothing: of the other person everything is there.
    let bodies = "SELECT count(*) FILTER (WHERE length(body) = 0), count(*) FROM dead_letters";
    assert_eq!(site.sql(bodies), "2|4");
    let accesses = "SELECT string_agg(DISTINCT access_type, ',' ORDER BY access_type)
         FROM phi_access_log WHERE user_id = 'u1'";
    assert_eq!(site.sql(accesses), "ERASE,EXPORT");
    // It can be asked for once more, and is the same erasure.
    let again = self::receipt(&site, "u1");
    assert_eq!(again["erased_at"], receipt["erased_at"]);
    assert_eq!(again["destroyed"]["records"], 0);
    bridge.end();
}

#[test]
fn who_is_erased_before_anything_has_come_gets_a_receipt_and_is_refused_from_then_on() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    sign(&mut site);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let too_long = "n".repeat(256);
    for nobody in ["", too_long.as_str(), "a\tb"] {
        let output = site.output(&["erase", nobody], "");
        assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    }
    // A letter of theirs is all that there is.
    let value = json!({"user_id": "u1", "timestamp": "never", "metrics": {"hrv": 42}}).to_string();
    let letter = Event { value, ..Event::at("u1", 1, 99, MORNING) };
    site.kafka.produce(&site.topics.events, &[letter.keyed()]);
    site.wait_caught_up();
    let receipt = receipt(&site, "u1");
    let destroyed = &receipt["destroyed"];
    assert_eq!((&destroyed["records"], &destroyed["dead_letters"]), (&json!(0), &json!(1)));
    assert!(receipt["erased_at"].as_str() < receipt["issued_at"].as_str());
    let events = ["u1", "u2"].map(|user| Event::of(user, 1, 1));
    let messages = events.each_ref().map(Event::keyed);
    site.kafka.produce(&site.topics.events, &messages);
    site.wait_caught_up();
    assert_eq!((records_of(&site, "u1"), records_of(&site, "u2")), (0, 1));
    assert_eq!(site.number("SELECT count(*) FROM dead_letters"), 1, "nor dead-lettered");
    all_agree(&site);
    check::counts(&site);
    bridge.end();
}

/// What a person gets who asks what is held of them.
fn everything_of_one_is_exported(site: &Site<'_>) {
    let text = site.run(&["export", "person", "--user", "u1"]);
    let mut parts = BTreeMap::<String, Vec<Value>>::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let name = line["part"].as_str().expect("a name").to_owned();
        let content = line[&name].clone();
        parts.entry(name).or_default().push(content);
    }
    let counts = ["person", "key", "record", "state", "dead_letter"].map(|name| parts[name].len());
    assert_eq!(counts, [1, 1, 20, 1, 2]);
    assert!(!parts["mode_change"].is_empty() && !parts["access"].is_empty());
    let letters = &parts["dead_letter"];
    assert!(
        letters.iter().all(|letter| letter["value"].as_str().expect("a text").contains("\"u1\""))
    );
    assert_eq!(parts["access"].last().expect("one")["access_type"], "EXPORT", "this one too");
    assert!(!text.contains("\"u2\""), "nothing of anybody else");
    assert_eq!(site.output(&["export", "person"], "").status.code(), Some(64));
}

#[test]
fn who_is_readmitted_is_somebody_new_whose_messages_are_numbered_on() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    sign(&mut site);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let send = |from: usize, to: usize| {
        let events: Vec<Event> = (from..to)
            .flat_map(|number| [1, 2].map(|user| Event::of(&format!("u{user}"), user, number)))
            .collect();
        let messages: Vec<Outgoing<'_>> = events.iter().map(Event::keyed).collect();
        site.kafka.produce(&site.topics.events, &messages);
        site.wait_caught_up();
    };
    send(0, 60);
    let output = site.output(&["erase", "--readmit", "u1"], "");
    assert!(stderr(&output).contains("was not erased"), "{}", stderr(&output));
    site.run(&["erase", "u1"]);
    send(60, 80);
    let told = site.run(&["erase", "--readmit", "u1"]);
    assert!(told.starts_with("readmitted"), "{told}");
    send(80, 140);
    assert_eq!((records_of(&site, "u1"), records_of(&site, "u2")), (60, 140));
    let messages: Vec<Message> = [&site.topics.transitions, &site.topics.alerts]
        .into_iter()
        .flat_map(|topic| site.kafka.read_all(topic))
        .collect();
    let numbers = |user: &str| {
        let numbers = of_user(&messages, user).into_iter().map(|message| {
            let said: Value = serde_json::from_str(message.text()).expect("JSON");
            said["n"].as_i64().expect("a number")
        });
        let mut numbers: Vec<i64> = numbers.collect();
        numbers.sort_unstable();
        numbers
    };
    for user in ["u1", "u2"] {
        let numbers = numbers(user);
        let all: Vec<i64> = (1..=i64::try_from(numbers.len()).expect("few")).collect();
        assert_eq!(numbers, all, "{user}: no gap and no repeat");
    }
    let before = site.number("SELECT start_message_number FROM users WHERE user_id = 'u1'");
    assert!(before > 0 && before < i64::try_from(numbers("u1").len()).expect("few"));
    // The state knows of nothing before: it is that of somebody who began with the 80th event.
    let states = site.run(&["export", "states", "--user", "u1"]);
    let log = site.run(&["export", "log", "--user", "u1"]);
    assert_eq!(log.lines().count(), 60);
    let replayed = site.output(&["replay", "--state"], &log);
    let summary = |text: &str| {
        let mut state: Value =
            serde_json::from_str(text.lines().next().expect("a state")).expect("JSON");
        state.as_object_mut().expect("an object").remove("seq");
        state
    };
    assert_eq!(summary(&states), summary(stdout(&replayed)));
    all_agree(&site);
    check::counts(&site);
    bridge.end();
    // So it is when nothing is left but the records.
    site.sql("UPDATE users SET checkpoint = NULL");
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    send(140, 150);
    assert_eq!(records_of(&site, "u1"), 70);
    all_agree(&site);
    bridge.end();
}
