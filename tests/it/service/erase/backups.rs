//! Backups of the data beside the key store of today, and keys that move to a key store of their own.

use super::{records_of, sign};
use crate::servers::Outgoing;
use crate::service::check;
use crate::service::feed::{self, Event};
use crate::service::site::{LANES, Site, Stamps};
use crate::support::{stderr, stdout};

#[test]
fn a_backup_of_the_data_opens_for_everybody_but_who_was_erased() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    sign(&mut site);
    let keys = site.postgres.database();
    site.set("KEYS_URL", &keys);
    let output = site.output(&["keys", "list"], "");
    assert!(stderr(&output).contains("migrate up"), "{}", stderr(&output));
    site.run(&["migrate", "up"]);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let events = feed::crowd(4, 30);
    feed::stream(site.kafka, &site.topics.events, &events, 60);
    site.wait_caught_up();
    check::all(&site);
    bridge.end();
    assert_eq!(site.number("SELECT count(*) FROM encryption_keys"), 0, "none lies beside the data");
    assert_eq!(site.postgres.psql(&keys, "SELECT count(*) FROM encryption_keys"), "5");
    const WHAT: [&str; 4] = ["log", "states", "transitions", "alerts"];
    let of = |database: &str, what: &str, user: &str| {
        let output = site.output_from(database, &["export", what, "--user", user], "");
        (stdout(&output).to_owned(), stderr(&output).to_owned())
    };
    let before: Vec<_> = WHAT.iter().map(|what| of(&site.database, what, "user-2").0).collect();
    assert!(before.iter().all(|text| !text.is_empty()));
    // The dump is taken by pg_dump, and restored into a database of its own.
    let dump = site.postgres.dump(&site.database, &["--no-owner"]);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let signed = site.run(&["erase", "user-1"]);
    assert!(signed.contains("backups of the key store"), "{signed}");
    bridge.end();
    let restored = site.postgres.database();
    site.postgres.restore(&restored, &dump);
    for (what, before) in WHAT.iter().zip(&before) {
        let (nothing, said) = of(&restored, what, "user-1");
        assert!(nothing.is_empty() && said.contains("erased"), "{what}: {said}");
        assert_eq!(&of(&restored, what, "user-2").0, before, "{what}");
    }
    let all = site.output_from(&restored, &["export", "states"], "");
    assert_eq!(stdout(&all).lines().count(), 3);
    // A service on it goes on with the others, and still refuses who was erased.
    site.database.clone_from(&restored);
    site.set("POSTGRES_URL", &restored);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let more: Vec<Event> = (30..40)
        .flat_map(|number| (0..4).map(move |user| Event::of(&format!("user-{user}"), user, number)))
        .collect();
    let messages: Vec<Outgoing<'_>> = more.iter().map(Event::keyed).collect();
    site.kafka.produce(&site.topics.events, &messages);
    site.wait_caught_up();
    assert_eq!((records_of(&site, "user-1"), records_of(&site, "user-2")), (30, 40));
    assert_eq!(site.number("SELECT count(*) FROM dead_letters"), 0);
    bridge.end();
}

/// While the key store takes nobody in, as a server that is away.
fn away<T>(site: &Site<'_>, keys: &str, meanwhile: impl FnOnce() -> T) -> T {
    let name = keys.rsplit('/').next().expect("a name").split('?').next().expect("a name");
    let server = site.postgres.database();
    let allow = |allowed: bool| {
        let sql = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}");
        site.postgres.psql(&server, &sql);
    };
    allow(false);
    let end =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    site.postgres.psql(&server, &end);
    let done = meanwhile();
    allow(true);
    done
}

