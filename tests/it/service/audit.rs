//! The log of accesses of an installation: it holds whatever becomes of the instances, and what is done to it
//! shows by the program's own commands.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::site::{LANES, Site, Stamps};
use super::{check, feed};
use crate::servers::{Server as _, folder};
use crate::support::{run, stderr, stdout};

/// A site whose instances sign checkpoints every second, with the file of the public key.
struct Signed {
    site: Site<'static>,
    public_key: String,
    checkpoints: PathBuf,
}

impl Signed {
    fn new() -> Option<Self> {
        let mut site = Site::shared(Stamps::Producer)?;
        let name = site.group.clone();
        let file = |ending: &str| folder().join(format!("{name}.{ending}"));
        let (key, public, checkpoints) = (file("pem"), file("public"), file("checkpoints"));
        let path = |path: &PathBuf| path.to_str().expect("a path").to_owned();
        site.run(&["audit", "init", "--output", &path(&key)]);
        site.set("BRIDGE__AUDIT__SIGNING_KEY_FILE", &path(&key));
        site.set("BRIDGE__AUDIT__CHECKPOINT_FILE", &path(&checkpoints));
        site.set("BRIDGE__AUDIT__CHECKPOINT_EVERY", "1s");
        std::fs::write(&public, site.run(&["audit", "public-key"])).expect("written");
        Some(Self { site, public_key: path(&public), checkpoints })
    }

    fn verified(&self, arguments: &[&str]) -> Value {
        let said = self.site.run(&[&["audit", "verify", "--json"], arguments].concat());
        serde_json::from_str(&said).expect("JSON")
    }
}

const SAFE: &str = "biometric_audit_checkpoints_total{sink=\"topic\"}";
const SAFE_IN_FILE: &str = "biometric_audit_checkpoints_total{sink=\"file\"}";

#[test]
fn the_log_of_accesses_holds_while_instances_are_killed_and_what_is_done_to_it_shows() {
    let Some(signed) = Signed::new() else { return };
    let site = &signed.site;
    let events = feed::crowd(200, 40);
    let (first, second) = (site.start(), site.start());
    first.wait_some_lanes();
    second.wait_some_lanes();
    std::thread::scope(|scope| {
        scope.spawn(|| feed::stream(site.kafka, &site.topics.events, &events, 200));
        for share in [4, 2] {
            site.wait_read(events.len() / share);
            first.kill();
            site.run(&["export", "states"]);
            first.start_again();
        }
    });
    check::all(site);
    first.wait_metric(SAFE, |safe| safe >= 1.0);
    first.wait_metric(SAFE_IN_FILE, |safe| safe >= 1.0);
    second.wait_metric("biometric_audit_rows_total", |rows| rows >= 2.0);
    assert_eq!(second.metric("biometric_audit_failures_total"), 0.0);
    first.end();
    second.end();
    for arguments in [&["--topic"][..], &["--topic", "--public-key", &signed.public_key], &[]] {
        let report = signed.verified(arguments);
        assert_eq!(report["open"], 2, "two were killed: {report}");
        assert_eq!(report["unsigned"].as_u64().map(|rows| rows <= 2), Some(true), "{report}");
        assert!(report["checkpoints"].as_u64() > Some(4), "{report}");
    }
    rows_say_what_was_done(site);
    let of_topic: BTreeSet<String> =
        site.messages(&site.topics.audit).iter().map(|message| message.text().to_owned()).collect();
    let of_file = std::fs::read_to_string(&signed.checkpoints).expect("the file");
    let both = of_file.lines().filter(|line| of_topic.contains(*line)).count();
    assert!(both >= 4, "the same checkpoints are at both places: {both}");
    an_export_is_verified_without_the_database(&signed);
    deeds_are_found(&signed);
}

