//! The log of accesses is what was written, or it is said which row is not.

use std::sync::Arc;
use std::time::Duration;

use actors::lane::Lane;
use actors::store::{CommitError, Store as _, StoreError};
use biometric_bridge::audit::stored::{chains, verify};
use biometric_bridge::audit::{Checkpoint, Claims, ENDED, Finding, Report, Wrong};
use biometric_bridge::signature::SigningKey;
use biometric_bridge::store::{Access, Administration as _, Options, SqlStore, open};
use neuros::time::Timestamp;

use super::batches::{Owner, START};
use super::facts;
use super::places::Place;

facts!(
    batches_and_accesses_are_chains_that_hold,
    whatever_is_done_to_the_log_is_found_and_the_row_named,
    a_cut_tail_shows_by_a_checkpoint_and_by_the_lane,
    a_copy_that_is_put_back_shows_even_when_the_service_goes_on,
    processes_that_share_a_chain_take_turns,
    a_crowd_is_written_down_together_and_each_is_told,
    an_insert_that_nobody_waits_for_leaves_the_chain_whole,
    a_row_that_lands_late_is_followed_and_not_overwritten,
    a_batch_that_is_not_committed_leaves_no_row,
    nothing_follows_on_the_end_of_a_chain,
    a_row_without_a_chain_is_found_unless_it_is_of_before,
);

fn access(number: i64) -> Access {
    Access {
        user_id: (number % 2 == 0).then(|| format!("u{number}")),
        accessor_id: "dr. who".to_owned(),
        access_type: "READ".to_owned(),
        table_name: "biometric_events".to_owned(),
        record_id: Some(format!("{number} é")),
        records: number,
        time: Timestamp::from_micros(START + number),
    }
}

async fn look(store: &SqlStore, claims: Claims) -> Report {
    let chains = chains(store).await.expect("the chains");
    verify(store, claims, &chains, || ()).await.expect("verified")
}

/// Two lanes with five batches each, and eight accesses.
async fn fill(place: &Place) {
    let mut owner = Owner::first(&place.store).await;
    let mut other = Owner::of(&place.store, Lane(1)).await;
    for _ in 0..5 {
        for owner in [&mut owner, &mut other] {
            let batch = owner.batch();
            owner.commit(batch).await.expect("it is committed");
        }
    }
    for number in 1..=8 {
        place.store.log_access(&access(number)).await.expect("it is written");
    }
}

/// What a signer says of all chains as they are now.
async fn claims(store: &SqlStore) -> Claims {
    let key = SigningKey::generate().expect("a key");
    let checkpoint = Checkpoint {
        key: key.public().id(),
        signer: "service/it".to_owned(),
        number: 1,
        time_us: START,
        previous: None,
        chains: chains(store).await.expect("the chains"),
    };
    let mut claims = Claims::new(vec![key.public()]);
    claims.begin("a file");
    claims.add(checkpoint.sign(&key).to_line().as_bytes());
    claims
}

fn none() -> Claims {
    Claims::new(Vec::new())
}

async fn batches_and_accesses_are_chains_that_hold(place: Place) {
    fill(&place).await;
    // Another owner goes on with the lane's chain.
    let mut next = Owner::of(&place.store, Lane(0)).await;
    assert_eq!(next.audited.sequence, 5);
    let batch = next.batch();
    next.commit(batch).await.expect("it is committed");
    let report = look(&place.store, claims(&place.store).await).await;
    assert_eq!(report.findings, []);
    assert_eq!((report.rows, report.chains, report.unsigned), (19, 3, 0));
    let heads: Vec<(String, i64)> = chains(&place.store)
        .await
        .expect("the chains")
        .into_iter()
        .map(|(writer, head)| (writer, head.sequence))
        .collect();
    let expected = [("command-line", 8), ("lane/0", 6), ("lane/1", 5)];
    assert_eq!(heads, expected.map(|(writer, sequence)| (writer.to_owned(), sequence)));
    let (rows, failures) = place.store.audited().counts();
    assert_eq!((rows, failures), (19, 0));
}

