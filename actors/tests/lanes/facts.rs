//! Facts about lanes.

use std::time::Duration;

use actors::home::home;
use actors::lane::Lane;
use actors::observe::{CommitFailure, Condition};
use actors::person::{Applied, Person};
use actors::rows::Sink;
use neuros::event::Record;
use neuros::{Outcome, Policy};

use crate::world::{Fault, World, run};

/// 2025-03-03T08:00:00Z, µs since 1970.
pub(crate) const MORNING: i64 = 1_740_988_800_000_000;
pub(crate) const SECOND: i64 = 1_000_000;

pub(crate) fn event(user: &str, second: i64, metrics: &str) -> (i64, String) {
    let time = MORNING + second * SECOND;
    let seconds = time / SECOND;
    let value = format!(
        r#"{{"user_id":"{user}","device_id":"d","event_type":"vitals","timestamp":{seconds},"metrics":{{{metrics}}}}}"#
    );
    (time, value)
}

/// Calm, then critical stress, then calm again: two mode changes at least.
pub(crate) fn write_story(world: &World, lane: i32, user: &str, from: i64) {
    for second in 0..6 {
        let stress = if second == 3 { "0.95" } else { "0.2" };
        let metrics = format!(r#""heart_rate":{},"stress_level":{stress}"#, 60 + second);
        let (time, value) = event(user, from + second * 60, &metrics);
        world.log.write(lane, time, &value);
    }
}

pub(crate) fn users_at_home(lane: i32, lanes: i32, count: usize) -> Vec<String> {
    let names = (0..).map(|number| format!("user-{number}"));
    names.filter(|name| home(name, lanes) == Lane(lane)).take(count).collect()
}

#[test]
fn records_become_states_transitions_and_messages() {
    run(|| async {
        let world = World::new(1);
        world.clock.set(MORNING);
        let owner = world.own(0);
        for user in ["a", "b", "c"] {
            write_story(&world, 0, user, 0);
        }
        world.all_committed().await;
        world
            .until("messages left", |world| world.log.messages(Sink::Transitions).len() >= 3)
            .await;
        world.store.check();
        let users = world.store.users_with_records();
        assert_eq!(users.len(), 3);
        assert!(users.values().all(|newest| *newest == 6));
        let first = &world.log.messages(Sink::Transitions)[0];
        assert_eq!(first["mode"], "reflex");
        assert_eq!((&first["n"], &first["seq"]), (&1.into(), &1.into()));
        let alert = &world.log.messages(Sink::Alerts)[0];
        assert_eq!((&alert["status"], &alert["n"]), (&"firing".into(), &2.into()));
        owner.leave().await;
    });
}

#[test]
fn what_is_too_old_to_change_a_mode_is_applied_and_is_no_evaluation() {
    run(|| async {
        let world = World::new(1);
        world.clock.set(MORNING);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        let (_, yesterday) = event("a", -86_400, "\"heart_rate\":60");
        world.log.write(0, MORNING + 400 * SECOND, &yesterday);
        world.all_committed().await;
        assert_eq!(*world.told.applied.lock().unwrap(), 7);
        assert_eq!(*world.told.evaluations.lock().unwrap(), 6);
        owner.leave().await;
    });
}

#[test]
fn a_record_off_its_home_is_applied_there_once() {
    run(|| async {
        let world = World::new(2);
        let owners = [world.own(0), world.own(1)];
        let user = users_at_home(1, 2, 1).remove(0);
        write_story(&world, 0, &user, 0);
        write_story(&world, 1, &user, 600);
        world.all_committed().await;
        world
            .until("forwarded records are applied", |world| {
                world.store.users_with_records().get(&user) == Some(&12)
            })
            .await;
        world.all_committed().await;
        world.store.check();
        assert_eq!(world.store.progress(Lane(0)).counts.events.forwarded, 6);
        assert_eq!(world.store.progress(Lane(1)).counts.by_user.new, 6);
        for owner in owners {
            owner.leave().await;
        }
    });
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_and_the_lane_goes_on() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        world.log.write(0, MORNING, "not json");
        world.log.write(0, MORNING, r#"{"user_id":"a"}"#);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        world
            .until("dead letters left", |world| {
                let published = world.log.published.lock().unwrap();
                published.iter().filter(|(sink, _)| *sink == Sink::DeadLetters).count() == 2
            })
            .await;
        world.store.check();
        let (_, first) = {
            let published = world.log.published.lock().unwrap();
            published.iter().find(|(sink, _)| *sink == Sink::DeadLetters).unwrap().clone()
        };
        assert_eq!(first.value.as_ref().unwrap().expose(), b"not json");
        let reason = first.headers.iter().find(|(name, _)| name == "dlq.reason").unwrap();
        assert_eq!(reason.1.as_deref(), Some(b"not_json".as_slice()));
        owner.leave().await;
    });
}

