//! What the store says when it does not write; its words hold no values.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actors::lane::{Lane, UserNumber};
use actors::seal::Sealed;
use actors::store::{CommitError, Store, StoreError};
use biometric_bridge::store::{Administration, Options, open};

use super::batches::{Owner, record, routing, transition, user_row};
use super::commits::stranger;
use super::facts;
use super::places::{self, Place};

facts!(
    a_wrong_token_is_fenced_and_nothing_is_written,
    a_stale_batch_is_out_of_step,
    a_repeated_record_is_refused_without_a_word_about_it,
    a_repeated_user_is_refused_without_a_word_about_it,
    a_batch_that_does_not_follow_is_refused,
    after_a_failure_the_next_batch_is_committed,
);

const SECRET: &str = "anna.secret@example.org";

fn says_nothing(error: &CommitError) {
    for secret in [SECRET, "anna", "4711", "\\x", "ring"] {
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

async fn a_wrong_token_is_fenced_and_nothing_is_written(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    let mut batch = owner.batch();
    batch.token = stranger();
    batch.records.push(record(user, 2, 0));
    batch.users.push(user_row(user, "u1", 2, false));
    batch.transitions.push(transition(user, 1, 1));
    let refused = place.store.commit(&batch).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
    let totals = place.store.totals().await.expect("totals");
    assert_eq!((totals.records, totals.transitions), (1, 0));
    assert_eq!(place.count("users WHERE record_number = 1").await, 1);
    assert_eq!(place.count("phi_access_log").await, 1);
    let mut batch = owner.batch();
    batch.lane = Lane(9);
    let refused = place.store.commit(&batch).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "a lane that is not there: {refused:?}");
}

async fn a_stale_batch_is_out_of_step(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let stale = owner.batch();
    let again = owner.batch();
    owner.commit(stale).await.expect("it is committed");
    let refused = place.store.commit(&again).await;
    assert!(matches!(refused, Err(CommitError::OutOfStep)), "{refused:?}");
    let mut ahead = owner.batch();
    ahead.before.positions.by_user += 1;
    ahead.after.positions.by_user += 1;
    let refused = place.store.commit(&ahead).await;
    assert!(matches!(refused, Err(CommitError::OutOfStep)), "positions count too: {refused:?}");
}

async fn a_repeated_record_is_refused_without_a_word_about_it(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user(SECRET).await;
    let mut batch = owner.batch();
    batch.records = vec![record(user, 4711, 3), record(user, 4712, 3)];
    batch.records[1].body = Sealed(vec![7; 500_000]);
    let refused = owner.commit(batch).await.expect_err("the position is there twice");
    assert!(matches!(refused, CommitError::Refused(_)), "{refused:?}");
    says_nothing(&refused);
    assert_eq!(place.count("event_records").await, 1);
}

async fn a_repeated_user_is_refused_without_a_word_about_it(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user(SECRET).await;
    for (number, id) in [(user, "other"), (UserNumber(4711), SECRET)] {
        let mut batch = owner.batch();
        batch.users.push(user_row(number, id, 1, true));
        let refused = owner.commit(batch).await.expect_err("the user is there already");
        assert!(matches!(refused, CommitError::Refused(_)), "{refused:?}");
        says_nothing(&refused);
    }
    let mut batch = owner.batch();
    batch.records.push(record(user, 2, 0));
    batch.records[0].device_id = format!("{SECRET}\0").into();
    if let Err(refused) = owner.commit(batch).await {
        // SQLite keeps such a text, PostgreSQL does not.
        assert!(matches!(refused, CommitError::Refused(_)), "{refused:?}");
        says_nothing(&refused);
    }
}

async fn a_batch_that_does_not_follow_is_refused(place: Place) {
    let owner = Owner::first(&place.store).await;
    let mut batches = [owner.batch(), owner.batch(), owner.batch(), owner.batch()];
    batches[0].after.batch += 1;
    batches[1].after.stamp = batches[1].before.stamp;
    batches[2].after.outbox += 1;
    batches[3].after.positions.events = 0;
    for batch in &batches {
        let refused = place.store.commit(batch).await;
        assert!(matches!(refused, Err(CommitError::Refused(_))), "{refused:?}");
    }
}

async fn after_a_failure_the_next_batch_is_committed(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    for round in 0..20 {
        let mut bad = owner.batch();
        bad.records = vec![record(user, 90, 3), record(user, 91, 3)];
        owner.commit(bad).await.expect_err("the position is there twice");
        let mut good = owner.batch();
        good.records.push(record(user, 2 + round, 0));
        owner.commit(good).await.expect("it is committed");
        assert_eq!(place.count("event_records").await, 2 + round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_away() {
    let url = "postgresql://anna:secret@127.0.0.1:9/none";
    let store = open(url, &Options::default()).await.expect("nothing is connected yet");
    let away = store.ping().await.expect_err("nobody is there");
    assert!(matches!(away, StoreError::Away(_)), "{away:?}");
    assert!(!away.to_string().contains("anna"), "{away}");
    for url in ["mysql://anna:secret@h/d", "postgresql://[anna", "sqlite:/anna/not/there.db"] {
        let refused = open(url, &Options::default()).await.err().expect("no such store");
        assert!(!refused.to_string().contains("anna"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_ended_is_away_and_the_batch_is_committed_when_it_is_tried_again() {
    let Some(place) = places::postgres().await else { return };
    let mut owner = Owner::first(&place.store).await;
    place
        .run(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE application_name = 'biometric-bridge' AND datname = current_database()",
        )
        .await;
    let mut tries = 0;
    loop {
        tries += 1;
        match owner.commit(owner.batch()).await {
            Ok(()) => break,
            Err(CommitError::Away(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
        assert!(tries < 20, "the connections come back");
    }
    assert_eq!(owner.progress.batch, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_answers_is_unknown_whether_it_happened_or_not() {
    let Some(place) = places::postgres().await else { return };
    Owner::first(&place.store).await;
    for (reaches_the_server, committed) in [(false, 0), (true, 1)] {
        let wire = Wire::new(&place.url, reaches_the_server);
        let store = open(&wire.url, &Options::default()).await.expect("it opens");
        let mut owner = Owner::of(&store, Lane(0)).await;
        wire.cut.store(true, Ordering::SeqCst);
        let unknown = owner.commit(owner.batch()).await.expect_err("nobody answers");
        assert!(matches!(unknown, CommitError::Unknown(_)), "{unknown:?}");
        // The claim waits for the ghost, and then knows.
        let claim = place.store.claim(Lane(0), "next", &routing()).await.expect("the lane is free");
        assert_eq!(claim.progress.batch, committed);
    }
}

/// A wire to the server that is cut at the next COMMIT, on this side of the server or beyond.
struct Wire {
    url: String,
    cut: Arc<AtomicBool>,
}

impl Wire {
    fn new(url: &str, reaches_the_server: bool) -> Self {
        let (head, rest) = url.split_once('@').expect("the URL has a user");
        let (server, database) = rest.split_once('/').expect("the URL has a database");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let cut = Arc::new(AtomicBool::new(false));
        let (server, flag) = (server.to_owned(), Arc::clone(&cut));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a client");
                let server = TcpStream::connect(&server).expect("the server answers");
                carry(client, server, &flag, reaches_the_server);
            }
        });
        Self { url: format!("{head}@127.0.0.1:{port}/{database}?sslmode=disable"), cut }
    }
}

fn carry(client: TcpStream, server: TcpStream, cut: &Arc<AtomicBool>, reaches_the_server: bool) {
    let (mut from_client, mut to_server) =
        (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
    let (cut, silent) = (Arc::clone(cut), Arc::new(AtomicBool::new(false)));
    let mute = Arc::clone(&silent);
    std::thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(length) = from_client.read(&mut bytes) {
            let sent = &bytes[..length];
            let commits = sent.windows(6).any(|word| word == b"COMMIT");
            if commits && cut.load(Ordering::SeqCst) {
                mute.store(true, Ordering::SeqCst);
                if reaches_the_server {
                    to_server.write_all(sent).expect("the server takes it");
                }
                break;
            }
            if length == 0 || to_server.write_all(sent).is_err() {
                break;
            }
        }
        drop(from_client.shutdown(std::net::Shutdown::Both));
        // Its last message is read before the end is.
        drop(to_server.shutdown(std::net::Shutdown::Write));
    });
    let (mut to_client, mut from_server) = (client, server);
    std::thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(length) = from_server.read(&mut bytes) {
            let lost = silent.load(Ordering::SeqCst);
            if length == 0 || lost || to_client.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
    });
}