/// Each lane's batches with their offsets without a gap, and each service's start and end.
fn rows_say_what_was_done(site: &Site<'_>) {
    let read = "SELECT bool_and(record_id ~ '^lane \\d+ batch \\d+; ') AND count(*) > 10
                FROM phi_access_log WHERE writer LIKE 'lane/%'";
    assert_eq!(site.sql(read), "t");
    let keys = "SELECT count(*) FROM phi_access_log
                WHERE record_id ~ '; \\d+ users;.*; users'' keys 1 to 1$'";
    assert!(site.number(keys) > 5);
    let gaps = "WITH read AS (
            SELECT writer, sequence,
                (regexp_match(record_id, '; events (\\d+) to (\\d+)'))[1]::bigint AS first,
                (regexp_match(record_id, '; events (\\d+) to (\\d+)'))[2]::bigint AS last
            FROM phi_access_log WHERE writer LIKE 'lane/%' AND record_id LIKE '%; events %'),
        followed AS (
            SELECT first, lag(last) OVER (PARTITION BY writer ORDER BY sequence) AS before
            FROM read)
        SELECT count(*) FROM followed WHERE first <> coalesce(before, -1) + 1";
    assert_eq!(site.number(gaps), 0, "the rows leave out records");
    let lives = "SELECT count(*) FILTER (WHERE access_type = 'START' AND sequence = 1),
                        count(*) FILTER (WHERE access_type = 'END'),
                        count(DISTINCT record_id) FILTER (WHERE access_type = 'START')
                 FROM phi_access_log WHERE writer LIKE 'service/%'";
    // The address is another for each instance, and so is the fingerprint of its settings.
    assert_eq!(site.sql(lives), "4|2|2");
    let shown = "SELECT count(*) > 1 FROM phi_access_log
                 WHERE writer = 'command-line' AND access_type = 'EXPORT'
                   AND table_name = 'neuros_checkpoints'";
    assert_eq!(site.sql(shown), "t");
}

fn an_export_is_verified_without_the_database(signed: &Signed) {
    let site = &signed.site;
    let export = folder().join(format!("{}.export", site.group));
    let export = export.to_str().expect("a path");
    let checkpoints = signed.checkpoints.to_str().expect("a path");
    let made = site.run(&["audit", "export", "--output", export]);
    assert!(made.contains(" rows are in "), "{made}");
    let text = std::fs::read_to_string(export).expect("the export");
    let rows = site.number("SELECT count(*) FROM phi_access_log");
    assert_eq!(text.lines().count(), usize::try_from(rows).expect("few") + 2);
    let again = site.output(&["audit", "export", "--output", export], "");
    assert_eq!(again.status.code(), Some(73), "{}", stderr(&again));
    let verify = |key: &str| {
        let by = ["--public-key", key, "--checkpoints", checkpoints];
        run(&[&["audit", "verify", "--export", export], &by[..]].concat(), "")
    };
    let output = verify(&signed.public_key);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).ends_with("all is as it was written\n"), "{}", stdout(&output));
    let other = folder().join(format!("{}.other", site.group));
    let other = other.to_str().expect("a path");
    let key = run(&["audit", "init"], "");
    std::fs::write(other, stdout(&key)).expect("written");
    let public = run(&["audit", "public-key", "--key", other], "");
    std::fs::write(other, stdout(&public)).expect("written");
    let output = verify(other);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("which was not given"), "{}", stderr(&output));
    let changed = text.replacen("\"sequence\":3,", "\"sequence\":4,", 1);
    for (text, code, said) in [
        (changed.as_str(), 1, "row 3 is missing"),
        (&text[..text.len() - 20], 65, "line"),
        ("nothing of the kind", 65, "line 1: it is no line of an export"),
    ] {
        std::fs::write(export, text).expect("written");
        let output = verify(&signed.public_key);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
}

