//! Facts about commands: what operators ask of a lane takes its place among the records.

use actors::command::{Letters, Order, REBUILT_ANOTHER, REBUILT_THE_SAME};
use actors::dead_letter::Letter;
use actors::lane::Lane;
use actors::rows::Fate;

use crate::facts::{event, panics_over_poison, users_at_home, write_poison, write_story};
use crate::world::{Fault, World, run};

const STORY: usize = 6;

/// A world in which `a` is in quarantine with `stories` stories behind the poison.
async fn quarantined(stories: i64) -> World {
    let mut world = World::new(1);
    let healthy = world.rules.evaluate;
    world.rules.evaluate = panics_over_poison;
    let owner = world.own(0);
    write_story(&world, 0, "a", 0);
    write_poison(&world, "a", 500);
    for story in 0..stories {
        write_story(&world, 0, "a", 600 + story * 600);
    }
    write_story(&world, 0, "b", 0);
    world.all_committed().await;
    owner.leave().await;
    world.rules.evaluate = healthy;
    world
}

async fn carried_out(world: &World, commands: usize) {
    world
        .until("the commands are carried out", |world| world.store.outcomes().len() == commands)
        .await;
}

fn release(user_id: &str) -> Order {
    Order::Release { user_id: user_id.to_owned() }
}

#[test]
fn a_release_applies_what_waited_in_order_and_then_lifts_the_flag() {
    run(|| async {
        let world = quarantined(20).await;
        let owner = world.own(0);
        world.store.command(Lane(0), 1, &release("a"));
        carried_out(&world, 1).await;
        assert_eq!(world.store.outcomes(), ["released"]);
        assert!(!world.store.is_quarantined("a"));
        write_story(&world, 0, "a", 20_000);
        world.all_committed().await;
        world.store.check();
        let offsets = world.store.offsets_of("a");
        assert_eq!(offsets.len(), 22 * STORY + 1);
        assert!(offsets.is_sorted(), "{offsets:?}");
        assert!(world.store.fates().iter().all(|fate| *fate == Fate::Applied));
        assert_eq!(world.store.letters_left(), []);
        owner.leave().await;
    });
}

