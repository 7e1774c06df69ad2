//! Clauses of the delivery protocol that look pedantic, each with the short story that goes wrong without it.

use std::time::Duration;

use actors::incoming::Raw;
use actors::lane::{Lane, Source};
use actors::observe::Condition;
use actors::rows::Sink;

use crate::facts::{MORNING, SECOND, event, users_at_home, write_story};
use crate::world::{Fault, World, run};

pub(crate) fn write_one(world: &World, lane: i32, user: &str, second: i64) {
    let (time, value) = event(user, second, r#""heart_rate":60"#);
    world.log.write(lane, time, &value);
}

/// Writes to a by-user partition, as only the bridge may.
pub(crate) fn forge(world: &World, lane: i32, user: &str, headers: &[(&str, &str)]) {
    let (_, value) = event(user, 0, r#""heart_rate":60"#);
    let headers = headers.iter();
    let headers = headers.map(|(n, v)| ((*n).to_owned(), Some(v.as_bytes().to_vec())));
    let raw = Raw { key: None, value: Some(value.into_bytes()), headers: headers.collect() };
    world.log.append(Lane(lane), Source::ByUser, None, raw);
}

pub(crate) fn origin<'a>(
    generation: &'a str,
    partition: &'a str,
    offset: &'a str,
    previous: &'a str,
) -> [(&'a str, &'a str); 5] {
    [
        ("origin.generation", generation),
        ("origin.partition", partition),
        ("origin.offset", offset),
        ("origin.previous", previous),
        ("origin.time", ""),
    ]
}

fn reasons(world: &World) -> Vec<String> {
    world.store.look(|tables| tables.letters.values().map(|row| row.said.reason.clone()).collect())
}

/// Section 2: else the new owner begins before what the old one's last batch has applied.
#[test]
fn a_claim_waits_for_what_the_previous_owner_has_in_flight() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        world.store.fail_next(Fault::Late(2_000, true));
        write_story(&world, 0, "a", 600);
        // The answer is lost at once; the batch lands two seconds later.
        world.until("the lane is claimed again", |world| world.store.epoch(Lane(0)) == 2).await;
        assert_eq!(world.store.users_with_records()["a"], 12);
        write_story(&world, 0, "a", 1_200);
        world.all_committed().await;
        world.store.check();
        owner.leave().await;
    });
}

/// Section 2: no other timeout frees a backend that is stuck.
#[test]
fn a_claim_ends_a_transaction_that_hangs_on_for_longer_than_three_seconds() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        world.all_committed().await;
        world.store.fail_next(Fault::Late(1_000_000, true));
        write_story(&world, 0, "a", 0);
        let began = tokio::time::Instant::now();
        world.all_committed().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        world.store.check();
        assert_eq!(world.store.users_with_records()["a"], 6);
        owner.leave().await;
    });
}

/// Section 4: positions alone would not tell such a batch from the one before it.
#[test]
fn a_batch_that_moves_no_position_is_numbered_all_the_same() {
    run(|| async {
        let world = World::new(1);
        world.clock.set(MORNING);
        let owner = world.own(0);
        write_one(&world, 0, "a", 0);
        world.all_committed().await;
        let before = world.store.progress(Lane(0));
        world
            .until("a checkpoint is written", |world| {
                let progress = world.store.progress(Lane(0));
                progress.checkpointed == progress.stamp
            })
            .await;
        let after = world.store.progress(Lane(0));
        assert_eq!((after.batch, after.positions), (before.batch + 1, before.positions));
        owner.leave().await;
    });
}

/// Section 11: a checkpoint counts as written once its batch is committed, not before.
#[test]
fn who_takes_over_restores_a_user_whose_checkpoint_was_lost_on_its_way() {
    run(|| async {
        let world = World::new(1);
        world.clock.set(MORNING);
        let owner = world.own(0);
        write_one(&world, 0, "a", 0);
        world.all_committed().await;
        world.store.fail_next(Fault::Lost);
        // The look after quiet users decides a batch of checkpoints, and nobody learns of its end.
        world.until("the lane is claimed again", |world| world.store.epoch(Lane(0)) == 2).await;
        write_one(&world, 0, "a", 60);
        world.all_committed().await;
        world.store.check();
        assert_eq!(world.store.users_with_records()["a"], 2);
        owner.leave().await;
    });
}