/// Statements that change the log, with what must be found: what is wrong, in whose chain, with which row.
const DEEDS: [(&str, &[&str], Wrong, &str, i64); 14] = [
    (
        "edit",
        &["UPDATE phi_access_log SET user_id = 'nobody' WHERE writer = 'command-line' AND sequence = 4"],
        Wrong::Changed,
        "command-line",
        4,
    ),
    (
        "edit the time by a microsecond",
        &["UPDATE phi_access_log SET access_time = (SELECT access_time FROM phi_access_log
            WHERE writer = 'command-line' AND sequence = 5)
           WHERE writer = 'command-line' AND sequence = 4"],
        Wrong::Changed,
        "command-line",
        4,
    ),
    (
        "say nobody instead of somebody",
        &["UPDATE phi_access_log SET user_id = NULL WHERE writer = 'command-line' AND sequence = 2"],
        Wrong::Changed,
        "command-line",
        2,
    ),
    (
        "delete",
        &["DELETE FROM phi_access_log WHERE writer = 'lane/0' AND sequence = 3"],
        Wrong::Missing,
        "lane/0",
        3,
    ),
    (
        "delete the first",
        &["DELETE FROM phi_access_log WHERE writer = 'lane/1' AND sequence = 1"],
        Wrong::Missing,
        "lane/1",
        1,
    ),
    (
        "delete and close the gap",
        &["DELETE FROM phi_access_log WHERE writer = 'lane/0' AND sequence = 3",
          "UPDATE phi_access_log SET sequence = 3 WHERE writer = 'lane/0' AND sequence = 4",
          "UPDATE phi_access_log SET sequence = 4 WHERE writer = 'lane/0' AND sequence = 5"],
        Wrong::Moved,
        "lane/0",
        3,
    ),
    (
        "insert",
        &["UPDATE phi_access_log SET sequence = sequence + 100 WHERE writer = 'lane/0' AND sequence > 2",
          "INSERT INTO phi_access_log (accessor_id, access_type, table_name, records, writer, sequence,
               previous_hash, hash, access_time)
           SELECT accessor_id, access_type, table_name, 1, writer, 3, hash, hash, access_time
           FROM phi_access_log WHERE writer = 'lane/0' AND sequence = 2",
          "UPDATE phi_access_log SET sequence = sequence - 99 WHERE writer = 'lane/0' AND sequence > 100"],
        Wrong::Changed,
        "lane/0",
        3,
    ),
    (
        "append",
        &["INSERT INTO phi_access_log (accessor_id, access_type, table_name, records, writer, sequence,
               previous_hash, hash, access_time)
           SELECT accessor_id, access_type, table_name, 1, writer, 9, hash, hash, access_time
           FROM phi_access_log WHERE writer = 'command-line' AND sequence = 8"],
        Wrong::Changed,
        "command-line",
        9,
    ),
    (
        "reorder",
        &["UPDATE phi_access_log SET sequence = -1 WHERE writer = 'command-line' AND sequence = 3",
          "UPDATE phi_access_log SET sequence = 3 WHERE writer = 'command-line' AND sequence = 6",
          "UPDATE phi_access_log SET sequence = 6 WHERE writer = 'command-line' AND sequence = -1"],
        Wrong::Moved,
        "command-line",
        3,
    ),
    (
        "swap chains",
        &["UPDATE phi_access_log SET writer = 'elsewhere' WHERE writer = 'lane/0'",
          "UPDATE phi_access_log SET writer = 'lane/0' WHERE writer = 'lane/1'",
          "UPDATE phi_access_log SET writer = 'lane/1' WHERE writer = 'elsewhere'"],
        Wrong::Moved,
        "lane/0",
        1,
    ),
    (
        "take a row out of its chain",
        &["UPDATE phi_access_log SET sequence = NULL WHERE writer = 'command-line' AND sequence = 5"],
        Wrong::Missing,
        "command-line",
        5,
    ),
    (
        "give a row the last number that there is",
        &["UPDATE phi_access_log SET sequence = 9223372036854775807 WHERE writer = 'lane/0' AND sequence = 3"],
        Wrong::Missing,
        "lane/0",
        3,
    ),
    (
        "give a row the first number that there is",
        &["UPDATE phi_access_log SET sequence = -9223372036854775807 WHERE writer = 'lane/0' AND sequence = 3"],
        Wrong::Inserted,
        "lane/0",
        -9_223_372_036_854_775_807,
    ),
    (
        "take a hash away",
        &["UPDATE phi_access_log SET hash = NULL WHERE writer = 'lane/1' AND sequence = 2"],
        Wrong::Changed,
        "lane/1",
        2,
    ),
];

