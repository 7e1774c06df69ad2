//! What the generated logs reach: every kind of outcome, every reason and every rule.

use std::collections::BTreeMap;

use neuros::explain::RuleStatus;
use neuros::{Explain, Policy, Rule};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::logs::sendings;
use super::records::logged;
use super::settings::{LOGS, cases};
use super::world::World;

#[test]
fn the_default_cases_reach_every_kind_reason_rule_and_exclusion() {
    let policy = Policy::default();
    let config = cases(LOGS);
    let count = config.cases;
    let mut runner = TestRunner::new(config);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut see = |what: &str| *seen.entry(what.to_owned()).or_default() += 1;
    for _ in 0..count {
        let log = logged(&sendings().new_tree(&mut runner).unwrap().current());
        let mut world = World::new(&policy, Explain::Everything);
        for message in &log {
            match message.decoded() {
                Err(rejection) => see(rejection.reason.as_str()),
                Ok(record) => {
                    see("record");
                    for outcome in world.outcomes_of(&record) {
                        see(outcome.kind.as_str());
                        outcome.reason.iter().for_each(|reason| see(reason.as_str()));
                        outcome
                            .fired
                            .iter()
                            .for_each(|rule| see(&format!("fired {}", rule.as_str())));
                        if outcome.borderline {
                            see("borderline");
                        }
                        let explanation = outcome.explanation.unwrap();
                        let rules = explanation.rules.iter();
                        rules
                            .filter(|rule| rule.status == RuleStatus::Gated)
                            .for_each(|_| see("gated"));
                        explanation.readings.iter().for_each(|reading| see(reading.used.as_str()));
                    }
                }
            }
        }
    }
    println!("{seen:#?}");
    let fired: Vec<_> = Rule::ALL.iter().map(|rule| format!("fired {}", rule.as_str())).collect();
    let wanted = "switched held suppressed unchanged not_evaluated duplicate borderline \
        return_to_pattern expired gated backfill no_usable_reading \
        live too_old older_than_held \
        inside_night not_a_number out_of_range bad_confidence low_confidence \
        timestamp_in_future no_readings";
    for what in wanted.split_whitespace().chain(fired.iter().map(String::as_str)) {
        assert!(seen.contains_key(what), "no generated log has `{what}`");
    }
}
