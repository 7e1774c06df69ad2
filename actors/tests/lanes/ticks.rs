//! Facts about time that passes: it is told to alerts when all that came is known, and by a clock that two agree on.

use std::time::Duration;

use neuros::time::{Micros, Timestamp};

use crate::facts::{MORNING, event, users_at_home};
use crate::world::{World, run};

/// Half an hour after the morning's events: an alert of theirs rests on readings that are too old.
fn later() -> Timestamp {
    Timestamp::from_micros(MORNING) + Micros::from_minutes(30)
}

/// A user under strain, whose alert has begun.
async fn strained(lanes: i32) -> (World, String) {
    let world = World::new(lanes);
    world.clock.set(MORNING);
    let user = users_at_home(0, lanes, 1).remove(0);
    let (time, value) = event(&user, 0, r#""stress_level":0.95"#);
    world.log.write(0, time, &value);
    (world, user)
}

/// It is later, for the lanes and, so far apart, for the store.
fn pass(world: &World, apart: Micros) {
    world.clock.set(later().as_micros());
    world.store.set_now(Some(later() + apart));
}

fn changes(world: &World) -> usize {
    world.store.look(|tables| tables.alerts.len())
}

#[test]
fn what_is_due_by_time_alone_happens_once() {
    run(|| async {
        let (world, _) = strained(1).await;
        let owner = world.own(0);
        world.all_committed().await;
        assert_eq!(changes(&world), 1, "it fires");
        pass(&world, Micros(0));
        world.until("it is suspended", |world| changes(world) == 2).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(changes(&world), 2);
        let records = world.store.look(|tables| tables.records.len());
        assert_eq!(records, 2, "the event, and one tick");
        world.store.check();
        owner.leave().await;
    });
}

#[test]
fn no_time_passes_while_clocks_disagree() {
    run(|| async {
        let (world, _) = strained(1).await;
        let owner = world.own(0);
        world.all_committed().await;
        pass(&world, Micros::from_minutes(-10));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(changes(&world), 1, "the lane's clock alone says that it is late");
        pass(&world, Micros::from_seconds(20));
        world.until("it is suspended", |world| changes(world) == 2).await;
        owner.leave().await;
    });
}

#[test]
fn no_time_passes_while_a_lane_that_sends_records_on_has_more_to_read() {
    run(|| async {
        let (world, user) = strained(2).await;
        let (home, other) = (world.own(0), world.own(1));
        let (time, value) = event(&user, 1, r#""stress_level":0.96"#);
        world.log.write(1, time, &value);
        world.all_committed().await;
        other.leave().await;
        // What says that the strain goes on is still to be read, elsewhere.
        let (time, value) = event(&user, 30 * 60, r#""stress_level":0.97"#);
        world.log.write(1, time, &value);
        pass(&world, Micros(0));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(changes(&world), 1, "nobody knows yet");
        let other = world.own(1);
        world.all_committed().await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(changes(&world), 1, "fresh readings have come: nothing is suspended");
        home.leave().await;
        other.leave().await;
    });
}
