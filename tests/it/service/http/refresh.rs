//! The issuer's keys as they come and go: fetched when they are new, kept when their server is away, and never
//! asked for more often than the settings say. And tokens of our own, whose file may change.

use std::time::Duration;

use super::issuer::{SetServer, SigningKey, name, set_of};
use super::office::{Office, ask, state_of};
use crate::servers::Bridge;
use crate::support::{bridge, stderr, stdout};

fn status(bridge: &Bridge, token: &str) -> u16 {
    ask(bridge, &state_of("ada"), token).status
}

fn wait_status(bridge: &Bridge, token: &str, wanted: u16) {
    let so = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        status(bridge, token) == wanted
    });
    assert!(so, "never {wanted}\n{}", bridge.log());
}

/// A service that fetches keys there.
fn office(server: &SetServer, every: &str, floor: &str) -> Office {
    let mut office = Office::new();
    office.set("BRIDGE__AUTH__JWKS_URL", &server.url());
    office.set("BRIDGE__AUTH__REFRESH_EVERY", every);
    office.set("BRIDGE__AUTH__REFRESH_FLOOR", floor);
    name(&mut office);
    office
}

#[test]
fn a_new_key_is_known_at_once_and_an_old_one_forgotten_in_time() {
    let (old, new) = (SigningKey::elliptic("old"), SigningKey::elliptic("new"));
    let server = SetServer::start(&set_of(&[&old]));
    let bridge = office(&server, "1s", "1s").open();
    assert_eq!(status(&bridge, &old.token("ada", "self")), 404);
    assert_eq!(status(&bridge, &new.token("ada", "self")), 401, "nobody knows it yet");
    server.give(&set_of(&[&old, &new]));
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(status(&bridge, &new.token("ada", "self")), 404, "asked for when it is met");
    assert_eq!(status(&bridge, &old.token("ada", "self")), 404);
    server.give(&set_of(&[&new]));
    wait_status(&bridge, &old.token("ada", "self"), 401);
    assert_eq!(status(&bridge, &new.token("ada", "self")), 404);
    bridge.end();
}

#[test]
fn keys_stay_known_while_their_server_is_away() {
    let key = SigningKey::edwards("o");
    let server = SetServer::start(&set_of(&[&key]));
    server.away(true);
    let bridge = office(&server, "1s", "1s").open();
    let token = key.token("ada", "self");
    let answer = ask(&bridge, &state_of("ada"), &token);
    assert_eq!(answer.status, 503, "whether it is good cannot be known");
    assert!(answer.headers.contains_key("retry-after") && answer.detail().contains("are away"));
    server.away(false);
    wait_status(&bridge, &token, 404);
    server.away(true);
    let asked = server.asked();
    let so = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        server.asked() >= asked + 2
    });
    assert!(so, "it goes on to ask");
    assert_eq!(status(&bridge, &token), 404);
    for garbage in ["", "{}", "[]", "{\"keys\": 7}"] {
        server.away(false);
        server.give(garbage);
        let asked = server.asked();
        let so = (0..300).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            server.asked() > asked
        });
        assert!(so);
        assert_eq!(status(&bridge, &token), 404, "{garbage:?} is no set of keys");
    }
    bridge.end();
}

#[test]
fn keys_are_taken_only_from_a_server_that_the_system_trusts() {
    let key = SigningKey::edwards("o");
    let [real, stranger] = [(); 2].map(|()| {
        let names = vec!["127.0.0.1".to_owned()];
        let issued = rcgen::generate_simple_self_signed(names).expect("a certificate");
        (issued.cert.pem(), issued.signing_key.serialize_pem())
    });
    let server = SetServer::start_tls(&set_of(&[&key]), &real.0, &real.1);
    let mut office = office(&server, "1s", "1s");
    for (trusted, wanted) in [(&stranger.0, 503), (&real.0, 404)] {
        let file = office.file("trusted.pem", trusted);
        office.set("SSL_CERT_FILE", &file);
        let bridge = office.open();
        wait_status(&bridge, &key.token("ada", "self"), wanted);
        assert_eq!(
            bridge.log().contains("invalid peer certificate"),
            wanted == 503,
            "{}",
            bridge.log()
        );
        bridge.end();
    }
    assert!(server.asked() >= 2);
}

