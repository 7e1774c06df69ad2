//! Chaos: three instances of the service, a steady stream of events, and one fault after the other, from a
//! seed; when the faults stop, everything that is promised must hold.
//!
//! `CHAOS_SEED` repeats a run's faults, `CHAOS_KILLS` says how many instances are killed, `CHAOS_MINUTES`
//! how long faults may come: a run that has not come to the end of its plan by then fails. Faults come in the
//! order of the plan, each a pause after the one before; what the processes do meanwhile is theirs.

mod cutter;
mod evidence;
mod fleet;
mod operators;
mod plan;
mod retention;
mod run;
mod traffic;
mod verdict;

#[cfg(feature = "defects")]
use std::collections::BTreeSet;

use crate::servers::Servers;

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, not {text}")))
}

/// How long the faults of a short run may take, which need three minutes where nothing else runs.
const MINUTES: u64 = 20;

#[test]
fn whatever_goes_wrong_nothing_is_lost_or_doubled() {
    if !Servers::available() {
        return;
    }
    let seed = asked("CHAOS_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let kills = usize::try_from(asked("CHAOS_KILLS").unwrap_or(20)).expect("few");
    let minutes = asked("CHAOS_MINUTES").unwrap_or(MINUTES);
    if let Err(why) = run::run(seed, kills, minutes, None) {
        panic!("CHAOS_SEED={seed}: {why}");
    }
}

/// The defects that are tried on real servers. Without any, the same faults must do no harm: only then is what
/// is noticed a defect's doing.
#[cfg(feature = "defects")]
#[test]
fn each_deliberate_defect_is_noticed() {
    const TRIED: [&str; 4] =
        ["FenceRemoved", "DedupeRemoved", "CursorBeforeSend", "PositionPlusOne"];
    const KILLS: usize = 20;
    const PLANS: u64 = 4;
    // With a defect records may not flow at all; what came until then must show it.
    const MINUTES_WITH_A_DEFECT: u64 = 5;
    let wanted = std::env::var("CHAOS_DEFECT").ok();
    if let Some(wanted) = &wanted {
        assert!(TRIED.contains(&wanted.as_str()), "CHAOS_DEFECT must be one of {TRIED:?}");
    }
    let first = asked("CHAOS_SEED").unwrap_or(2);
    let mut held = BTreeSet::new();
    for defect in TRIED {
        if wanted.as_ref().is_some_and(|wanted| wanted != defect) {
            continue;
        }
        // A defect needs its occasion, which is not in every plan.
        let noticed = (first..first + PLANS).find_map(|seed| {
            match run::run(seed, KILLS, MINUTES_WITH_A_DEFECT, Some(defect)) {
                Err(why @ verdict::Failure::Promise(_)) => Some((seed, why)),
                Ok(()) | Err(verdict::Failure::TimeOver(_)) => None,
            }
        });
        let Some((seed, why)) = noticed else {
            panic!("{defect} was not noticed in {PLANS} plans from CHAOS_SEED={first} on");
        };
        if held.insert(seed)
            && let Err(why) = run::run(seed, KILLS, MINUTES, None)
        {
            panic!("without any defect, CHAOS_SEED={seed}: {why}");
        }
        eprintln!("{defect} was noticed, CHAOS_SEED={seed}: {why}");
    }
}

#[test]
fn only_a_build_for_it_has_deliberate_defects() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_biometric-bridge")).expect("it is built");
    let name = b"BRIDGE_DEFECT";
    let found = program.windows(name.len()).any(|bytes| bytes == name);
    assert_eq!(found, cfg!(feature = "defects"));
}
