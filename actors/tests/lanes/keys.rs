//! Facts about persons' keys: rotated in the middle of traffic, destroyed, and made anew for somebody who is
//! readmitted.

use actors::command::Order;
use actors::erase::{ERASED, NOBODY, NOT_ERASED, READMITTED};
use actors::lane::{Lane, UserNumber};
use actors::rows::Sink;
use actors::seal::KeyRing as _;

use crate::facts::{event, panics_over_poison, write_poison, write_story};
use crate::world::{Fault, World, run};

const STORY: i64 = 6;

fn number_of(world: &World, user_id: &str) -> UserNumber {
    world.store.look(|tables| tables.ids[user_id])
}

async fn outcomes(world: &World, commands: usize) -> Vec<String> {
    world
        .until("the commands are carried out", |world| world.store.outcomes().len() == commands)
        .await;
    world.store.outcomes()
}

fn erase(user_id: &str) -> Order {
    Order::Erase { user_id: user_id.to_owned() }
}

fn readmit(user_id: &str) -> Order {
    Order::Readmit { user_id: user_id.to_owned() }
}

/// The number of the key that has sealed each of a user's records.
fn sealed_by(world: &World, user_id: &str) -> Vec<u8> {
    let user = number_of(world, user_id);
    world.store.look(|tables| {
        let records = tables.records.range((user, 0)..=(user, i64::MAX));
        records.map(|(_, record)| record.body[0] - b'0').collect()
    })
}

#[test]
fn after_a_rotation_new_records_are_sealed_by_the_new_key_and_old_ones_still_open() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        write_story(&world, 0, "b", 0);
        world.all_committed().await;
        world.keys.rotate(number_of(&world, "a"));
        world.store.command(Lane(0), 1, &Order::Rekey { user_id: Some("a".to_owned()) });
        outcomes(&world, 1).await;
        write_story(&world, 0, "a", 600);
        write_story(&world, 0, "b", 600);
        world.all_committed().await;
        assert_eq!(sealed_by(&world, "a"), [[1; 6], [2; 6]].concat());
        assert_eq!(sealed_by(&world, "b"), [1; 12]);
        world.store.command(Lane(0), 2, &Order::Rekey { user_id: None });
        assert_eq!(outcomes(&world, 2).await[1], "2 users in memory seal with their newest key");
        owner.leave().await;
        // What both keys have sealed is needed to restore.
        world.store.delete_checkpoints();
        let owner = world.own(0);
        write_story(&world, 0, "a", 1_200);
        world.all_committed().await;
        assert_eq!(*world.told.rebuilt.lock().unwrap(), 1);
        world.store.check();
        owner.leave().await;
    });
}

#[test]
fn a_checkpoint_that_an_old_key_has_sealed_is_restored_and_led_on_by_the_new_one() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        owner.leave().await;
        world.keys.rotate(number_of(&world, "a"));
        let owner = world.own(0);
        write_story(&world, 0, "a", 600);
        world.all_committed().await;
        assert_eq!(*world.told.rebuilt.lock().unwrap(), 0);
        assert_eq!(sealed_by(&world, "a"), [[1; 6], [2; 6]].concat());
        owner.leave().await;
    });
}

#[test]
fn letters_and_commands_that_a_newer_service_key_has_sealed_open_for_a_lane_that_knows_the_old() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        world.log.write(0, 0, "no event");
        world.all_committed().await;
        world.keys.rotate(UserNumber(0));
        let letters = world.store.letters_left();
        world.store.command(Lane(0), 1, &Order::Redrive(actors::command::Letters::of(letters)));
        assert_eq!(outcomes(&world, 1).await, ["0 applied, 1 stay"]);
        world.log.write(0, 0, "no event");
        world.all_committed().await;
        let bodies = world.store.look(|tables| {
            tables.letters.values().map(|letter| letter.body[0]).collect::<Vec<_>>()
        });
        assert_eq!(bodies, *b"12");
        let said = world.store.look(|tables| tables.audits.clone());
        let with_letters = said.iter().filter(|said| said.contains("1 dead letters"));
        let keys: Vec<char> = with_letters.filter_map(|said| said.chars().last()).collect();
        assert_eq!(keys, ['1', '2'], "each is audited under the key that has sealed it");
        let published = |world: &World| {
            let published = world.log.published.lock().unwrap();
            published.iter().filter(|(sink, _)| *sink == Sink::DeadLetters).count()
        };
        world.until("both are published", |world| published(world) == 2).await;
        owner.leave().await;
    });
}