/// In copies of the database, where an older one is put in the place of the newest, too.
fn deeds_are_found(signed: &Signed) {
    let (site, postgres) = (&signed.site, signed.site.postgres);
    let old = postgres.copy(&site.database);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    feed::stream(site.kafka, &site.topics.events, &feed::crowd(20, 5), 50);
    site.wait_caught_up();
    bridge.end();
    site.run(&["audit", "verify"]);
    let found = |database: &str, said: &str| {
        let output = site.output_from(database, &["audit", "verify"], "");
        assert_eq!(output.status.code(), Some(1), "{said}: {}", stdout(&output));
        assert!(stderr(&output).contains(said), "{said}: {}", stderr(&output));
        postgres.remove(database);
    };
    found(&old, "are missing: checkpoint ");
    for (deed, said) in [
        (
            "UPDATE phi_access_log SET accessor_id = 'nobody' WHERE writer = 'lane/0' AND sequence = 2",
            "lane/0, row 2 (id ",
        ),
        (
            "DELETE FROM phi_access_log WHERE writer = 'lane/1' AND sequence = 3",
            "lane/1: row 3 is missing",
        ),
        (
            "INSERT INTO phi_access_log (accessor_id, access_type, table_name) VALUES ('a', 'b', 'c')",
            "is in no chain, and was written after",
        ),
        (
            "UPDATE phi_access_log SET sequence = -sequence WHERE writer = 'lane/2' AND sequence IN (2, 3);
             UPDATE phi_access_log SET sequence = 5 + sequence WHERE writer = 'lane/2' AND sequence < 0",
            "lane/2, row 2 (id ",
        ),
        (
            "DELETE FROM phi_access_log WHERE writer = 'command-line' AND sequence > 1",
            "command-line: the rows from 2 on are missing: checkpoint ",
        ),
        (
            "UPDATE phi_access_log SET writer = 'x' WHERE writer = 'lane/0';
             UPDATE phi_access_log SET writer = 'lane/0' WHERE writer = 'lane/1';
             UPDATE phi_access_log SET writer = 'lane/1' WHERE writer = 'x'",
            "it was written as a row of the chain lane/1",
        ),
    ] {
        let copy = postgres.copy(&site.database);
        postgres.psql(&copy, deed);
        found(&copy, said);
    }
}

#[test]
fn a_sink_that_is_away_holds_up_no_other_and_shows() {
    let Some(mut signed) = Signed::new() else { return };
    signed.site.set("BRIDGE__AUDIT__CHECKPOINT_FILE", "/nowhere/checkpoints");
    let bridge = signed.site.start();
    bridge.wait_metric("biometric_audit_checkpoint_failures_total{sink=\"file\"}", |n| n >= 2.0);
    bridge.wait_metric(SAFE, |safe| safe >= 2.0);
    bridge.wait_metric("biometric_audit_checkpoint_age_seconds{sink=\"file\"}", |age| age >= 3.0);
    let age = bridge.metric("biometric_audit_checkpoint_age_seconds{sink=\"topic\"}");
    assert!(age < bridge.metric("biometric_audit_checkpoint_age_seconds{sink=\"file\"}"), "{age}");
    assert_eq!(bridge.metric(SAFE_IN_FILE), 0.0);
    assert!(bridge.log().contains("/nowhere/checkpoints: "), "it is named");
    bridge.end();
}

#[test]
fn without_its_row_in_the_log_nothing_is_shown() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    feed::stream(site.kafka, &site.topics.events, &feed::crowd(5, 5), 50);
    site.wait_caught_up();
    bridge.end();
    site.sql("CREATE FUNCTION refuse() RETURNS trigger AS 'BEGIN RAISE EXCEPTION ''no''; END' LANGUAGE plpgsql;
              CREATE TRIGGER refuse BEFORE INSERT ON phi_access_log FOR EACH ROW
              WHEN (NEW.writer = 'command-line') EXECUTE FUNCTION refuse()");
    for command in [
        &["export", "states"][..],
        &["export", "log"],
        &["state", "show", "user-0"],
        &["audit", "export", "--output", "-"],
    ] {
        let output = site.output(command, "");
        assert_eq!(output.status.code(), Some(69), "{command:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{command:?}");
    }
    let export = folder().join(format!("{}.export", site.group));
    let export = export.to_str().expect("a path");
    let output = site.output(&["audit", "export", "--output", export], "");
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(!std::path::Path::new(export).exists(), "nothing is left of it");
}
