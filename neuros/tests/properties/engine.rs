//! The engine is one function of the records of one user: neither repetition nor batches, other
//! users or explanations make a difference.

use std::collections::{BTreeMap, VecDeque};

use neuros::event::Record;
use neuros::time::Micros;
use neuros::{Explain, Kind, Outcome, Policy};
use proptest::collection::vec;
use proptest::prelude::*;

use super::logs::sendings;
use super::records::{decoded, logged};
use super::settings::{LOGS, cases, under};
use super::world::{World, unexplained};

/// The outcomes of each user.
type ByUser = BTreeMap<String, Vec<Outcome>>;

fn outcomes_by_user(world: &mut World<'_>, records: &[&Record<'_>]) -> ByUser {
    let mut outcomes = ByUser::new();
    for record in records {
        world.step(record, outcomes.entry(record.user_id.to_string()).or_default());
    }
    outcomes
}

/// Merges the users' sequences, each in its own order; `picks` say whose turn it is.
fn interleaved<'r, 'm>(records: &'r [Record<'m>], picks: &[usize]) -> Vec<&'r Record<'m>> {
    let mut queues: BTreeMap<&str, VecDeque<&Record<'m>>> = BTreeMap::new();
    for record in records {
        queues.entry(&record.user_id).or_default().push_back(record);
    }
    let mut queues: Vec<_> = queues.into_values().collect();
    let mut merged = Vec::new();
    for pick in picks.iter().cycle() {
        queues.retain(|queue| !queue.is_empty());
        if queues.is_empty() {
            break;
        }
        let whose = pick % queues.len();
        merged.extend(queues[whose].pop_front());
    }
    merged
}

proptest! {
    #![proptest_config(cases(LOGS))]

    #[test]
    fn the_same_log_gives_the_same_outcomes_and_checkpoints_again(
        sendings in sendings(),
        under in under(),
    ) {
        let (log, policy) = (logged(&sendings), under.policy());
        let play = |explain| {
            let (mut world, records) = (World::new(&policy, explain), decoded(&log));
            let outcomes = world.play(&records);
            (outcomes, world.checkpoints().into_values().collect::<Vec<_>>())
        };
        let (outcomes, checkpoints) = play(Explain::Switches);
        prop_assert!((outcomes.clone(), checkpoints.clone()) == play(Explain::Switches));

        let (explained, checkpoints_too) = play(Explain::Everything);
        prop_assert_eq!(&checkpoints, &checkpoints_too, "explaining changes no state");
        prop_assert_eq!(outcomes.len(), explained.len());
        for (outcome, explained) in outcomes.iter().zip(&explained) {
            prop_assert!(unexplained(outcome) == unexplained(explained));
            let explanation = explained.explanation.as_ref().unwrap();
            if outcome.kind == Kind::Switched {
                prop_assert!(outcome.explanation.as_ref() == Some(explanation));
            } else {
                prop_assert!(outcome.explanation.is_none());
            }
        }
        let explained_again = play(Explain::Everything).0;
        prop_assert!(explained == explained_again, "explanations repeat themselves too");
    }

    #[test]
    fn batches_of_any_size_and_a_reused_vector_give_what_single_records_give(
        sendings in sendings(),
        under in under(),
        sizes in vec(1..20_usize, 1..6),
    ) {
        let (log, policy) = (logged(&sendings), under.policy());
        let records = decoded(&log);
        let mut one_by_one = World::new(&policy, Explain::Switches);
        let expected = one_by_one.play(&records);

        let mut batched = World::new(&policy, Explain::Switches);
        let (mut reused, mut gathered) = (Vec::new(), Vec::new());
        let (mut rest, mut sizes) = (&records[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            reused.clear();
            batch.iter().for_each(|record| batched.step(record, &mut reused));
            gathered.extend(reused.iter().cloned());
            rest = later;
        }
        prop_assert!(gathered == expected);
        prop_assert!(batched.states == one_by_one.states);
    }

    #[test]
    fn however_users_interleave_each_gets_the_same_outcomes_and_state(
        sendings in sendings(),
        under in under(),
        picks in vec(0..6_usize, 1..40),
    ) {
        let (log, policy) = (logged(&sendings), under.policy());
        let records = decoded(&log);
        let as_logged: Vec<_> = records.iter().collect();
        let mut first = World::new(&policy, Explain::Switches);
        let mut second = World::new(&policy, Explain::Switches);
        let outcomes = outcomes_by_user(&mut first, &as_logged);
        prop_assert!(outcomes == outcomes_by_user(&mut second, &interleaved(&records, &picks)));
        prop_assert!(first.states == second.states);
        prop_assert_eq!(first.checkpoints(), second.checkpoints());
    }

    #[test]
    fn a_record_sent_again_right_away_changes_nothing(
        sendings in sendings(),
        later in 0..=86_400_i64,
    ) {
        let policy = Policy::default();
        let once = logged(&sendings);
        let mut again = once.clone();
        for message in &mut again {
            let later = Micros::from_seconds(later);
            message.record_time = message.record_time.map(|time| time + later);
        }
        let (mut plain, mut doubled) =
            (World::new(&policy, Explain::Switches), World::new(&policy, Explain::Everything));
        for (message, repeated) in once.iter().zip(&again) {
            // Later, the record can lie less far in the future of its arrival.
            let (Ok(record), Ok(repeated)) = (message.decoded(), repeated.decoded()) else {
                continue;
            };
            plain.outcomes_of(&record);
            doubled.outcomes_of(&record);
            let before = doubled.checkpoints().into_values().collect::<Vec<_>>();
            let outcomes = doubled.outcomes_of(&repeated);
            prop_assert_eq!(outcomes.len(), record.events().len());
            prop_assert!(outcomes.iter().all(|outcome| outcome.kind == Kind::Duplicate));
            let after = doubled.checkpoints().into_values().collect::<Vec<_>>();
            prop_assert_eq!(before, after);
        }
        prop_assert!(plain.states == doubled.states);
    }
}
