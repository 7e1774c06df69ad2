//! Everything is lost but Kafka and the backups that the guide tells to take, and the service goes on from them: with
//! the guide's own commands, under load.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::shell::Shell;
use crate::servers::{Bridge, Kafka, Outgoing, Postgres, Redis, Server as _, Servers, folder};
use crate::service::check;
use crate::service::feed::{Event, Flow};
use crate::service::site::{LANES, Site, Stamps};
use crate::support::{stderr, stdout};

/// People whose events come all the time.
const USERS: usize = 90;

/// An installation whose data and keys lie on servers of their own.
fn installation<'s>(
    (kafka, redis): (&'s Kafka, &'s Redis),
    data: &'s Postgres,
    keys: &Postgres,
) -> Site<'s> {
    let mut site = Site::new(kafka, data, redis, Stamps::Producer);
    site.set("KEYS_URL", &keys.database());
    site.run(&["migrate", "up"]);
    site
}

/// Events of some people, with numbers from one up to another.
fn events(name: &str, users: usize, numbers: std::ops::Range<usize>) -> Vec<Event> {
    let of =
        |number| (0..users).map(move |user| Event::of(&format!("{name}-{user}"), user, number));
    numbers.flat_map(of).collect()
}

/// Sends events of which nobody waits until they are read.
fn send(site: &Site<'_>, events: &[Event]) -> usize {
    let messages: Vec<Outgoing<'_>> = events.iter().map(Event::keyed).collect();
    site.kafka.produce(&site.topics.events, &messages).len()
}

/// Lets events flow, does something meanwhile, and gives how many came.
fn under_load(site: &Site<'_>, doing: impl FnOnce()) -> usize {
    let flow = Flow::default();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(site, USERS));
        let ends = flow.ends();
        site.wait_more(1_000);
        doing();
        site.wait_more(1_000);
        drop(ends);
        sending.join().expect("sending does not panic")
    })
}

/// Sets a variable in the shell.
fn set(shell: &mut Shell, name: &str, value: &str) {
    let (said, code) = shell.ends(&format!("export {name}='{value}'"));
    assert_eq!(code, 0, "{said:?}");
}

/// The ids of messages of which the store knows that they are safe on their topics.
fn settled(site: &Site<'_>) -> BTreeSet<String> {
    let of = |sink: u8, table: &str| {
        site.sql(&format!(
            "SELECT m.message_id FROM outbox o JOIN relay_cursors c USING (lane, sink)
             JOIN {table} m ON m.user_number = o.user_number AND m.n = o.n
             WHERE o.sink = {sink} AND o.number <= c.number"
        ))
    };
    let ids = [of(0, "mode_transitions"), of(1, "alert_changes")].join("\n");
    ids.lines().filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// A message without when it was recorded, and without what is stored beside it and not sent.
fn words(text: &str) -> Value {
    let mut message: Value = serde_json::from_str(text).expect("JSON");
    let fields = message.as_object_mut().expect("an object");
    fields.remove("recorded_at");
    fields.remove("explanation");
    message
}

/// Checks what consumers of a topic have seen: every stored message, once or twice in the same words, for the first
/// time in order, and nothing else; gives how many came twice.
fn seen_once_or_twice(
    site: &Site<'_>,
    (topic, what): (&str, &str),
    settled: &BTreeSet<String>,
) -> usize {
    let id = |message: &Value| message["message_id"].as_str().expect("an id").to_owned();
    let stored = site.run(&["export", what]);
    let stored: BTreeMap<String, Value> =
        stored.lines().map(words).map(|message| (id(&message), message)).collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    for sent in site.kafka.read_all(topic) {
        let message = words(sent.text());
        let id = id(&message);
        assert_eq!(Some(&message), stored.get(&id), "a message is as it is stored");
        let times = seen.entry(id).or_default();
        *times += 1;
        if *times == 1 {
            let user = message["user_id"].as_str().expect("a user").to_owned();
            let n = message["n"].as_i64().expect("a number");
            assert!(newest.insert(user, n) < Some(n), "first occurrences are in order");
        }
    }
    assert_eq!(seen.len(), stored.len(), "all that is stored has left");
    for (id, times) in &seen {
        let most = if settled.contains(id) { 1 } else { 2 };
        assert!(*times <= most, "{id} was sent {times} times, where {most} is right");
    }
    seen.values().filter(|times| **times > 1).count()
}

/// Starts the service and waits until it has done all that waits for it.
fn go_on(site: &Site<'_>) -> Bridge {
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    site.wait_caught_up();
    bridge
}

#[test]
fn what_the_guide_has_dumped_brings_data_and_keys_back_and_the_service_goes_on_as_if_nothing_was() {
    if !Servers::available_for_the_guide() {
        return;
    }
    let servers = Servers::shared();
    let (data, keys) = (Postgres::start(true), Postgres::start(true));
    let mut site = installation((&servers.kafka, &servers.redis), &data, &keys);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let mut shell = Shell::start(|command| site.tell(command));
    let mut sent = under_load(&site, || {
        shell.run_marked("backup");
        shell.run_marked("keys-backup");
    });
    // Whom the backups do not know, and what is under way when everything goes.
    sent += send(&site, &events("late", 10, 0..20));
    site.wait_read(sent);
    sent += send(&site, &events("late", 10, 20..60));
    bridge.kill();
    data.kill();
    keys.kill();
    sent += send(&site, &events("later", 5, 0..20));
    let (data, keys) = (Postgres::start(true), Postgres::start(true));
    let restored = [data.database(), keys.database()];
    set(&mut shell, "RESTORED_URL", &restored[0]);
    set(&mut shell, "RESTORED_KEYS_URL", &restored[1]);
    shell.run_marked("restore");
    shell.run_marked("keys-restore");
    (site.postgres, site.database) = (&data, restored[0].clone());
    site.set("POSTGRES_URL", &restored[0]);
    site.set("KEYS_URL", &restored[1]);
    let position = site.number("SELECT sum(events_position) FROM lanes");
    let ends: i64 = site.kafka.ends(&site.topics.events).into_iter().sum();
    assert!(1_000 <= position && position + 1_000 < ends, "{position} of {ends} is in the backup");
    let settled = settled(&site);
    assert!(!settled.is_empty(), "some messages had left");
    let bridge = go_on(&site);
    sent += send(&site, &events("later", 5, 20..40));
    check::all_but_messages(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), sent as i64);
    let topics = [(&site.topics.transitions, "transitions"), (&site.topics.alerts, "alerts")];
    let twice = topics.map(|(topic, what)| seen_once_or_twice(&site, (topic, what), &settled));
    assert!(twice[0] > 0, "nothing came twice: what was behind the backup had not left");
    bridge.end();
    check::at_rest(&site);
}