#[test]
fn while_the_key_store_is_away_whoever_is_in_memory_goes_on_and_others_wait() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let keys = site.postgres.database();
    site.set("KEYS_URL", &keys);
    site.run(&["migrate", "up"]);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let send = |user: &str, numbers: std::ops::Range<usize>| {
        let events: Vec<Event> = numbers.map(|number| Event::of(user, 1, number)).collect();
        let messages: Vec<Outgoing<'_>> = events.iter().map(Event::keyed).collect();
        site.kafka.produce(&site.topics.events, &messages);
    };
    send("user-1", 0..10);
    site.wait_caught_up();
    away(&site, &keys, || {
        bridge.wait_failing("keys");
        send("user-1", 10..20);
        site.wait_sql("SELECT count(*) = 20 FROM event_records");
        send("user-2", 0..5);
        let output = site.output(&["keys", "list"], "");
        assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
        assert_eq!(records_of(&site, "user-2"), 0);
    });
    bridge.wait_ready();
    site.wait_caught_up();
    assert_eq!(records_of(&site, "user-2"), 5);
    check::all(&site);
    bridge.end();
}

#[test]
fn keys_move_to_a_key_store_and_nobody_works_without_it_afterwards() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let events = feed::crowd(6, 20);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    feed::stream(site.kafka, &site.topics.events, &events[..60], 60);
    site.wait_caught_up();
    let output = site.output(&["keys", "move"], "");
    assert!(stderr(&output).contains("KEYS_URL"), "{}", stderr(&output));
    let keys = site.postgres.database();
    site.set("KEYS_URL", &keys);
    // Not while an instance runs; nor does one start before they are moved.
    let output = site.output(&["keys", "move"], "");
    assert!(stderr(&output).contains("no instance runs"), "{}", stderr(&output));
    bridge.end();
    site.run(&["migrate", "up"]);
    for arguments in [&["run"][..], &["keys", "list"]] {
        let output = site.output(arguments, "");
        assert!(stderr(&output).contains("keys move"), "{}", stderr(&output));
    }
    let told = site.run(&["keys", "move"]);
    assert!(told.starts_with("7 data keys are in the key store"), "{told}");
    assert!(site.run(&["keys", "test"]).contains("7 data keys unwrap"));
    let checked = site.output(&["doctor"], "");
    assert!(stdout(&checked).contains("the key store answers"), "{}", stdout(&checked));
    site.unset("KEYS_URL");
    for arguments in [&["run"][..], &["keys", "list"]] {
        let output = site.output(arguments, "");
        assert!(stderr(&output).contains("name it with KEYS_URL"), "{}", stderr(&output));
    }
    site.set("KEYS_URL", &keys);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    feed::stream(site.kafka, &site.topics.events, &events[60..], 60);
    site.wait_caught_up();
    check::all(&site);
    bridge.end();
}

#[test]
fn keys_that_are_not_those_of_the_data_are_refused() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    sign(&mut site);
    let keys = site.postgres.database();
    site.set("KEYS_URL", &keys);
    site.run(&["migrate", "up"]);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let events = feed::crowd(3, 10);
    feed::stream(site.kafka, &site.topics.events, &events, events.len());
    site.wait_caught_up();
    bridge.end();
    let refused = |site: &Site<'_>, missing: &str| {
        for arguments in [&["run"][..], &["keys", "list"], &["keys", "rotate", "--all"]] {
            let output = site.output(arguments, "");
            let told = stderr(&output);
            assert!(told.contains(missing) && told.contains("newest backup"), "{told}");
        }
    };
    let empty = site.postgres.database();
    site.set("KEYS_URL", &empty);
    site.run(&["migrate", "up"]);
    refused(&site, "no data key of the service");
    assert_eq!(site.postgres.psql(&empty, "SELECT count(*) FROM encryption_keys").trim(), "0");
    // As a backup of the keys is from before somebody came.
    site.set("KEYS_URL", &keys);
    let newest = site.number("SELECT max(user_number) FROM users");
    let renumber = |from: i64, to: i64| {
        let sql =
            format!("UPDATE encryption_keys SET user_number = {to} WHERE user_number = {from}");
        site.postgres.psql(&keys, &sql);
    };
    renumber(newest, -77);
    refused(&site, &format!("no data key of user number {newest}"));
    renumber(-77, newest);
    assert!(site.run(&["keys", "test"]).contains("4 data keys unwrap"));
    // Whoever is erased has no key, and needs none.
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let last = site.sql(&format!("SELECT user_id FROM users WHERE user_number = {newest}"));
    site.run(&["erase", &last]);
    bridge.end();
    site.run(&["keys", "list"]);
}