#[test]
fn nothing_of_an_erased_user_is_kept_or_let_in_and_others_go_on() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        write_story(&world, 0, "b", 0);
        world.all_committed().await;
        world.store.command(Lane(0), 1, &erase("a"));
        world.store.command(Lane(0), 2, &erase("nobody"));
        assert_eq!(outcomes(&world, 2).await, [ERASED, ERASED]);
        let user = number_of(&world, "a");
        assert!(world.keys.keys_of(&[user]).await.unwrap()[0].is_none());
        let letters = world.store.letters_left().len();
        write_story(&world, 0, "a", 600);
        write_story(&world, 0, "b", 600);
        // A record that would be refused for what it says too.
        world.log.write(0, 0, r#"{"user_id":"a","timestamp":"never","metrics":{}}"#);
        world.all_committed().await;
        assert_eq!(world.store.users_with_records()["a"], STORY, "nothing is stored");
        assert_eq!(world.store.users_with_records()["b"], 2 * STORY);
        assert_eq!(world.store.letters_left().len(), letters, "nor dead-lettered");
        assert_eq!(*world.told.refused.lock().unwrap(), 7);
        assert_eq!(world.store.progress(Lane(0)).counts.events.skipped, 7);
        let modes = world.store.progress(Lane(0)).modes;
        assert_eq!(modes.iter().map(|(_, users)| users).sum::<i64>(), 1);
        world.store.check();
        owner.leave().await;
        // So it is for the next owner, for whom the user is not in memory.
        let owner = world.own(0);
        write_story(&world, 0, "a", 1_200);
        world.all_committed().await;
        assert_eq!(world.store.users_with_records()["a"], STORY);
        world.store.check();
        owner.leave().await;
    });
}

/// What is on its way, or comes years later, must not make somebody of them again.
#[test]
fn who_is_erased_before_anything_of_theirs_came_is_refused_until_they_are_readmitted() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_story(&world, 0, "b", 0);
        world.all_committed().await;
        world.store.command(Lane(0), 1, &readmit("a"));
        world.store.command(Lane(0), 2, &erase("a"));
        assert_eq!(outcomes(&world, 2).await, [NOBODY, ERASED]);
        let user = number_of(&world, "a");
        assert!(user != number_of(&world, "b"));
        assert_eq!(world.keys.newest_number(user).await.unwrap(), None, "nor is there a key");
        assert_eq!(world.keys.destroyed().await.unwrap(), [user]);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        owner.leave().await;
        let owner = world.own(0);
        write_story(&world, 0, "a", 600);
        write_story(&world, 0, "c", 600);
        world.all_committed().await;
        let records = world.store.users_with_records();
        assert_eq!((records["a"], records["b"], records["c"]), (0, STORY, STORY));
        assert_eq!(*world.told.refused.lock().unwrap(), 2 * STORY);
        let modes = |world: &World| {
            let modes = world.store.progress(Lane(0)).modes;
            modes.iter().map(|(_, users)| users).sum::<i64>()
        };
        assert_eq!(modes(&world), 2, "who has no state is in no mode");
        world.store.command(Lane(0), 3, &erase("a"));
        world.store.command(Lane(0), 4, &readmit("a"));
        assert_eq!(outcomes(&world, 4).await[2..], [ERASED, READMITTED]);
        write_story(&world, 0, "a", 1_200);
        world.all_committed().await;
        assert_eq!((world.store.users_with_records()["a"], modes(&world)), (STORY, 3));
        assert_eq!(number_of(&world, "a"), user);
        assert_eq!(sealed_by(&world, "a"), [2; 6]);
        world.store.check();
        owner.leave().await;
    });
}

