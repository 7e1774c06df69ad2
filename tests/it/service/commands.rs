//! What operators do about dead letters and users in quarantine, while records keep coming.

use actors::command::{REBUILT_ANOTHER, REBUILT_THE_SAME};
use actors::home::home;

use super::check;
use super::feed::{Event, crowd, stream};
use super::site::{LANES, Site, Stamps};
use crate::servers::{Bridge, Outgoing, folder};
use crate::support::{stderr, stdout};

const USERS: usize = 4;

/// As if an evaluation of this user had failed.
fn put_in_quarantine(site: &Site<'_>, user: &str) {
    site.sql(&format!("UPDATE users SET quarantined_at = now() WHERE user_id = '{user}'"));
}

#[test]
fn a_released_user_is_where_they_would_be_had_nothing_failed() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let events = crowd(USERS, 120);
    let (first, rest) = events.split_at(events.len() / 6);
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, first, 20);
    site.wait_read(first.len());
    bridge.end();
    put_in_quarantine(&site, "user-1");
    let bridge = site.start();
    let (held, racing) = rest.split_at(rest.len() / 2);
    stream(site.kafka, &site.topics.events, held, 50);
    site.wait_read(first.len() + held.len());
    let listed = site.run(&["quarantine", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("one line of JSON");
    assert_eq!(listed["user_id"], "user-1");
    assert_eq!(listed["waiting"], held.len() / USERS);
    let letters = site.run(&["dlq", "list", "--user", "user-1", "--json"]);
    assert_eq!(letters.lines().count(), held.len() / USERS);
    // Out of its turn nothing of theirs is tried.
    let tried = site.run(&["dlq", "redrive", "--user", "user-1"]);
    assert!(tried.contains(&format!("0 applied, {} stay", held.len() / USERS)), "{tried}");

    let released = std::thread::scope(|scope| {
        let sending = scope.spawn(|| stream(site.kafka, &site.topics.events, racing, 5));
        let released = site.run(&["quarantine", "release", "user-1"]);
        sending.join().expect("all is sent");
        released
    });
    assert_eq!(released, "user-1: released\n");
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM dead_letters WHERE released_at IS NULL"), 0);
    assert_eq!(site.run(&["quarantine", "list"]), "nobody is in quarantine\n");
    assert!(site.number("SELECT count(*) FROM lane_commands WHERE record_number > 0") == 1);
    let (_, metrics) = bridge.http("/metrics").expect("an answer");
    assert!(metrics.contains("\nbiometric_commands_total 2\n"), "{metrics}");
    let applied = "biometric_dead_letters_released_total{fate=\"applied\"}";
    assert!(!metrics.contains(&format!("{applied} 0\n")) && metrics.contains(applied));
    bridge.end();
}

#[test]
fn what_other_settings_accept_is_applied_when_it_is_tried_again() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    let ahead = "{\"user_id\":\"ada\",\"device_id\":\"d\",\"event_type\":\"vitals\",\
                 \"timestamp\":\"2025-03-03T09:00:00Z\",\"metrics\":{\"hrv\":45}}";
    let good = Event::of("ada", 1, 0);
    let timestamp = Some(good.record_time);
    let of_ada = || {
        let partition = Some(home("ada", LANES as i32).0);
        Outgoing { key: Some(b"ada"), timestamp, partition, ..Outgoing::default() }
    };
    let messages = [
        Outgoing { value: Some(ahead.as_bytes()), ..of_ada() },
        Outgoing { value: Some(b"no event"), ..of_ada() },
        Outgoing { value: Some(good.value.as_bytes()), ..of_ada() },
    ];
    site.kafka.produce(&site.topics.events, &messages);
    site.wait_read(messages.len());
    let listed = site.run(&["dlq", "list", "--json"]);
    let letter = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("JSON") };
    let letters: Vec<serde_json::Value> = listed.lines().map(letter).collect();
    assert_eq!(letters.len(), 2, "{listed}");
    assert!(!listed.contains("metrics"), "a list shows nothing of what stands in a record");
    let name = letters[0]["letter"].as_str().expect("a name").to_owned();
    let looks = "SELECT count(*) FROM phi_access_log WHERE table_name = 'dead_letters'";
    assert_eq!(site.number(looks), 0);
    assert!(site.run(&["dlq", "show", &name]).contains("2025-03-03T09:00:00"));
    let told = format!("{looks} AND user_id = 'ada' AND record_id = '{name}' AND records = 1");
    assert_eq!(site.number(&told), 1, "whose record was shown, and which");

    let dry = site.run(&["dlq", "redrive", "--lane", &lane_of(&name), "--dry-run"]);
    assert!(dry.contains("2 dead letters; nothing was changed"), "{dry}");
    let nobody = site.output(&["dlq", "redrive"], "");
    assert!(stderr(&nobody).contains("say which"), "{}", stderr(&nobody));
    bridge.end();

    let noted = site.run(&["quarantine", "release", "nobody", "--wait", "0s"]);
    assert!(noted.starts_with("nobody: asked for as command"), "{noted}");
    let open = site.output(&["dlq", "redrive", &name, "--wait", "1s"], "");
    assert_eq!(open.status.code(), Some(69), "{}{}", stdout(&open), stderr(&open));
    assert!(stderr(&open).contains("not done yet"), "{}", stderr(&open));
    let policy = folder().join(format!("{}.yaml", site.group));
    std::fs::write(&policy, "version: lenient\nclock: {max_future: 2h}\n").expect("a policy");
    site.set("BRIDGE__POLICY__FILE", policy.to_str().expect("a path"));
    let bridge = site.start();
    site.wait_sql("SELECT outcome = '1 applied, 0 stay' FROM lane_commands WHERE kind = 'redrive'");
    let discarded = site.run(&["dlq", "discard", "--reason", "not_json"]);
    assert!(discarded.contains("1 discarded"), "{discarded}");
    assert_eq!(site.run(&["dlq", "list"]), "there are none\n");
    assert_eq!(site.run(&["dlq", "list", "--all"]).lines().count(), 2);
    check::tables(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 2);
    assert_eq!(site.run(&["gaps", "list"]), "nothing was ever skipped\n");
    bridge.end();
}

