//! Key-encryption keys and ciphers are replaced while the service runs, and nothing becomes unreadable.

use biometric_bridge::seal::key_file::KeyFile;

use super::feed::Flow;
use super::site::{LANES, Site, Stamps};
use super::{check, feed};
use crate::servers::Server as _;
use crate::support::{stderr, stdout};

/// The lines of a key file, without those that say something about it.
fn keys_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

#[test]
fn keys_and_cipher_are_replaced_under_load_and_all_opens() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let events = feed::crowd(30, 20);
    let bridge = site.start();
    feed::stream(site.kafka, &site.topics.events, &events[..300], 300);
    site.wait_caught_up();
    bridge.end();
    let old = std::fs::read_to_string(&site.key_file).expect("the key file");
    let made = site.run(&["keys", "init"]);
    let path = site.key_file.clone();
    let file = |lines: &[&str]| std::fs::write(&path, lines.join("\n")).expect("written");
    let (old_line, new_line) =
        (keys_of(&old).next().expect("a key"), keys_of(&made).next().expect("a key"));
    let name = |line: &str| line.split(' ').next().expect("a name").to_owned();
    let (old_name, new_name) = (name(old_line), name(new_line));
    file(&[new_line, old_line]);
    assert_eq!(KeyFile::read(&site.key_file).expect("a key file").active_name(), new_name);
    let keys = site.number("SELECT count(*) FROM encryption_keys");
    let listed = site.run(&["keys", "list"]);
    assert!(listed.contains(&format!("{new_name}: 0 data keys; wraps new data keys")), "{listed}");
    assert!(listed.contains(&format!("{old_name}: {keys} data keys; unwraps")), "{listed}");
    // While events come, by an instance that seals with the other cipher.
    site.set("BRIDGE__KEYS__ALGORITHM", "xchacha20-poly1305");
    let bridge = site.start();
    bridge.wait_ready();
    feed::stream(site.kafka, &site.topics.events, &events[300..500], 300);
    let told = site.run(&["keys", "rewrap"]);
    assert!(told.contains(&format!("{keys} data keys are wrapped by {new_name} now")), "{told}");
    assert!(site.run(&["keys", "rewrap"]).starts_with("0 data keys"), "nothing is left to do");
    site.wait_caught_up();
    bridge.end();
    // The old key is gone, and the first cipher is back.
    file(&[new_line]);
    site.unset("BRIDGE__KEYS__ALGORITHM");
    let bridge = site.start();
    bridge.wait_ready();
    feed::stream(site.kafka, &site.topics.events, &events[500..], 300);
    site.wait_caught_up();
    check::all(&site);
    bridge.end();
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 600);
    for algorithm in [1, 2] {
        let sealed =
            format!("SELECT count(*) FROM event_records WHERE get_byte(body, 1) = {algorithm}");
        assert!(site.number(&sealed) > 0, "cipher {algorithm} has sealed nothing");
    }
    let tested = site.run(&["keys", "test"]);
    let all = site.number("SELECT count(*) FROM encryption_keys");
    assert!(tested.contains(&format!("{all} data keys unwrap")), "{tested}");
    let uses = "SELECT count(*) FROM phi_access_log WHERE table_name = 'encryption_keys'";
    assert_eq!(site.number(uses), 3, "both times of wrapping and the test are written down");
    // With the old key alone nothing unwraps, and it is said which key is missing.
    file(&[old_line]);
    let output = site.output(&["keys", "test"], "");
    assert!(!output.status.success(), "{}", stdout(&output));
    let said = stderr(&output);
    assert!(said.contains(&format!("{all} data keys do not unwrap")), "{said}");
    assert!(said.contains(&format!("wrapped by {new_name:?}")), "{said}");
    let output = site.output(&["keys", "rewrap"], "");
    assert!(stderr(&output).contains(&format!("wrapped by {new_name:?}")), "{}", stderr(&output));
    let listed = site.run(&["keys", "list", "--json"]);
    assert!(listed.contains("\"unwraps\":false"), "{listed}");
    // One key that is damaged keeps no other from being wrapped anew.
    let newest = site.run(&["keys", "init"]);
    file(&[keys_of(&newest).next().expect("a key"), new_line]);
    let damage = "UPDATE encryption_keys SET encrypted_key = set_byte(encrypted_key, 40, 255 - get_byte(encrypted_key, 40)) \
                  WHERE user_number = (SELECT max(user_number) FROM encryption_keys)";
    site.postgres.psql(&site.database, damage);
    let output = site.output(&["keys", "rewrap"], "");
    assert!(!output.status.success(), "{}", stdout(&output));
    assert!(stdout(&output).starts_with(&format!("{} data keys", all - 1)), "{}", stdout(&output));
    assert!(stderr(&output).contains("1 data keys do not unwrap"), "{}", stderr(&output));
}

