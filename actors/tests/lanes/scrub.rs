//! Facts about the scrub: what is in memory and what is in checkpoints is compared with what the records make
//! of it, and nothing else is taken for wrong.

use std::time::Duration;

use actors::compare::Finding;
use actors::lane::Lane;
use actors::observe::Looked;
use actors::person::{Applied, Person};
use actors::store::Store as _;
use neuros::event::Record;
use neuros::{Outcome, Policy};

use crate::facts::{event, write_story};
use crate::world::{World, policy, run};

const TURN: Duration = Duration::from_millis(100);

/// A world whose users are scrubbed, and whose checkpoints are written as often as that.
fn scrubbed(every_records: u32) -> World {
    let mut world = World::new(1);
    world.rules.checkpoint.every_records = every_records;
    world.rules.checkpoint.every = Duration::from_hours(1);
    world.rules.checkpoint.scrub_every = TURN;
    world
}

impl World {
    /// What looks have come to, each kind once.
    fn looked(&self) -> Vec<Looked> {
        let mut kinds = Vec::new();
        for looked in self.told.looks.lock().unwrap().iter() {
            if !kinds.contains(looked) {
                kinds.push(*looked);
            }
        }
        kinds
    }

    fn forget_looks(&self) {
        self.told.looks.lock().unwrap().clear();
    }

    async fn looks(&self, count: usize) {
        self.until("users are scrubbed", |world| world.told.looks.lock().unwrap().len() >= count)
            .await;
    }
}

/// Goes wrong in memory for one user, without a word: another policy decides than the one that is recorded.
fn goes_wrong(
    person: &mut Person,
    right: &Policy,
    record: &Record<'_>,
    outcomes: &mut Vec<Outcome>,
) -> Applied {
    match record.user_id.as_ref() {
        "wrong" => person.apply(&policy(2), record, outcomes),
        _ => person.apply(right, record, outcomes),
    }
}

#[test]
fn a_state_that_is_wrong_in_memory_only_is_noticed() {
    run(|| async {
        let mut world = scrubbed(10_000);
        world.rules.evaluate = goes_wrong;
        let owner = world.own(0);
        write_story(&world, 0, "right", 0);
        world.all_committed().await;
        world.looks(4).await;
        assert_eq!(world.looked(), [Looked::Agrees]);
        write_story(&world, 0, "wrong", 0);
        world.all_committed().await;
        world.until("it is noticed", |w| w.looked().contains(&Looked::MemoryDiffers)).await;
        let written =
            world.store.look(|tables| tables.users.values().any(|user| user.checkpoint.is_some()));
        assert!(!written, "there is no checkpoint that could show it");
        owner.leave().await;
    });
}

#[test]
fn a_checkpoint_that_is_another_or_does_not_open_is_told_apart_from_a_good_one() {
    run(|| async {
        let world = scrubbed(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        let older = world.store.checkpoint_of("a");
        write_story(&world, 0, "a", 600);
        world.all_committed().await;
        let right = world.store.checkpoint_of("a");
        owner.leave().await;
        world.forget_looks();
        // Nobody is in memory from here on.
        let owner = world.own(0);
        world.looks(3).await;
        assert_eq!(world.looked(), [Looked::Agrees]);
        world.store.falsify("a", &older);
        world.forget_looks();
        world.looks(3).await;
        assert!(world.looked().contains(&Looked::CheckpointDiffers), "{:?}", world.looked());
        world.store.damage_checkpoints();
        world.until("it is told", |w| w.looked().contains(&Looked::CheckpointUnreadable)).await;
        world.store.falsify("a", &right);
        tokio::time::sleep(TURN * 2).await;
        world.forget_looks();
        world.looks(3).await;
        assert_eq!(world.looked(), [Looked::Agrees]);
        // A deleted checkpoint is nothing that could be wrong.
        world.store.delete_checkpoints();
        tokio::time::sleep(TURN * 2).await;
        world.forget_looks();
        tokio::time::sleep(TURN * 10).await;
        assert!(world.looked().is_empty(), "{:?}", world.looked());
        owner.leave().await;
    });
}

#[test]
fn a_spoilt_checkpoint_does_not_agree_with_what_it_is_rebuilt_to() {
    run(|| async {
        let world = scrubbed(1);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        owner.leave().await;
        let finding = async || {
            let store = std::sync::Arc::new(world.store.connect(0));
            let seal = std::sync::Arc::new(crate::world::PlainSeal);
            let keys = std::sync::Arc::clone(&world.keys);
            let restorer = actors::restore::Restorer::new(store.clone(), seal, keys.clone());
            let stored = store.users(actors::store::Asked::Ids(&["a"])).await.unwrap().remove(0);
            let keys = actors::seal::KeyRing::keys_of(&*keys, &[stored.user]).await.unwrap();
            restorer.compare(&stored, keys[0].as_ref().unwrap()).await.unwrap().finding()
        };
        assert_eq!(finding().await, Finding::Agrees);
        world.store.damage_checkpoints();
        assert_eq!(finding().await, Finding::Unreadable);
        world.store.delete_checkpoints();
        assert_eq!(finding().await, Finding::Nothing);
    });
}

#[test]
fn records_that_come_meanwhile_raise_no_alarm() {
    run(|| async {
        let mut world = scrubbed(7);
        world.rules.checkpoint.scrub_every = Duration::from_millis(3);
        world.store.rough(1);
        let owner = world.own(0);
        for minute in 0..400 {
            for user in ["a", "b", "c"] {
                let stress = if minute % 9 == 3 { "0.95" } else { "0.2" };
                let metrics =
                    format!(r#""heart_rate":{},"stress_level":{stress}"#, 60 + minute % 30);
                let (time, value) = event(user, minute * 60, &metrics);
                world.log.write(0, time, &value);
            }
            tokio::time::sleep(Duration::from_millis(7)).await;
            if minute == 200 {
                // The lane is claimed anew while it is scrubbed.
                world.store.steal(Lane(0));
            }
        }
        world.all_committed().await;
        assert_eq!(world.looked(), [Looked::Agrees]);
        assert!(world.told.looks.lock().unwrap().len() >= 5);
        owner.leave().await;
    });
}

#[test]
fn a_step_that_is_not_committed_yet_is_waited_for() {
    run(|| async {
        let world = scrubbed(10_000);
        let owner = world.own(0);
        write_story(&world, 0, "a", 0);
        world.all_committed().await;
        world.store.hold(true);
        write_story(&world, 0, "a", 600);
        tokio::time::sleep(TURN * 20).await;
        world.forget_looks();
        tokio::time::sleep(TURN * 20).await;
        assert!(world.looked().is_empty(), "nobody knows yet: {:?}", world.looked());
        world.store.hold(false);
        world.looks(2).await;
        assert_eq!(world.looked(), [Looked::Agrees]);
        owner.leave().await;
    });
}
