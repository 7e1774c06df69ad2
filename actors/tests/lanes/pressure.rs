//! Facts about a lane that gets more than its store takes: it stops reading, and goes on later.

use std::time::Duration;

use actors::lane::Lane;
use actors::ports::BatchRules;

use crate::facts::event;
use crate::world::{World, run};

/// More events than the batches in flight may hold, by far.
const EVENTS: i64 = 1_000;

/// Lets a lane with these rules run into a store that stands still for a while, and on when it goes
/// again; gives how many records, and how many bytes of them, the lane had taken by then, and the bytes
/// of an event.
async fn run_into_a_halted_store(batch: BatchRules) -> ([usize; 2], usize) {
    let mut world = World::new(1);
    world.rules.batch = batch;
    let owner = world.own(0);
    world.all_committed().await;
    world.store.hold(true);
    let mut bytes = 0;
    for second in 0..EVENTS {
        let (time, value) = event("a", second, r#""heart_rate":60"#);
        world.log.write(0, time, &value);
        bytes = value.len();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let given = world.log.given();
    world.store.hold(false);
    world.all_committed().await;
    world.store.check();
    assert_eq!(world.store.users_with_records()["a"], EVENTS);
    assert_eq!(world.log.given()[0], 1_000, "each is read once");
    owner.leave().await;
    (given, bytes)
}

#[test]
fn while_the_store_stands_still_a_lane_reads_no_more_than_its_batches_in_flight() {
    run(|| async {
        for in_flight_max in [1, 3] {
            let rules = BatchRules { records_max: 8, in_flight_max, ..BatchRules::default() };
            let ([records, _], _) = run_into_a_halted_store(rules).await;
            assert_eq!(records, 8 * in_flight_max);
        }
    });
}

#[test]
fn a_lane_with_much_to_read_shows_something_soon() {
    run(|| async {
        const MANY: i64 = 4_000;
        let mut world = World::new(1);
        world.rules.batch = BatchRules::default();
        for second in 0..MANY {
            let (time, value) = event("a", second, r#""heart_rate":60"#);
            world.log.write(0, time, &value);
        }
        world.store.hold(true);
        let owner = world.own(0);
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.store.hold(false);
        world.all_committed().await;
        assert_eq!(world.store.users_with_records()["a"], MANY);
        let batches = world.store.progress(Lane(0)).batch;
        assert_eq!(batches, 3, "of 1,024, 2,048 and the other records");
        owner.leave().await;
    });
}

#[test]
fn behind_a_commit_that_takes_long_small_batches_become_one() {
    run(|| async {
        for (pipelined_from, batches) in [(1, 4), (5, 2)] {
            let mut world = World::new(1);
            world.rules.batch = BatchRules { pipelined_from, ..BatchRules::default() };
            let owner = world.own(0);
            world.all_committed().await;
            let before = world.store.progress(Lane(0)).batch;
            world.store.hold(true);
            for second in 0..5 {
                let (time, value) = event("a", second, r#""heart_rate":60"#);
                world.log.write(0, time, &value);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            world.store.hold(false);
            world.all_committed().await;
            assert_eq!(world.store.users_with_records()["a"], 5);
            let found = world.store.progress(Lane(0)).batch - before;
            assert_eq!(
                found, batches,
                "batches that follow each other from {pipelined_from} records on"
            );
            owner.leave().await;
        }
    });
}

#[test]
fn a_lane_counts_what_it_reads_in_bytes_too() {
    run(|| async {
        let (bytes_max, in_flight_max) = (2_000, 3);
        let rules = BatchRules { bytes_max, in_flight_max, ..BatchRules::default() };
        let ([_, bytes], event) = run_into_a_halted_store(rules).await;
        let bounds = in_flight_max * bytes_max..in_flight_max * (bytes_max + event);
        assert!(bounds.contains(&bytes), "{bytes} bytes of {event} each, not in {bounds:?}");
    });
}