#[test]
fn an_erasure_is_finished_by_the_next_owner_wherever_it_was_cut_off() {
    for cut in 0..6 {
        run(|| async {
            let world = World::new(1);
            let owner = world.own(0);
            write_story(&world, 0, "a", 0);
            world.all_committed().await;
            let faults = [Fault::Ghost, Fault::Lost, Fault::Away];
            match cut {
                0..3 => world.store.fail_next(faults[cut]),
                _ => {
                    // The second batch of the two.
                    world.store.command(Lane(0), 1, &erase("a"));
                    let is_erased = |world: &World| {
                        world.store.look(|tables| tables.users.values().any(|user| user.erased))
                    };
                    world.until("the first batch is committed", is_erased).await;
                    world.store.fail_next(faults[cut - 3]);
                }
            }
            if cut < 3 {
                world.store.command(Lane(0), 1, &erase("a"));
            }
            write_story(&world, 0, "b", 0);
            assert_eq!(outcomes(&world, 1).await, [ERASED]);
            world.all_committed().await;
            let modes = world.store.progress(Lane(0)).modes;
            assert_eq!(modes.iter().map(|(_, users)| users).sum::<i64>(), 1, "cut {cut}");
            let user = number_of(&world, "a");
            assert!(world.keys.keys_of(&[user]).await.unwrap()[0].is_none());
            world.store.check();
            owner.leave().await;
        });
    }
}

#[test]
fn an_erasure_destroys_what_it_knew_of_and_a_rotation_that_came_between_only_once_that_is_committed()
 {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        world.store.command(Lane(0), 1, &erase("a"));
        outcomes(&world, 1).await;
        let user = number_of(&world, "a");
        let known = |world: &World| world.store.look(|tables| tables.users[&user].start_key_number);
        assert_eq!(known(&world), 1);
        world.keys.rotate(user);
        let before = world.store.progress(Lane(0)).batch;
        world.store.command(Lane(0), 2, &erase("a"));
        assert_eq!(outcomes(&world, 2).await, [ERASED, ERASED]);
        assert_eq!((known(&world), world.keys.newest_number(user).await.unwrap()), (2, None));
        assert_eq!(world.store.progress(Lane(0)).batch, before + 2, "said before it is done");
        world.store.command(Lane(0), 3, &readmit("a"));
        outcomes(&world, 3).await;
        assert_eq!((known(&world), world.keys.newest_number(user).await.unwrap()), (2, Some(3)));
        world.store.check();
        owner.leave().await;
    });
}

#[test]
fn messages_of_an_erased_user_that_have_not_left_are_passed_over_and_counted() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        world.log.down.lock().unwrap().push(Sink::Transitions);
        write_story(&world, 0, "a", 0);
        write_story(&world, 0, "b", 0);
        world.all_committed().await;
        world.store.command(Lane(0), 1, &erase("a"));
        outcomes(&world, 1).await;
        world.log.down.lock().unwrap().clear();
        write_story(&world, 0, "b", 6_000);
        world.all_committed().await;
        let left = |world: &World| world.log.messages(Sink::Transitions);
        world.until("somebody's have left", |world| left(world).len() >= 2).await;
        assert!(left(&world).iter().all(|message| message["user_id"] == "b"));
        assert!(*world.told.unopened.lock().unwrap() > 0);
        owner.leave().await;
    });
}

#[test]
fn who_is_readmitted_begins_anew_with_numbers_that_go_on() {
    run(|| async {
        let mut world = World::new(1);
        world.rules.checkpoint.every_records = 1;
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        world.store.command(Lane(0), 1, &readmit("a"));
        world.store.command(Lane(0), 2, &erase("a"));
        world.store.command(Lane(0), 3, &readmit("a"));
        assert_eq!(outcomes(&world, 3).await, [NOT_ERASED, ERASED, READMITTED]);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        // Twice the same numbers of everything, none of them twice.
        world.store.check();
        assert_eq!(world.store.users_with_records()["a"], 2 * STORY, "the same is no repeat");
        assert_eq!(sealed_by(&world, "a"), [[1; 6], [2; 6]].concat());
        let user = number_of(&world, "a");
        let seqs = world.store.look(|tables| {
            let of_user = tables.transitions.keys().filter(|(of, _)| *of == user);
            of_user.map(|(_, seq)| *seq).collect::<Vec<_>>()
        });
        let expected: Vec<i64> = (1..=i64::try_from(seqs.len()).unwrap()).collect();
        assert_eq!((seqs.len() % 2, &seqs), (0, &expected));
        owner.leave().await;
        // From the records alone: those from before are passed by.
        world.store.delete_checkpoints();
        let owner = world.own(0);
        write_story(&world, 0, "a", 600);
        world.all_committed().await;
        assert_eq!(world.store.users_with_records()["a"], 3 * STORY);
        world.store.check();
        owner.leave().await;
    });
}

