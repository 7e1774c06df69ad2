//! Facts about where logs begin and end: what lies below the one and above the other nobody reads by accident,
//! and what was forwarded before a topic was made anew is not lost with it.

use actors::lane::{ClosedGeneration, Lane, Source};
use actors::ports::BelowStart;

use crate::clauses::{forge, origin, write_one};
use crate::facts::users_at_home;
use crate::world::store::gaps::Gap;
use crate::world::{World, run};

/// A lane whose owner has gone with four records read; four more have come, and retention has taken
/// all but the last two.
async fn below_the_start() -> World {
    let world = World::new(1);
    let owner = world.own(0);
    for second in 0..4 {
        write_one(&world, 0, "a", second);
    }
    world.all_committed().await;
    owner.leave().await;
    for second in 4..8 {
        write_one(&world, 0, "a", second);
    }
    world.log.retain_from(Lane(0), Source::Events, 6);
    world
}

/// Section 2: else records would be passed over, and nobody knew.
#[test]
fn a_lane_whose_position_retention_has_passed_stops_and_says_so() {
    run(|| async {
        let world = below_the_start().await;
        let owner = world.own(0);
        let problem = world.halted(0).await;
        assert!(problem.contains("begins at 6, above the position 4"), "{problem}");
        assert!(problem.contains("retention"), "{problem}");
        assert_eq!(world.store.positions(Lane(0)).events, 4);
        assert_eq!((world.store.users_with_records()["a"], world.store.gaps().len()), (4, 0));
        owner.leave().await;
    });
}

#[test]
fn where_the_policy_says_so_it_goes_on_from_the_earliest_and_the_gap_is_written_down() {
    run(|| async {
        let mut world = below_the_start().await;
        world.rules.below_start = BelowStart::Earliest;
        let owner = world.own(0);
        world.all_committed().await;
        assert_eq!(world.store.users_with_records()["a"], 6);
        let gap = Gap { lane: Lane(0), source: Source::Events, from: 4, to: 6 };
        assert_eq!(world.store.gaps(), [gap]);
        owner.leave().await;
    });
}

/// With the marks as they were, all that comes would wait for ever for what is gone.
#[test]
fn after_a_gap_in_what_was_forwarded_whatever_comes_then_is_applied() {
    run(|| async {
        let mut world = World::new(2);
        world.rules.below_start = BelowStart::Earliest;
        let user = users_at_home(1, 2, 1).remove(0);
        let owner = world.own(0);
        write_one(&world, 0, &user, 0);
        write_one(&world, 0, &user, 1);
        world.until("both are forwarded", |w| w.store.positions(Lane(0)).events == 2).await;
        world.log.retain_from(Lane(1), Source::ByUser, 2);
        let other = world.own(1);
        for second in 10..20 {
            write_one(&world, 0, &user, second);
        }
        world
            .until("the rest is applied", |world| {
                world.store.users_with_records().get(&user) == Some(&10)
            })
            .await;
        let gap = Gap { lane: Lane(1), source: Source::ByUser, from: 0, to: 2 };
        assert_eq!(world.store.gaps(), [gap]);
        owner.leave().await;
        other.leave().await;
    });
}

/// Section 2: another log's records would be taken for those behind the position.
#[test]
fn a_lane_whose_log_ends_below_its_position_stops_and_names_the_cure() {
    run(|| async {
        let mut world = below_the_start().await;
        world.rules.below_start = BelowStart::Earliest;
        world.log.make_anew(Source::Events, 0);
        write_one(&world, 0, "a", 60);
        let owner = world.own(0);
        let problem = world.halted(0).await;
        assert!(problem.contains("ends at 1, below the position 4"), "{problem}");
        assert!(problem.contains("topics adopt"), "{problem}");
        assert_eq!((world.store.users_with_records()["a"], world.store.gaps().len()), (4, 0));
        owner.leave().await;
    });
}

/// Section 2: the origin will not forward them again, its records are gone.
#[test]
fn what_was_forwarded_before_an_adoption_is_applied_in_turn_and_what_did_not_count_is_not() {
    run(|| async {
        let mut world = World::new(2);
        let user = users_at_home(1, 2, 1).remove(0);
        let owner = world.own(0);
        for second in 0..3 {
            write_one(&world, 0, &user, second);
        }
        world.until("they are forwarded", |w| w.store.positions(Lane(0)).events == 3).await;
        owner.leave().await;
        world.adopt(0).await;
        // One comes again; one was forwarded and not committed, as its origin knows.
        forge(&world, 1, &user, &origin("1", "0", "1", "0"));
        forge(&world, 1, &user, &origin("1", "0", "3", "2"));
        let owners = [world.own(0), world.own(1)];
        // The new topic's offsets are those of the old one.
        write_one(&world, 0, &user, 300);
        world.until("all is read", |w| w.store.positions(Lane(1)).by_user == 6).await;
        let progress = world.store.progress(Lane(1));
        assert_eq!((progress.counts.by_user.new, progress.counts.by_user.skipped), (4, 2));
        let (marks, last) = ([(0, 2)].into(), [(0, 2)].into());
        assert_eq!(progress.closed, Some(ClosedGeneration { generation: 1, marks, last }));
        assert_eq!(progress.marks, [(0, 0)].into());
        assert_eq!(world.store.users_with_records()[&user], 4);
        for owner in owners {
            owner.leave().await;
        }
    });
}

/// Section 2, in turn: applied at once, the second would keep out the first.
#[test]
fn what_is_out_of_turn_in_a_closed_generation_is_applied_when_it_comes_again() {
    run(|| async {
        let mut world = World::new(2);
        let user = users_at_home(1, 2, 1).remove(0);
        let owner = world.own(0);
        world.senders.freeze(0);
        write_one(&world, 0, &user, 0);
        write_one(&world, 0, &user, 1);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        // The first is not delivered, the second is; the next process sends both.
        world.senders.fail(1);
        world.senders.thaw();
        world.halted(0).await;
        owner.leave().await;
        world.restart();
        let owner = world.own(0);
        world.until("they are forwarded", |w| w.store.positions(Lane(0)).events == 2).await;
        owner.leave().await;
        world.adopt(0).await;
        let home = world.own(1);
        world.until("all is read", |w| w.store.positions(Lane(1)).by_user == 3).await;
        let counts = world.store.progress(Lane(1)).counts.by_user;
        assert_eq!((counts.new, counts.skipped), (2, 1));
        home.leave().await;
    });
}