#[test]
fn tokens_with_made_up_keys_ask_the_issuer_no_more_than_the_floor_allows() {
    let key = SigningKey::edwards("o");
    let server = SetServer::start(&set_of(&[&key]));
    let bridge = office(&server, "1h", "1h").open();
    assert_eq!(status(&bridge, &key.token("ada", "self")), 404);
    assert_eq!(server.asked(), 1);
    for number in 0..20 {
        let stranger = SigningKey::edwards(&format!("made-up-{number}"));
        assert_eq!(status(&bridge, &stranger.token("ada", "self")), 401);
    }
    assert_eq!(server.asked(), 1);
    assert_eq!(status(&bridge, &key.token("ada", "self")), 404);
    bridge.end();
}

#[test]
fn a_token_of_our_own_is_good_for_as_long_as_its_line_is_there() {
    let mut office = Office::new();
    let new = |arguments: &[&str]| {
        let output = bridge(&[&["tokens", "new"], arguments].concat()).output().expect("it starts");
        assert!(output.status.success(), "{}", stderr(&output));
        let lines: Vec<String> =
            stdout(&output).lines().map(|line| line.trim().to_owned()).collect();
        (lines[1].clone(), lines[3].clone())
    };
    let (operator, operator_line) = new(&["night-shift", "operator"]);
    let (carer, carer_line) = new(&["dr-silva", "care:ada", "care:grace"]);
    let (auditor, auditor_line) = new(&["audit", "auditor"]);
    let all = format!("{operator_line}\n{carer_line}\n{auditor_line}\n");
    let file = office.file("tokens.txt", &all);
    office.set("BRIDGE__AUTH__TOKENS_FILE", &file);
    let service = office.open();
    for (token, whom, wanted) in [
        (operator.as_str(), "ada", 404),
        (&carer, "ada", 404),
        (&auditor, "ada", 404),
        ("bbt_nobody", "ada", 401),
        ("a.b.c", "ada", 401),
        (operator_line.split(' ').nth(1).expect("a digest"), "ada", 401),
    ] {
        assert_eq!(ask(&service, &state_of(whom), token).status, wanted, "{token}");
    }
    office.file("tokens.txt", &carer_line);
    wait_status(&service, &operator, 401);
    assert_eq!(status(&service, &carer), 404);
    service.end();
    // Who may see what has changed, and that is written down.
    let mut export = bridge(&["audit", "export", "--output", "-"]);
    export.env_clear().envs(office.environment().iter().map(|(name, value)| (name, value)));
    let output = export.output().expect("it starts");
    let changes: Vec<&str> =
        stdout(&output).lines().filter(|line| line.contains("CONFIGURE")).collect();
    assert_eq!(changes.len(), 1, "{}", stderr(&output));
    let digest = &carer_line.split(' ').nth(1).expect("a digest")[..8];
    let said = format!("dr-silva {digest} care:ada care:grace; ");
    assert!(changes[0].contains(&said) && changes[0].contains("auth.tokens_file"), "{changes:?}");
    assert!(!changes[0].contains(&carer), "nothing secret");
    office.file("tokens.txt", "night-shift operator");
    office.set("HTTP_BIND", "127.0.0.1:0");
    let mut run = bridge(&["run"]);
    run.env_clear().envs(office.environment().iter().map(|(name, value)| (name, value)));
    let output = run.timeout(Duration::from_secs(60)).output().expect("it starts");
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("tokens.txt, line 1: "), "{}", stderr(&output));
}

#[test]
fn a_scope_that_is_none_makes_no_token() {
    for (arguments, said) in [
        (&["ops", "self"][..], "who has a token of ours is no user"),
        (&["ops", "root"], "a scope is operator, auditor or care:USER"),
        (&["o ps", "operator"], "a name has 1 to 64"),
    ] {
        let output = bridge(&[&["tokens", "new"], arguments].concat()).output().expect("it starts");
        assert_eq!(output.status.code(), Some(64));
        assert_eq!(stdout(&output), "");
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
}