fn lane_of(name: &str) -> String {
    name.split_once('/').expect("a name has a lane").0.to_owned()
}

#[test]
fn a_checkpoint_that_is_not_what_its_records_make_is_found_and_put_right() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    site.set("BRIDGE__CHECKPOINT__SCRUB_EVERY", "10ms");
    site.set("BRIDGE__CHECKPOINT__EVERY_RECORDS", "1");
    let events = crowd(2, 40);
    let (first, rest) = events.split_at(events.len() / 2);
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, first, 20);
    site.wait_caught_up();
    let mismatches = |bridge: &Bridge| {
        let (_, metrics) = bridge.http("/metrics").expect("an answer");
        let value = |name: &str| {
            let of_name = metrics.lines().filter(|line| line.starts_with(name));
            let counts = of_name.filter_map(|line| line.rsplit_once(' '));
            counts.map(|(_, count)| count.parse::<u64>().expect("a count")).sum::<u64>()
        };
        (value("biometric_states_scrubbed_total"), value("biometric_state_mismatches_total"))
    };
    let until = |is_so: &dyn Fn((u64, u64)) -> bool| {
        while !is_so(mismatches(&bridge)) {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    until(&|(scrubbed, _)| scrubbed > 10);
    assert_eq!(mismatches(&bridge).1, 0);
    let shown: serde_json::Value =
        serde_json::from_str(&site.run(&["state", "show", "user-1"])).expect("JSON");
    assert_eq!(shown["differences"], serde_json::json!([]));
    assert_eq!(site.run(&["state", "rebuild", "user-1"]), format!("{REBUILT_THE_SAME}\n"));
    assert_eq!(site.run(&["state", "scrub", "--all"]), "2 users: 2 agree\n");

    // A number too few stands for whatever may go wrong with a stored state.
    site.sql("UPDATE users SET message_number = message_number - 1 WHERE user_id = 'user-1'");
    let scrubbed = site.output(&["state", "scrub", "--users", "2", "--rate", "1000"], "");
    assert_eq!(scrubbed.status.code(), Some(1), "{}", stderr(&scrubbed));
    assert!(
        stdout(&scrubbed).contains("user-1: differs at record 20\n2 users: 1 agree, 1 differ\n")
    );
    assert!(stderr(&scrubbed).contains("1 of 2 stored states"), "{}", stderr(&scrubbed));
    until(&|(_, mismatches)| mismatches > 0);
    let shown = site.output(&["state", "show", "user-1"], "");
    assert_eq!(shown.status.code(), Some(1), "{}", stderr(&shown));
    let differs: serde_json::Value = serde_json::from_str(stdout(&shown)).expect("JSON");
    let [stored, rebuilt] = ["stored", "rebuilt"].map(|one| &differs[one]["message_number"]);
    assert_eq!(differs["differences"], serde_json::json!(["message_number"]));
    let said = site.run(&["state", "rebuild", "user-1"]);
    assert_eq!(said, format!("{REBUILT_ANOTHER}\n  message_number: {stored} -> {rebuilt}\n"));
    assert_eq!(site.run(&["state", "rebuild", "user-1"]), format!("{REBUILT_THE_SAME}\n"));
    let (scrubbed, before) = mismatches(&bridge);
    until(&|(newest, _)| newest > scrubbed + 5);
    assert!(mismatches(&bridge).1 <= before + 1, "one look may have been under way");
    stream(site.kafka, &site.topics.events, rest, 20);
    check::all(&site);
    let nobody = site.output(&["state", "rebuild", "nobody"], "");
    assert!(stderr(&nobody).contains("has no state"), "{}", stderr(&nobody));
    bridge.end();
    let right = site.sql("SELECT encode(checkpoint, 'hex') FROM users WHERE user_id = 'user-0'");
    site.sql("UPDATE users SET checkpoint = '\\x00' WHERE user_id = 'user-0'");
    let scrubbed = site.output(&["state", "scrub", "--json", "--all"], "");
    assert_eq!(scrubbed.status.code(), Some(1), "{}", stderr(&scrubbed));
    let lines: Vec<serde_json::Value> =
        stdout(&scrubbed).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        (&lines[0]["user_id"], &lines[0]["outcome"]),
        (&"user-0".into(), &"unreadable".into())
    );
    assert_eq!((&lines[1]["agree"], &lines[1]["unreadable"]), (&1.into(), &1.into()));
    let shown = site.output(&["state", "show", "user-0"], "");
    assert_eq!(shown.status.code(), Some(1));
    assert!(stdout(&shown).contains("does not open"), "{}", stdout(&shown));
    site.sql(&format!("UPDATE users SET checkpoint = '\\x{right}' WHERE user_id = 'user-0'"));
    site.sql("UPDATE users SET checkpoint = NULL WHERE user_id = 'user-1'");
    assert_eq!(site.run(&["state", "scrub"]), "2 users: 1 agree, 1 without checkpoint\n");
}
