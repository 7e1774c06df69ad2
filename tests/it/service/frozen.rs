//! A process that is halted in the middle of a commit and goes on later does no harm.

use super::site::{LANES, Site, Stamps};
use super::{check, feed};
use crate::servers::Server as _;

/// Backends of the bridge that wait for a lock.
const BLOCKED: &str = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
    AND application_name LIKE 'biometric-bridge%' AND wait_event_type = 'Lock'";

/// Rows of records are added only while nobody holds this lock: so a commit stands still when it has its lane's row. A
/// lock of the table would stop it before.
const HELD_UP: &str = "CREATE FUNCTION held_up() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END';
    CREATE TRIGGER held_up BEFORE INSERT ON event_records
        FOR EACH ROW EXECUTE FUNCTION held_up();
    DO 'BEGIN PERFORM pg_advisory_lock(1); END'";

#[test]
fn an_instance_frozen_in_mid_commit_is_replaced_and_comes_back_harmless() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let events = feed::crowd(60, 40);
    let first = site.start();
    first.wait_lanes(LANES);
    feed::stream(site.kafka, &site.topics.events, &events[..600], 600);
    site.wait_caught_up();
    let mut session = site.postgres.session(&site.database);
    session.run(HELD_UP);
    feed::stream(site.kafka, &site.topics.events, &events[600..1_200], 600);
    site.wait_sql(BLOCKED);
    first.pause();
    session.run("DO 'BEGIN PERFORM pg_advisory_unlock(1); END'");
    // The frozen instance now holds the rows of its lanes, and nobody tells it to commit.
    let second = site.start();
    second.wait_lanes(LANES);
    // It has claimed each, which took ending the backend of who held them.
    second.wait_metric("biometric_lane_claims_total", |claims| claims >= 3.0);
    second.wait_metric("biometric_lanes{condition=\"running\"}", |running| running == 3.0);
    let ended = second.log().contains("ended backends that held a lane");
    assert!(ended, "the frozen instance was in mid-commit");
    feed::stream(site.kafka, &site.topics.events, &events[1_200..1_800], 200);
    site.wait_caught_up();
    // The group takes nobody in while a member of it is silent: so the other one is seen outside.
    second.pause();
    first.resume();
    first.wait_failing("group");
    first.wait_part("group", false);
    second.resume();
    first.wait_part("group", true);
    feed::stream(site.kafka, &site.topics.events, &events[1_800..], 100);
    site.wait_caught_up();
    let lanes = |body: &serde_json::Value| body["lanes"].as_object().is_some_and(|l| !l.is_empty());
    first.wait_until("an owner again", |status, body| status == 200 && lanes(body));
    second.wait_ready();
    // What it had in hand when it was halted did not pass.
    first.wait_metric("biometric_commit_failures_total", |count| count > 0.0);
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 2_400);
    first.end();
    second.end();
}