#[test]
fn records_that_arrive_during_a_release_wait_behind_those_before_them() {
    run(|| async {
        let world = quarantined(40).await;
        let owner = world.own(0);
        world.store.command(Lane(0), 1, &release("a"));
        let fates = |world: &World| world.store.fates().len();
        world.until("the release has begun", |world| fates(world) > 0).await;
        for story in 0..3 {
            write_story(&world, 0, "a", 40_000 + story * 600);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        carried_out(&world, 1).await;
        world.all_committed().await;
        world.store.check();
        let offsets = world.store.offsets_of("a");
        assert_eq!(offsets.len(), 44 * STORY + 1);
        assert!(offsets.is_sorted(), "{offsets:?}");
        owner.leave().await;
    });
}

#[test]
fn a_release_that_is_cut_off_is_finished_by_the_next_owner() {
    run(|| async {
        let world = quarantined(40).await;
        for fault in [Fault::Ghost, Fault::Lost, Fault::Away] {
            world.store.fail_next(fault);
        }
        let owner = world.own(0);
        world.store.command(Lane(0), 1, &release("a"));
        world.until("a part is committed", |world| !world.store.fates().is_empty()).await;
        world.store.steal(Lane(0));
        owner.leave().await;
        let owner = world.own(0);
        carried_out(&world, 1).await;
        world.store.check();
        assert_eq!(world.store.offsets_of("a").len(), 41 * STORY + 1);
        assert_eq!(world.store.fates().len(), 40 * STORY + 1);
        owner.leave().await;
    });
}

#[test]
fn a_record_that_still_fails_keeps_the_quarantine_until_it_is_discarded() {
    run(|| async {
        let mut world = quarantined(2).await;
        world.rules.evaluate = panics_over_poison;
        let owner = world.own(0);
        world.store.command(Lane(0), 1, &release("a"));
        carried_out(&world, 1).await;
        assert!(world.store.outcomes()[0].contains("cannot be evaluated"));
        assert!(world.store.is_quarantined("a"));
        let poison = world.store.letters_left()[0];
        world.store.command(
            Lane(0),
            2,
            &Order::Discard(Letters::of([poison, Letter { number: 99, ..poison }])),
        );
        world.store.command(Lane(0), 3, &release("a"));
        carried_out(&world, 3).await;
        assert_eq!(world.store.outcomes()[1..], ["1 discarded; 1 were not there", "released"]);
        assert!(!world.store.is_quarantined("a"));
        world.store.check();
        assert_eq!(world.store.offsets_of("a").len(), 3 * STORY);
        owner.leave().await;
    });
}

#[test]
fn a_release_of_nobody_says_so() {
    run(|| async {
        let world = quarantined(0).await;
        let owner = world.own(0);
        world.store.command(Lane(0), 1, &release("b"));
        world.store.command(Lane(0), 2, &release("nobody"));
        carried_out(&world, 2).await;
        assert!(world.store.outcomes().iter().all(|said| said.contains("not in quarantine")));
        owner.leave().await;
    });
}

#[test]
fn a_redrive_applies_what_is_accepted_now_and_leaves_the_rest() {
    run(|| async {
        let mut world = World::new(1);
        let wire = world.rules.wire.clone();
        world.rules.wire.bytes_max = 200;
        let owner = world.own(0);
        let (time, value) = event("a", 0, r#""heart_rate":60"#);
        world.log.write(0, time, &value);
        // The same once more, in a form that is too long for now.
        world.log.write(0, time, &format!("{value}{}", " ".repeat(200)));
        let (later, longer) = event("a", 60, r#""heart_rate":61"#);
        world.log.write(0, later, &format!("{longer}{}", " ".repeat(200)));
        world.log.write(0, later, "no event");
        world.all_committed().await;
        owner.leave().await;
        world.rules.wire = wire;
        let owner = world.own(0);
        let letters = world.store.letters_left();
        assert_eq!(letters.len(), 3);
        world.store.command(Lane(0), 1, &Order::Redrive(Letters::of(letters)));
        carried_out(&world, 1).await;
        assert_eq!(world.store.outcomes(), ["2 applied, 1 stay"]);
        assert_eq!(world.store.fates(), [Fate::Duplicate, Fate::Applied]);
        assert_eq!(world.store.users_with_records()["a"], 2);
        assert_eq!(world.store.letters_left().len(), 1);
        world.store.check();
        owner.leave().await;
    });
}

#[test]
fn what_lives_on_another_lane_stays_and_is_said_to() {
    run(|| async {
        let mut world = World::new(2);
        let wire = world.rules.wire.clone();
        world.rules.wire.bytes_max = 200;
        let owners = [world.own(0), world.own(1)];
        let user = users_at_home(1, 2, 1).remove(0);
        let (time, value) = event(&user, 0, r#""heart_rate":60"#);
        world.log.write(0, time, &format!("{value}{}", " ".repeat(200)));
        world.all_committed().await;
        for owner in owners {
            owner.leave().await;
        }
        world.rules.wire = wire;
        let owner = world.own(0);
        let letters = world.store.letters_left();
        world.store.command(Lane(0), 1, &Order::Redrive(Letters::of(letters)));
        carried_out(&world, 1).await;
        let outcome = world.store.outcomes().remove(0);
        assert!(outcome.starts_with("0 applied, 1 stay, 1 of them"), "{outcome}");
        owner.leave().await;
    });
}

/// In the order in which they failed, at the user's home of today, once.
#[test]
fn letters_that_another_lane_has_read_are_applied_where_their_user_lives_now() {
    run(|| async {
        let mut world = World::new(2);
        let wire = world.rules.wire.clone();
        world.rules.wire.bytes_max = 200;
        let owners = [world.own(0), world.own(1)];
        let user = users_at_home(1, 2, 1).remove(0);
        for second in 0..3 {
            let (time, value) = event(&user, second * 60, r#""heart_rate":60"#);
            world.log.write(0, time, &format!("{value}{}", " ".repeat(200)));
        }
        world.all_committed().await;
        for owner in owners {
            owner.leave().await;
        }
        world.rules.wire = wire;
        for fault in [Fault::Ghost, Fault::Lost, Fault::Away] {
            world.store.fail_next_of(Lane(1), fault);
        }
        let owners = [world.own(0), world.own(1)];
        let mut letters = world.store.letters_left();
        letters.rotate_left(2);
        world.store.command(Lane(1), 1, &Order::Redrive(Letters::of(letters.clone())));
        // Somebody gives one up, somebody asks once more.
        world.store.command(Lane(0), 2, &Order::Discard(Letters::of([letters[1]])));
        world.store.command(Lane(1), 3, &Order::Redrive(Letters::of(letters.clone())));
        carried_out(&world, 3).await;
        let fates = world.store.fates();
        let discarded = fates.iter().filter(|fate| **fate == Fate::Discarded).count();
        assert_eq!((fates.len(), world.store.letters_left().len()), (3, 0));
        let offsets = world.store.offsets_of(&user);
        let expected = if discarded == 0 { vec![2, 0, 1] } else { vec![2, 1] };
        assert_eq!(offsets, expected, "in the order in which they were asked for");
        world.store.check();
        for owner in owners {
            owner.leave().await;
        }
    });
}

#[test]
fn a_letter_whose_evaluation_fails_stays_and_holds_back_no_record_of_its_new_home() {
    run(|| async {
        let mut world = World::new(2);
        let wire = world.rules.wire.clone();
        world.rules.wire.bytes_max = 40;
        let owners = [world.own(0), world.own(1)];
        let user = users_at_home(1, 2, 1).remove(0);
        write_poison(&world, &user, 0);
        world.all_committed().await;
        for owner in owners {
            owner.leave().await;
        }
        world.rules.wire = wire;
        world.rules.evaluate = panics_over_poison;
        let owner = world.own(1);
        let letters = world.store.letters_left();
        assert_eq!(letters, [Letter { lane: Lane(0), number: 1 }]);
        world.store.command(Lane(1), 1, &Order::Redrive(Letters::of(letters.clone())));
        carried_out(&world, 1).await;
        assert_eq!(world.store.outcomes(), ["0 applied, 1 stay"]);
        // The letter was at offset 0 of the other lane; this record is at offset 0 of this one.
        write_story(&world, 1, &user, 600);
        world.until("it is read", |w| w.store.positions(Lane(1)).events == 6).await;
        assert_eq!(world.store.letters_left(), letters);
        assert_eq!(world.store.users_with_records()[&user], 6);
        owner.leave().await;
    });
}

#[test]
fn a_state_that_is_not_what_its_records_make_is_replaced_while_records_come() {
    run(|| async {
        let mut world = World::new(1);
        world.rules.checkpoint.every_records = 1;
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        let older = world.store.checkpoint_of("a");
        write_story(&world, 0, "a", 600);
        world.all_committed().await;
        owner.leave().await;
        let right = world.store.checkpoint_of("a");
        let rebuild = Order::Rebuild { user_id: "a".to_owned() };
        let owner = world.own(0);
        world.store.command(Lane(0), 1, &rebuild);
        carried_out(&world, 1).await;
        assert_eq!(world.store.checkpoint_of("a"), right);
        owner.leave().await;

        world.store.falsify("a", &older);
        assert_ne!(world.store.checkpoint_of("a"), right);
        let owner = world.own(0);
        world.store.command(Lane(0), 2, &rebuild);
        world.store.command(Lane(0), 3, &Order::Rebuild { user_id: "nobody".to_owned() });
        carried_out(&world, 3).await;
        assert_eq!(world.store.checkpoint_of("a"), right);
        assert_eq!(
            world.store.outcomes(),
            [REBUILT_THE_SAME, REBUILT_ANOTHER, "the user has no state"]
        );
        write_story(&world, 0, "a", 1_200);
        world.all_committed().await;
        world.store.check();
        assert_eq!(world.store.users_with_records()["a"], 3 * 6);
        owner.leave().await;
    });
}