/// Section 7: read anew from the store, such a user would be without the step.
#[test]
fn a_user_with_a_step_in_flight_stays_in_memory() {
    run(|| async {
        let mut world = World::new(1);
        world.rules.users.live_max = 1;
        world.rules.checkpoint.every_records = 1;
        world.rules.batch.records_max = 1;
        let owner = world.own(0);
        world.all_committed().await;
        world.store.hold(true);
        for (second, user) in ["a", "b", "a"].into_iter().enumerate() {
            write_one(&world, 0, user, i64::try_from(second).unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.store.hold(false);
        world.all_committed().await;
        world.store.check();
        assert_eq!(world.store.users_with_records()["a"], 2);
        owner.leave().await;
    });
}

/// Section 6: a cursor ahead of what is safe would leave it out for ever.
#[test]
fn what_a_sink_did_not_take_is_sent_by_whoever_comes_next() {
    run(|| async {
        let world = World::new(1);
        world.log.down.lock().unwrap().push(Sink::Transitions);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        owner.leave().await;
        let count = world.store.transitions_of("a").len();
        world.log.down.lock().unwrap().clear();
        let owner = world.own(0);
        world
            .until("all have left", |world| world.log.messages(Sink::Transitions).len() == count)
            .await;
        assert!(count > 0);
        owner.leave().await;
    });
}

/// Section 8: committed before it is safe, a record would be lost with the process.
#[test]
fn a_lane_commits_only_when_what_it_forwarded_is_safe() {
    run(|| async {
        let world = World::new(2);
        let user = users_at_home(1, 2, 1).remove(0);
        let owner = world.own(0);
        world.all_committed().await;
        world.senders.freeze(0);
        write_one(&world, 0, &user, 0);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(world.store.positions(Lane(0)).events, 0);
        world.senders.thaw();
        world.until("it is committed", |w| w.store.positions(Lane(0)).events == 1).await;
        owner.leave().await;
    });
}

/// Section 8, turn: without it the second would be applied, and the first dropped as a repeat.
#[test]
fn a_forwarded_record_whose_predecessor_is_missing_waits_until_both_come_again() {
    run(|| async {
        let mut world = World::new(2);
        let user = users_at_home(1, 2, 1).remove(0);
        let home = world.own(1);
        let owner = world.own(0);
        world.senders.freeze(0);
        write_one(&world, 0, &user, 0);
        write_one(&world, 0, &user, 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The first is not delivered, the second is; the process ends over it.
        world.senders.fail(1);
        world.senders.thaw();
        world
            .until("the origin has stopped", |world| {
                let conditions = world.told.conditions.lock().unwrap();
                conditions.iter().any(|(_, told)| matches!(told, Condition::Halted { .. }))
            })
            .await;
        owner.leave().await;
        world.until("the second is dropped", |w| w.store.positions(Lane(1)).by_user == 1).await;
        assert_eq!(world.store.progress(Lane(1)).counts.by_user.skipped, 1);
        world.restart();
        let owner = world.own(0);
        world.until("both are applied", |w| w.store.positions(Lane(1)).by_user == 3).await;
        assert_eq!(world.store.users_with_records()[&user], 2);
        world.store.check();
        owner.leave().await;
        home.leave().await;
    });
}

/// Section 8, in this order: generation, offset, home, turn.
#[test]
fn what_only_looks_forwarded_moves_no_mark() {
    run(|| async {
        let world = World::new(2);
        let (here, elsewhere) =
            (users_at_home(1, 2, 1).remove(0), users_at_home(0, 2, 1).remove(0));
        let owners = [world.own(0), world.own(1)];
        forge(&world, 1, &here, &[]);
        forge(&world, 1, &here, &origin("1", "7", "3", "-1"));
        forge(&world, 1, &here, &origin("2", "0", "900", "-1"));
        forge(&world, 1, &elsewhere, &origin("1", "0", "900", "800"));
        write_story(&world, 0, &here, 0);
        world.until("they are applied", |w| w.store.positions(Lane(1)).by_user == 10).await;
        assert_eq!(reasons(&world), ["misrouted", "misrouted", "misrouted"]);
        let counts = world.store.progress(Lane(1)).counts.by_user;
        assert_eq!((counts.new, counts.skipped), (6, 1));
        world.store.check();
        for owner in owners {
            owner.leave().await;
        }
    });
}

/// Section 8: a process that ended before its commit forwards again.
#[test]
fn a_record_that_is_forwarded_twice_is_applied_once() {
    run(|| async {
        let world = World::new(2);
        let user = users_at_home(1, 2, 1).remove(0);
        let home = world.own(1);
        let owner = world.own(0);
        world.store.fail_next(Fault::Lost);
        write_story(&world, 0, &user, 0);
        world.until("it came twice", |w| w.store.positions(Lane(1)).by_user == 12).await;
        let counts = world.store.progress(Lane(1)).counts.by_user;
        assert_eq!((counts.new, counts.duplicate, counts.skipped), (6, 0, 6));
        world.store.check();
        owner.leave().await;
        home.leave().await;
    });
}

/// Section 4: the store's time orders a lane's records for ever.
#[test]
fn a_clock_that_is_set_back_orders_nothing_anew() {
    run(|| async {
        let world = World::new(1);
        world.clock.set(MORNING + 3_600 * SECOND);
        let owner = world.own(0);
        write_one(&world, 0, "a", 0);
        world.all_committed().await;
        let before = world.store.progress(Lane(0)).stamp;
        world.clock.set(MORNING);
        write_one(&world, 0, "a", 60);
        world.all_committed().await;
        assert!(world.store.progress(Lane(0)).stamp > before);
        owner.leave().await;
    });
}