async fn whatever_is_done_to_the_log_is_found_and_the_row_named(place: Place) {
    fill(&place).await;
    place.run("CREATE TABLE untouched AS SELECT * FROM phi_access_log").await;
    for (deed, statements, wrong, writer, sequence) in DEEDS {
        for statement in statements {
            place.run(statement).await;
        }
        let findings = look(&place.store, none()).await.findings;
        let is_it = |finding: &&Finding| finding.writer.as_deref() == Some(writer);
        let found = findings.iter().find(is_it).unwrap_or_else(|| panic!("{deed}: {findings:?}"));
        assert_eq!((found.wrong, found.sequence), (wrong, Some(sequence)), "{deed}: {found:?}");
        let is_there = wrong != Wrong::Missing;
        assert_eq!(found.id.is_some(), is_there, "{deed}: {found:?}");
        assert!(found.text.starts_with(writer), "{deed}: {found:?}");
        assert!(!found.text.contains("u2"), "a finding says whose row it is: {found:?}");
        place.run("DELETE FROM phi_access_log").await;
        place.run("INSERT INTO phi_access_log SELECT * FROM untouched").await;
    }
    assert_eq!(look(&place.store, none()).await.findings, [], "all was put back");
}

async fn a_cut_tail_shows_by_a_checkpoint_and_by_the_lane(place: Place) {
    fill(&place).await;
    let before = [claims(&place.store).await, claims(&place.store).await];
    let [signed, again] = before;
    place.run("DELETE FROM phi_access_log WHERE writer = 'command-line' AND sequence > 6").await;
    assert_eq!(look(&place.store, none()).await.findings, [], "without a checkpoint nobody knows");
    let findings = look(&place.store, signed).await.findings;
    let [found] = findings.as_slice() else { panic!("one finding: {findings:?}") };
    assert_eq!((found.wrong, found.sequence), (Wrong::CutTail, Some(7)), "{found:?}");
    assert!(found.text.contains("checkpoint 1 of service/it has seen row 8"), "{found:?}");
    // A lane says by itself how far it has come.
    place.run("DELETE FROM phi_access_log WHERE writer = 'lane/1' AND sequence > 4").await;
    let findings = look(&place.store, none()).await.findings;
    let [found] = findings.as_slice() else { panic!("one finding: {findings:?}") };
    assert_eq!((found.wrong, found.sequence), (Wrong::CutTail, Some(5)), "{found:?}");
    // A chain of which nothing is left.
    place.run("DELETE FROM phi_access_log WHERE writer = 'lane/0'").await;
    let findings = look(&place.store, again).await.findings;
    let gone = findings.iter().find(|found| found.writer.as_deref() == Some("lane/0"));
    let gone = gone.expect("a finding");
    assert_eq!((gone.wrong, gone.sequence), (Wrong::CutTail, Some(1)), "{gone:?}");
}

async fn a_copy_that_is_put_back_shows_even_when_the_service_goes_on(place: Place) {
    fill(&place).await;
    place.run("CREATE TABLE copy AS SELECT * FROM phi_access_log").await;
    for number in 9..=12 {
        place.store.log_access(&access(number)).await.expect("it is written");
    }
    let signed = claims(&place.store).await;
    place.run("DELETE FROM phi_access_log").await;
    place.run("INSERT INTO phi_access_log SELECT * FROM copy").await;
    let process = open(&place.url, &Options::default()).await.expect("the store opens");
    for number in 20..=30 {
        process.log_access(&access(number)).await.expect("it is written");
    }
    assert_eq!(look(&place.store, none()).await.findings, [], "each row follows on the other");
    let findings = look(&place.store, signed).await.findings;
    let [found] = findings.as_slice() else { panic!("one finding: {findings:?}") };
    assert_eq!((found.wrong, found.sequence), (Wrong::Rewritten, Some(12)), "{found:?}");
}

async fn processes_that_share_a_chain_take_turns(place: Place) {
    Owner::first(&place.store).await;
    let mut tasks = Vec::new();
    for process in 0..4 {
        let store = open(&place.url, &Options::default()).await.expect("the store opens");
        tasks.push(tokio::spawn(async move {
            for number in 0..10 {
                store.log_access(&access(process * 10 + number)).await.expect("it is written");
            }
        }));
    }
    for task in tasks {
        task.await.expect("it goes well");
    }
    let report = look(&place.store, none()).await;
    assert_eq!((report.findings, report.rows, report.chains), (Vec::new(), 40, 1));
}