#[test]
fn keys_are_rotated_under_load_and_all_that_either_has_sealed_opens() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let (first, second) = (site.start(), site.start());
    first.wait_some_lanes();
    second.wait_some_lanes();
    let flow = Flow::default();
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, 20));
        let ends = flow.ends();
        site.wait_more(300);
        let told = site.run(&["keys", "rotate", "user-1", "user-2"]);
        assert!(told.starts_with("2 new data keys seal from now on"), "{told}");
        site.wait_more(300);
        let told = site.run(&["keys", "rotate", "--all", "--service"]);
        assert!(told.starts_with("21 new data keys"), "{told}");
        let told = site.run(&["keys", "rotate", "--all", "--older-than", "1h"]);
        assert!(told.starts_with("0 new data keys"), "{told}");
        // Whatever is sealed from now on is sealed by the newest.
        let newest = site.number("SELECT coalesce(sum(batch), 0) FROM lanes");
        site.wait_sql(&format!("SELECT sum(batch) > {newest} + 30 FROM lanes"));
        let old = "SELECT count(*) FROM event_records r JOIN users u USING (user_number)
             WHERE get_byte(r.body, 2) <> CASE WHEN u.user_id IN ('user-1', 'user-2') THEN 3 ELSE 2 END
                 AND r.time > (SELECT max(retired_at) FROM encryption_keys)";
        assert_eq!(site.number(old), 0);
        site.wait_more(300);
        drop(ends);
        sending.join().expect("sending does not panic")
    });
    check::all(&site);
    assert_eq!(site.sql("SELECT count(*) FROM event_records"), sent.to_string());
    let numbers = "SELECT count(DISTINCT get_byte(body, 2)) FROM event_records";
    assert_eq!(site.number(numbers), 3);
    let retired = "SELECT count(*) FROM encryption_keys WHERE retired_at IS NOT NULL";
    assert_eq!(site.number(retired), 23);
    assert_eq!(site.number("SELECT count(*) FROM encryption_keys"), 44);
    let usage = first.metric("biometric_key_usage_ratio_max");
    assert!((0.0..1e-4).contains(&usage), "{usage}");
    first.end();
    second.kill();
    second.start_again();
    second.wait_lanes(LANES);
    check::all(&site);
    second.end();
    // Of who is not known there is no key, and that is said.
    let output = site.output(&["keys", "rotate", "nobody"], "");
    assert!(stderr(&output).contains("nothing is stored of 1"), "{}", stderr(&output));
    assert_eq!(site.output(&["keys", "rotate"], "").status.code(), Some(64));
}

#[test]
fn a_command_about_letters_is_carried_out_after_the_services_key_was_rotated() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let message = crate::servers::Outgoing { value: Some(b"no event"), ..Default::default() };
    site.kafka.produce(&site.topics.events, &[message]);
    site.wait_caught_up();
    site.run(&["keys", "rotate", "--service", "--wait", "0s"]);
    site.run(&["dlq", "discard", "--reason", "not_json"]);
    site.wait_sql("SELECT count(*) = 1 FROM dead_letters WHERE fate = 'discarded'");
    // What it was sealed with is seen no more: once it is carried out its particulars have gone.
    assert_eq!(site.number("SELECT max(key_number) FROM encryption_keys WHERE user_number = 0"), 2);
    let kept = "SELECT count(*) FROM lane_commands WHERE body IS NOT NULL";
    assert_eq!(site.number(kept), 0);
    bridge.end();
}