fn records_of(site: &Site<'_>, user: &str) -> i64 {
    site.number(&format!(
        "SELECT count(*) FROM event_records r JOIN users u USING (user_number)
         WHERE u.user_id = '{user}'"
    ))
}

/// Has checkpoints of the log of accesses signed, into a file that no loss of a database touches.
fn sign(site: &mut Site<'_>) {
    let file = |ending: &str| folder().join(format!("{}.{ending}", site.group));
    let [key, checkpoints] = ["audit.pem", "checkpoints"].map(file);
    let [key, checkpoints] = [&key, &checkpoints].map(|path| path.to_str().expect("a path"));
    site.run(&["audit", "init", "--output", key]);
    site.set("BRIDGE__AUDIT__SIGNING_KEY_FILE", key);
    site.set("BRIDGE__AUDIT__CHECKPOINT_FILE", checkpoints);
    site.set("BRIDGE__AUDIT__CHECKPOINT_EVERY", "1s");
}

#[test]
fn a_physical_backup_beside_the_keys_of_today_brings_everybody_back_but_who_was_erased() {
    if !Servers::available_for_the_guide() {
        return;
    }
    let servers = Servers::shared();
    let (data, keys) = (Postgres::start(true), Postgres::start(true));
    let mut site = installation((&servers.kafka, &servers.redis), &data, &keys);
    sign(&mut site);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let mut shell = Shell::start(|command| site.tell(command));
    let sent = under_load(&site, || shell.run_marked("physical"));
    // They come and go behind the backup, and others come after them.
    let events_of = |user: &str, numbers: std::ops::Range<usize>| {
        numbers.map(|number| Event::of(user, 1, number)).collect::<Vec<_>>()
    };
    let number = |site: &Site<'_>, user: &String| {
        site.sql(&format!("SELECT user_number FROM users WHERE user_id = '{user}'"))
    };
    let gone: Vec<String> = (0..6).map(|it| format!("gone-{it}")).collect();
    for user in &gone {
        send(&site, &events_of(user, 0..10));
        site.wait_caught_up();
        site.run(&["erase", user]);
    }
    let taken: Vec<String> = gone.iter().map(|user| number(&site, user)).collect();
    site.run(&["erase", "user-1"]);
    send(&site, &events("late", 12, 0..10));
    site.wait_caught_up();
    bridge.kill();
    data.kill();
    let data = Postgres::start_from(&shell.folder().join("data-base"));
    let restored = data.same(&site.database);
    (site.postgres, site.database) = (&data, restored.clone());
    site.set("POSTGRES_URL", &restored);
    site.redis.flush_database();
    let bridge = go_on(&site);
    // Whom the backup knows stays erased. Of whom it does not, the receipt of the erasure tells.
    assert!(stderr(&site.output(&["export", "states", "--user", "user-1"], "")).contains("erased"));
    send(&site, &events_of("user-1", 1_000..1_010));
    let given: Vec<String> = gone.iter().map(|user| number(&site, user)).collect();
    assert!(given.iter().all(|its| !its.is_empty() && !taken.contains(its)), "{given:?} {taken:?}");
    for user in &gone {
        assert_eq!(records_of(&site, user), 10, "the log still has them");
        site.run(&["erase", user]);
        assert_eq!(records_of(&site, user), 0);
    }
    site.wait_caught_up();
    check::counts(&site);
    check::records_lead_to_states(&site);
    let each = (sent / USERS) as i64;
    let of = |user: usize| records_of(&site, &format!("user-{user}"));
    assert!((0..USERS).filter(|user| *user != 1).all(|user| of(user) == each));
    assert!((0..12).all(|user| records_of(&site, &format!("late-{user}")) == 10));
    assert_eq!(site.number("SELECT count(*) FROM dead_letters"), 0);
    // Rows of the log of accesses are lost, and that shows.
    let verified = site.output(&["audit", "verify"], "");
    let said = format!("{}{}", stdout(&verified), stderr(&verified));
    assert_eq!(verified.status.code(), Some(1), "{said}");
    bridge.end();
}