async fn a_crowd_is_written_down_together_and_each_is_told(place: Place) {
    let options = Options { writer: "service/it".to_owned(), ..Options::default() };
    let store = open(&place.url, &options).await.expect("the store opens");
    let crowd = |from: i64| {
        let one = |number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.log_access(&access(number)).await })
        };
        (from..from + 2_500).map(one).collect::<Vec<_>>()
    };
    for one in crowd(0) {
        one.await.expect("it goes well").expect("it is written");
    }
    let report = look(&place.store, none()).await;
    assert_eq!((report.rows, report.findings), (2_500, Vec::new()));
    let written = "phi_access_log WHERE writer = 'service/it' AND records < 2500";
    assert_eq!(place.count(written).await, 2_500);
    // Where it cannot be written down, each is refused, and nothing of theirs is there.
    place.run("ALTER TABLE phi_access_log RENAME TO away").await;
    for one in crowd(2_500) {
        one.await.expect("it goes well").expect_err("there is no such table");
    }
    place.run("ALTER TABLE away RENAME TO phi_access_log").await;
    store.log_access(&access(5_000)).await.expect("it is written");
    let report = look(&place.store, none()).await;
    assert_eq!((report.rows, report.findings), (2_501, Vec::new()));
    assert_eq!(store.audited().counts(), (2_501, 2_500));
}

async fn an_insert_that_nobody_waits_for_leaves_the_chain_whole(place: Place) {
    Owner::first(&place.store).await;
    for number in 0..40 {
        let patience = Duration::from_micros(u64::try_from(number).expect("small") * 20);
        let (store, access) = (Arc::clone(&place.store), access(number));
        let _given_up = tokio::time::timeout(patience, store.log_access(&access)).await;
    }
    place.store.log_access(&access(100)).await.expect("it is written");
    let report = look(&place.store, none()).await;
    assert_eq!(report.findings, []);
    assert_eq!(report.rows, 41, "whoever gives up does not stop what is under way");
}

async fn a_row_that_lands_late_is_followed_and_not_overwritten(place: Place) {
    let named = || Options { writer: "service/it".to_owned(), ..Options::default() };
    let store = open(&place.url, &named()).await.expect("the store opens");
    store.log_access(&access(1)).await.expect("it is written");
    // As an insert whose connection died before its answer came.
    let ghost = open(&place.url, &named()).await.expect("the store opens");
    ghost.log_access(&access(2)).await.expect("it is written");
    store.log_access(&access(3)).await.expect("it is written");
    let rows = store.chain_rows("service/it", 0, 10).await.expect("rows");
    let numbers: Vec<i64> = rows.iter().map(|row| row.access.records).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(look(&place.store, none()).await.findings, []);
    // Nor does it follow on less than it knows of.
    place.run("DELETE FROM phi_access_log WHERE sequence > 1").await;
    ghost.log_access(&access(4)).await.expect("it is written");
    let findings = look(&place.store, none()).await.findings;
    assert_eq!(findings[0].wrong, Wrong::Missing, "{findings:?}");
}

async fn a_batch_that_is_not_committed_leaves_no_row(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let batch = owner.batch();
    owner.commit(batch).await.expect("it is committed");
    let stale = owner.batch();
    let mut next = Owner::of(&place.store, Lane(0)).await;
    assert!(matches!(place.store.commit(&stale).await, Err(CommitError::Fenced)));
    let batch = next.batch();
    next.commit(batch).await.expect("it is committed");
    assert_eq!(next.audited.sequence, 2);
    assert_eq!(look(&place.store, none()).await.findings, []);
}

async fn nothing_follows_on_the_end_of_a_chain(place: Place) {
    let options = Options { writer: "service/it".to_owned(), ..Options::default() };
    let store = open(&place.url, &options).await.expect("the store opens");
    store.log_access(&access(1)).await.expect("it is written");
    assert_eq!(look(&place.store, none()).await.open, 1);
    let end = Access { access_type: ENDED.to_owned(), ..access(2) };
    store.log_access(&end).await.expect("it is written");
    let report = look(&place.store, none()).await;
    assert_eq!((report.open, report.findings), (0, Vec::new()));
    let late = store.log_access(&access(3)).await;
    assert!(matches!(late, Err(StoreError::Away(_))), "whoever reads now is not answered");
    assert_eq!(store.audited().counts(), (2, 1));
    // Somebody else who takes the name.
    let other = open(&place.url, &options).await.expect("the store opens");
    other.log_access(&access(4)).await.expect("it is written");
    let findings = look(&place.store, none()).await.findings;
    assert_eq!((findings[0].wrong, findings[0].sequence), (Wrong::Inserted, Some(3)));
}

async fn a_row_without_a_chain_is_found_unless_it_is_of_before(place: Place) {
    let insert = "INSERT INTO phi_access_log (accessor_id, access_type, table_name, records)
                  VALUES ('an older release', 'EXPORT', 'users', 1)";
    place.run(insert).await;
    fill(&place).await;
    let report = look(&place.store, none()).await;
    assert_eq!((report.unchained, report.findings), (1, Vec::new()));
    place.run(insert).await;
    let report = look(&place.store, none()).await;
    assert_eq!((report.unchained, report.findings[0].wrong), (2, Wrong::Unchained));
}