#[test]
fn a_commit_that_fails_or_whose_answer_is_lost_neither_loses_nor_doubles() {
    for fault in [Fault::Away, Fault::Ghost, Fault::Lost] {
        run(|| async move {
            let world = World::new(1);
            let owner = world.own(0);
            write_story(&world, 0, "a", 0);
            world.all_committed().await;
            world.store.fail_next(fault);
            write_story(&world, 0, "a", 600);
            write_story(&world, 0, "b", 600);
            world.all_committed().await;
            world.store.check();
            let users = world.store.users_with_records();
            assert_eq!((users["a"], users["b"]), (12, 6), "{fault:?}");
            // Of a batch whose answer was lost the next claim finds out what became of it.
            world.until("each is counted", |w| *w.told.applied.lock().unwrap() >= 18).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(*world.told.applied.lock().unwrap(), 18, "{fault:?}: each is counted once");
            owner.leave().await;
        });
    }
}

#[test]
fn a_fenced_owner_writes_nothing_and_claims_again() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        world.store.steal(Lane(0));
        write_story(&world, 0, "a", 600);
        world.all_committed().await;
        world.store.check();
        assert!(world.told.failures.lock().unwrap().contains(&CommitFailure::Fenced));
        owner.leave().await;
    });
}

#[test]
fn a_new_owner_goes_on_where_the_old_one_was_checkpoints_or_not() {
    for delete in [false, true] {
        run(|| async move {
            let world = World::new(1);
            let owner = world.own(0);
            write_story(&world, 0, "a", 0);
            write_story(&world, 0, "b", 0);
            world.all_committed().await;
            owner.leave().await;
            if delete {
                world.store.delete_checkpoints();
            }
            let owner = world.own(0);
            write_story(&world, 0, "a", 7_200);
            world.all_committed().await;
            world.store.check();
            let transitions = world.store.transitions_of("a");
            let seqs: Vec<i64> = transitions.iter().map(|(seq, _)| *seq).collect();
            let expected: Vec<i64> = (1..=i64::try_from(seqs.len()).unwrap()).collect();
            assert_eq!(seqs, expected);
            assert!(seqs.len() >= 2);
            assert_eq!(*world.told.rebuilt.lock().unwrap() > 0, delete);
            owner.leave().await;
        });
    }
}

#[test]
fn a_sink_that_is_down_delays_only_itself_and_catches_up() {
    run(|| async {
        let world = World::new(1);
        world.log.down.lock().unwrap().push(Sink::Transitions);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        world.until("alerts left", |world| !world.log.messages(Sink::Alerts).is_empty()).await;
        assert!(world.log.messages(Sink::Transitions).is_empty());
        world.log.down.lock().unwrap().clear();
        world
            .until("transitions left", |world| !world.log.messages(Sink::Transitions).is_empty())
            .await;
        owner.leave().await;
    });
}

#[test]
fn quiet_users_get_their_checkpoint_without_another_record() {
    run(|| async {
        let world = World::new(1);
        world.clock.set(MORNING);
        let owner = world.own(0);
        let (time, value) = event("a", 0, r#""heart_rate":60"#);
        world.log.write(0, time, &value);
        world.all_committed().await;
        let progress = world.store.progress(Lane(0));
        assert!(progress.checkpointed < progress.stamp);
        world.clock.set(MORNING + 60 * SECOND);
        world
            .until("the checkpoint is written", |world| {
                let progress = world.store.progress(Lane(0));
                progress.checkpointed == progress.stamp
            })
            .await;
        owner.leave().await;
    });
}

#[test]
fn an_owner_that_leaves_says_so_last() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        world.all_committed().await;
        owner.leave().await;
        let conditions = world.told.conditions.lock().unwrap();
        assert_eq!(conditions.last(), Some(&(Lane(0), Condition::Left)));
    });
}