#[test]
fn a_user_in_quarantine_is_erased_with_what_waits_and_is_not_released_any_more() {
    run(|| async {
        let mut world = World::new(1);
        world.rules.evaluate = panics_over_poison;
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        write_poison(&world, "a", 500);
        world.all_committed().await;
        assert!(world.store.is_quarantined("a"));
        world.store.command(Lane(0), 1, &erase("a"));
        world.store.command(Lane(0), 2, &Order::Release { user_id: "a".to_owned() });
        let letters = world.store.letters_left();
        world.store.command(Lane(0), 3, &Order::Redrive(actors::command::Letters::of(letters)));
        let outcomes = outcomes(&world, 3).await;
        assert_eq!(outcomes[..2], [ERASED, "the user is not in quarantine"]);
        assert_eq!(outcomes[2], "0 applied, 1 stay");
        assert!(!world.store.is_quarantined("a"));
        let (time, value) = event("a", 900, r#""heart_rate":60"#);
        world.log.write(0, time, &value);
        world.all_committed().await;
        world.store.check();
        owner.leave().await;
    });
}

#[test]
fn a_key_that_does_not_unwrap_stops_neither_a_rotation_of_others_nor_its_erasure() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        write_story(&world, 0, "b", 0);
        world.all_committed().await;
        let [a, b] = ["a", "b"].map(|user_id| number_of(&world, user_id));
        world.keys.rotate(a);
        world.keys.rotate(b);
        world.keys.damage(a);
        world.store.command(Lane(0), 1, &Order::Rekey { user_id: None });
        assert_eq!(outcomes(&world, 1).await, ["1 users in memory seal with their newest key"]);
        write_story(&world, 0, "a", 600);
        write_story(&world, 0, "b", 600);
        world.all_committed().await;
        assert_eq!(sealed_by(&world, "a"), [1; 12], "who has a key in memory goes on with it");
        assert_eq!(sealed_by(&world, "b"), [[1; 6], [2; 6]].concat());
        world.store.command(Lane(0), 2, &erase("a"));
        assert_eq!(outcomes(&world, 2).await[1], ERASED);
        assert_eq!(world.keys.newest_number(a).await.unwrap(), None);
        world.store.check();
        owner.leave().await;
    });
}

/// As with a database that was restored from a backup beside the key store of today.
#[test]
fn who_has_no_keys_any_more_is_erased_whatever_their_row_says() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        write_story(&world, 0, "b", 0);
        world.all_committed().await;
        owner.leave().await;
        world.keys.destroy(number_of(&world, "a"), 1).await.unwrap();
        let owner = world.own(0);
        write_story(&world, 0, "a", 600);
        write_story(&world, 0, "b", 600);
        world.all_committed().await;
        assert_eq!(world.store.users_with_records()["a"], STORY);
        assert_eq!(world.store.users_with_records()["b"], 2 * STORY);
        assert_eq!(*world.told.refused.lock().unwrap(), 6);
        world.store.command(Lane(0), 1, &erase("a"));
        assert_eq!(outcomes(&world, 1).await, [ERASED]);
        owner.leave().await;
    });
}

/// As with a database that was restored from a backup of before somebody came who was erased since.
#[test]
fn a_number_whose_keys_were_destroyed_is_given_to_nobody() {
    run(|| async {
        let world = World::new(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        let [second, third] = [2, 3].map(|count| UserNumber::of(count, Lane(0)));
        world.keys.destroy(second, 1).await.unwrap();
        write_story(&world, 0, "b", 0);
        world.all_committed().await;
        assert_eq!(number_of(&world, "b"), third);
        assert_eq!(world.store.users_with_records()["b"], STORY);
        write_story(&world, 0, "a", 600);
        write_story(&world, 0, "b", 600);
        world.all_committed().await;
        assert_eq!(world.store.users_with_records()["b"], 2 * STORY);
        world.store.check();
        owner.leave().await;
    });
}
