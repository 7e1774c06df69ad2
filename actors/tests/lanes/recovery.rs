//! Facts about what is restored, passed over or resumed after something went wrong.

use std::time::Duration;

use actors::lane::Lane;

use crate::facts::{MORNING, SECOND, event, users_at_home, write_story};
use crate::world::{World, run};

/// Another engine than this release has.
const OTHER_ENGINE: i16 = 99;

fn write_one(world: &World, lane: i32, user: &str, second: i64) {
    let (time, value) = event(user, second, r#""heart_rate":60"#);
    world.log.write(lane, time, &value);
}

#[test]
fn nobody_leaves_memory_while_their_checkpoint_is_on_its_way() {
    run(|| async {
        let mut world = World::new(1);
        world.rules.users.live_max = 10;
        world.rules.checkpoint.every_records = 100;
        let owner = world.own(0);
        for number in 0..12 {
            write_one(&world, 0, &format!("u{number}"), 0);
            world.all_committed().await;
        }
        world.store.hold(true);
        // The look after quiet users decides a batch of checkpoints, whose commit is slow.
        tokio::time::sleep(Duration::from_secs(8)).await;
        write_one(&world, 0, "u0", 60);
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.store.hold(false);
        world.all_committed().await;
        world.store.check();
        owner.leave().await;
    });
}

#[test]
fn records_of_a_user_who_cannot_be_restored_are_kept_for_a_release_that_can() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_one(&world, 0, "a", 0);
        write_one(&world, 0, "a", 1);
        world.all_committed().await;
        world.store.steal(Lane(0));
        owner.leave().await;
        world.store.decided_by("a", OTHER_ENGINE);
        let owner = world.own(0);
        write_one(&world, 0, "b", 10);
        world.all_committed().await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        owner.leave().await;
        world.store.decided_by("a", neuros::ENGINE_VERSION.cast_signed());
        let owner = world.own(0);
        write_one(&world, 0, "a", 70);
        world.all_committed().await;
        world.store.check();
        assert_eq!(world.store.users_with_records()["a"], 3);
        owner.leave().await;
    });
}

#[test]
fn a_user_who_cannot_be_restored_holds_up_nobody_else() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        for second in 0..4 {
            write_one(&world, 0, "a", second);
            world.all_committed().await;
        }
        owner.leave().await;
        world.store.delete_checkpoints();
        world.store.decided_by("a", OTHER_ENGINE);
        let before = world.store.epoch(Lane(0));
        let owner = world.own(0);
        write_one(&world, 0, "a", 10);
        write_one(&world, 0, "b", 10);
        world.all_committed().await;
        assert!(world.store.epoch(Lane(0)) - before <= 3);
        assert_eq!(world.store.users_with_records()["b"], 1);
        assert_eq!(world.store.progress(Lane(0)).counts.events.dead_letter, 1);
        owner.leave().await;
    });
}

#[test]
fn a_record_that_its_origin_decides_otherwise_about_after_a_crash_leaves_no_gap() {
    run(|| async {
        let mut world = World::new(2);
        let user = users_at_home(1, 2, 1).remove(0);
        world.store.hold(true);
        let owner = world.own(0);
        // Forwarded, and not committed.
        let (time, value) = event(&user, 60, r#""heart_rate":60"#);
        let padding = format!(r#""padding":"{}","user_id""#, "x".repeat(400));
        world.log.write(0, time, &value.replacen(r#""user_id""#, &padding, 1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        owner.leave().await;
        world.store.steal(Lane(0));
        world.store.hold(false);
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Now it is too large to be sent on, and becomes a dead letter.
        world.restart();
        std::sync::Arc::get_mut(&mut world.senders).unwrap().forward_bytes_max = 450;
        let owners = [world.own(0), world.own(1)];
        for second in 100..110 {
            write_one(&world, 0, &user, second);
        }
        // What had reached its home before the crash is applied there, and what comes then too.
        world
            .until("the rest is applied", |world| {
                world.store.progress(Lane(1)).counts.by_user.new == 11
            })
            .await;
        for owner in owners {
            owner.leave().await;
        }
    });
}

#[test]
fn a_record_that_its_origin_refused_before_a_crash_and_takes_after_it_is_not_lost() {
    run(|| async {
        let mut world = World::new(2);
        let user = users_at_home(1, 2, 1).remove(0);
        // A minute ahead of its arrival is too far for the first owner, whose batch is not committed.
        world.rules.wire.future_max = neuros::time::Micros(0);
        world.store.hold(true);
        let owner = world.own(0);
        let (time, value) = event(&user, 60, r#""heart_rate":60"#);
        world.log.write(0, time - 60 * SECOND, &value);
        write_one(&world, 0, &user, 100);
        tokio::time::sleep(Duration::from_secs(1)).await;
        owner.leave().await;
        world.store.steal(Lane(0));
        world.store.hold(false);
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.rules.wire.future_max = neuros::time::Micros(300 * SECOND);
        let owners = [world.own(0), world.own(1)];
        world.until("both are committed", |w| w.store.positions(Lane(0)).events == 2).await;
        world.all_committed().await;
        assert_eq!(world.store.users_with_records()[&user], 2);
        world.store.check();
        for owner in owners {
            owner.leave().await;
        }
    });
}

#[test]
fn an_owner_that_leaves_writes_everybodys_checkpoint() {
    run(|| async {
        let world = World::new(1);
        world.clock.set(MORNING);
        let owner = world.own(0);
        for user in ["a", "b", "c"] {
            write_story(&world, 0, user, 0);
            write_one(&world, 0, user, 900);
        }
        world.all_committed().await;
        owner.leave().await;
        let progress = world.store.progress(Lane(0));
        assert_eq!(progress.checkpointed, progress.stamp);
    });
}

/// One user's lane after nine records: bases after the third and the sixth, no checkpoint, no owner.
async fn with_bases(world: &World) {
    let owner = world.own(0);
    for second in 0..9 {
        write_one(world, 0, "a", second);
        world.all_committed().await;
        if second == 2 || second == 5 {
            world.store.keep_base("a");
        }
    }
    owner.leave().await;
    world.store.delete_checkpoints();
}

/// Somebody owns the lane, and a tenth record is applied to the state that eight others led to.
async fn goes_on(world: &World) {
    let owner = world.own(0);
    write_one(world, 0, "a", 10);
    world.all_committed().await;
    assert_eq!(world.store.users_with_records()["a"], 10);
    assert!(!world.store.is_quarantined("a"));
    owner.leave().await;
}

#[test]
fn a_base_that_is_kept_and_whose_records_go_while_a_user_is_rebuilt_does_no_harm() {
    run(|| async {
        let world = World::new(1);
        with_bases(&world).await;
        let newer = world.store.take_bases("a", 6).remove(0);
        world.store.drop_records("a", 3);
        world.store.tidy_between("a", newer);
        goes_on(&world).await;
    });
}

#[test]
fn a_base_that_does_not_open_makes_way_for_the_one_before_it() {
    run(|| async {
        let world = World::new(1);
        with_bases(&world).await;
        world.store.drop_records("a", 3);
        world.store.damage_bases("a", 6);
        goes_on(&world).await;
    });
}

#[test]
fn without_a_base_that_opens_a_state_is_rebuilt_from_the_first_record() {
    run(|| async {
        let world = World::new(1);
        with_bases(&world).await;
        world.store.damage_bases("a", 0);
        goes_on(&world).await;
    });
}