#[test]
fn a_commit_that_outlives_its_owner_tells_nothing_of_the_lane() {
    for fault in [None, Some(Fault::Away), Some(Fault::Lost)] {
        run(|| async move {
            let world = World::new(1);
            let owner = world.own(0);
            world.all_committed().await;
            world.store.hold(true);
            write_story(&world, 0, "a", 0);
            tokio::time::sleep(Duration::from_secs(1)).await;
            fault.into_iter().for_each(|fault| world.store.fail_next(fault));
            owner.leave().await;
            world.store.hold(false);
            tokio::time::sleep(Duration::from_secs(30)).await;
            let conditions = world.told.conditions.lock().unwrap();
            assert_eq!(conditions.last(), Some(&(Lane(0), Condition::Left)), "{fault:?}");
        });
    }
}

pub(crate) fn panics_over_poison(
    person: &mut Person,
    policy: &Policy,
    record: &Record<'_>,
    outcomes: &mut Vec<Outcome>,
) -> Applied {
    assert!(record.event_type != "poison", "told so");
    person.apply(policy, record, outcomes)
}

pub(crate) fn write_poison(world: &World, user: &str, second: i64) {
    let (time, value) = event(user, second, r#""heart_rate":60"#);
    world.log.write(0, time, &value.replace("vitals", "poison"));
}

#[test]
fn a_user_whose_evaluation_panics_is_quarantined_and_the_others_go_on() {
    run(|| async {
        let mut world = World::new(1);
        world.rules.evaluate = panics_over_poison;
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        write_poison(&world, "a", 500);
        write_story(&world, 0, "a", 600);
        write_story(&world, 0, "b", 600);
        world.all_committed().await;
        world.store.check();
        let users = world.store.users_with_records();
        assert_eq!((users["a"], users["b"]), (6, 6));
        assert!(world.store.is_quarantined("a") && !world.store.is_quarantined("b"));
        assert_eq!(world.store.progress(Lane(0)).counts.events.dead_letter, 7);
        owner.leave().await;
        // The flag outlives the owner.
        let owner = world.own(0);
        write_story(&world, 0, "a", 1_200);
        world.all_committed().await;
        assert_eq!(world.store.progress(Lane(0)).counts.events.dead_letter, 13);
        owner.leave().await;
    });
}

#[test]
fn a_release_over_which_too_many_panic_stops_the_lane_instead() {
    run(|| async {
        let mut world = World::new(1);
        world.rules.evaluate = panics_over_poison;
        world.rules.quarantines_per_minute = 2;
        let owner = world.own(0);
        for user in ["a", "b", "c", "d"] {
            write_poison(&world, user, 0);
        }
        world
            .until("the lane has stopped", |world| {
                let conditions = world.told.conditions.lock().unwrap();
                matches!(conditions.last(), Some((_, Condition::Halted { .. })))
            })
            .await;
        owner.leave().await;
    });
}

#[test]
fn idle_users_leave_memory_and_come_back_as_they_were() {
    run(|| async {
        let mut world = World::new(1);
        world.rules.users.idle_after = Duration::from_secs(30);
        world.clock.set(MORNING);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        // Checkpoints first: nobody leaves whose newest records only memory has.
        for minute in 1..5 {
            world.clock.set(MORNING + minute * 60 * SECOND);
            tokio::time::sleep(Duration::from_secs(60)).await;
            write_story(&world, 0, "b", minute * 600);
            world.all_committed().await;
        }
        world.until("only b is in memory", |world| *world.told.live.lock().unwrap() == 1).await;
        write_story(&world, 0, "a", 7_200);
        world.all_committed().await;
        world.store.check();
        assert_eq!(world.store.users_with_records()["a"], 12);
        owner.leave().await;
    });
}

#[test]
fn a_forwarded_record_that_is_lost_stops_its_home_instead_of_being_passed_over() {
    run(|| async {
        let world = World::new(2);
        let owners = [world.own(0), world.own(1)];
        let user = users_at_home(1, 2, 1).remove(0);
        write_story(&world, 0, &user, 0);
        world.all_committed().await;
        *world.log.loses_next.lock().unwrap() = true;
        write_story(&world, 0, &user, 600);
        world
            .until("the home has stopped", |world| {
                let conditions = world.told.conditions.lock().unwrap();
                let stopped = |(lane, condition): &(Lane, Condition)| {
                    *lane == Lane(1) && matches!(condition, Condition::Halted { .. })
                };
                conditions.iter().any(stopped)
            })
            .await;
        world.store.check();
        assert_eq!(world.store.users_with_records()[&user], 6);
        for owner in owners {
            owner.leave().await;
        }
    });
}
