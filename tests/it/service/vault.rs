//! The service with its keys wrapped by Vault: a stand-in, or a real one where `BRIDGE_VAULT` names its program
//! (`make vault-check`).

use super::check;
use super::feed::{self, Flow};
use super::site::{LANES, Site, Stamps};
use crate::servers::{Bridge, Vault};
use crate::support::{stderr, stdout};

const USERS: usize = 20;

/// Has the bridge find Vault, which does not wrap yet.
fn name(site: &mut Site<'_>, vault: &Vault) {
    vault.variables().iter().for_each(|(variable, value)| site.set(variable, value));
}

const WRAPPER: &str = "BRIDGE__KEYS__WRAPPER";

#[test]
fn users_come_and_stay_with_vault_and_wait_while_it_is_sealed() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let vault = Vault::start();
    name(&mut site, &vault);
    site.set(WRAPPER, "vault");
    site.unset("KEY_FILE");
    site.set("LOG_LEVEL", "trace");
    let events = feed::crowd(2 * USERS, 30);
    let (known, new): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| {
        let number = event.user.trim_start_matches("user-").parse::<usize>();
        number.expect("a number") < USERS
    });
    let bridge = site.start();
    let send = |events: &[feed::Event]| feed::stream(site.kafka, &site.topics.events, events, 100);
    send(&known[..200]);
    site.wait_caught_up();
    let listed = site.run(&["keys", "list"]);
    assert_eq!(listed, "vault:transit/biometric-bridge:v1: 21 data keys; wraps new data keys\n");
    bridge.end();
    // It finds the keys again, and waits for them as long as they are not to be had.
    vault.seal();
    let bridge = site.start();
    let said = bridge.wait_failing("keys");
    let problem = said["parts"]["keys"].to_string();
    assert!(problem.contains("is sealed or in maintenance (503): unseal it"), "{said}");
    vault.unseal();
    bridge.wait_lanes(LANES);
    send(&known[200..400]);
    site.wait_caught_up();
    // Whoever is in memory goes on without Vault.
    vault.seal();
    bridge.wait_failing("keys");
    bridge.wait_part("keys", false);
    send(&known[400..]);
    site.wait_caught_up();
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 600);
    // Whoever is not in memory waits, and nothing is made up for them.
    send(&new);
    let output = site.output(&["keys", "test"], "");
    assert_eq!(output.status.code(), Some(69), "{}", stdout(&output));
    assert!(stderr(&output).contains("unseal it"), "{}", stderr(&output));
    assert_eq!(site.number("SELECT count(*) FROM encryption_keys"), 21);
    vault.unseal();
    bridge.wait_ready();
    bridge.wait_part("keys", true);
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 1_200);
    let tested = site.run(&["keys", "test"]);
    assert!(tested.contains("41 data keys unwrap"), "{tested}");
    let log = bridge.log();
    for secret in vault.secrets() {
        assert!(!log.contains(&secret), "a secret is in the log");
    }
    bridge.end();
}

/// Starts both instances anew, one after the other, while the other works.
fn roll(site: &Site<'_>, bridges: &mut [Bridge; 2]) {
    for bridge in bridges {
        bridge.end();
        *bridge = site.start();
        bridge.wait_some_lanes();
        site.wait_more(100);
    }
}

/// What `keys list` says, line by line, without the keys that wrap nothing.
fn wrappers(site: &Site<'_>) -> Vec<String> {
    let listed = site.run(&["keys", "list"]);
    listed.lines().filter(|line| !line.contains(": 0 data keys")).map(str::to_owned).collect()
}

#[test]
fn keys_move_to_vault_and_back_under_load_and_all_unwraps() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    let vault = Vault::start();
    let mut bridges = [site.start(), site.start()];
    bridges.iter().for_each(Bridge::wait_some_lanes);
    let flow = Flow::default();
    let sender = site.twin();
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&sender, USERS));
        let ends = flow.ends();
        site.wait_more(200);
        // All can unwrap by Vault before any wraps by it.
        name(&mut site, &vault);
        roll(&site, &mut bridges);
        site.set(WRAPPER, "vault");
        roll(&site, &mut bridges);
        let told = site.run(&["keys", "rewrap"]);
        let moved = "21 data keys are wrapped by vault:transit/biometric-bridge:v1 now";
        assert!(told.contains(moved), "{told}");
        vault.rotate();
        let told = site.run(&["keys", "rotate", "user-1", "user-2"]);
        assert!(told.starts_with("2 new data keys seal from now on"), "{told}");
        let both = [
            "vault:transit/biometric-bridge:v2: 2 data keys; wraps new data keys",
            "vault:transit/biometric-bridge:v1: 21 data keys; unwraps",
        ];
        assert_eq!(wrappers(&site), both);
        let told = site.run(&["keys", "rewrap"]);
        assert!(
            told.contains("21 data keys are wrapped by vault:transit/biometric-bridge:v2 now"),
            "{told}"
        );
        // Nobody misses the key file.
        let key_file = site.key_file.to_str().expect("a path").to_owned();
        site.unset("KEY_FILE");
        let tested = site.run(&["keys", "test"]);
        assert!(tested.contains("23 data keys unwrap"), "{tested}");
        // And back.
        site.set("KEY_FILE", &key_file);
        site.set(WRAPPER, "file");
        roll(&site, &mut bridges);
        let told = site.run(&["keys", "rewrap"]);
        assert!(told.contains("23 data keys are wrapped by kek-"), "{told}");
        vault.seal();
        site.wait_more(200);
        drop(ends);
        sending.join().expect("sending does not panic")
    });
    check::all(&site);
    assert_eq!(site.sql("SELECT count(*) FROM event_records"), sent.to_string());
    let tested = site.run(&["keys", "test"]);
    assert!(tested.contains("23 data keys unwrap"), "nothing is with Vault any more: {tested}");
    bridges.iter().for_each(Bridge::end);
    // With what Vault wraps and without its settings nothing unwraps, and it is said what is missing.
    let by_vault =
        "UPDATE encryption_keys SET wrapped_by = 'vault:transit/other:v1' WHERE user_number = 0";
    site.postgres.psql(&site.database, by_vault);
    let output = site.output(&["keys", "test"], "");
    assert!(stderr(&output).contains("1 data keys do not unwrap"), "{}", stderr(&output));
    assert!(stderr(&output).contains("name it with `keys.vault.url`"), "{}", stderr(&output));
}
