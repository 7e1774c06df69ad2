//! Chaos: three instances of the service, a steady stream of events, and one fault after the other, from a
//! seed; when the faults stop, everything that is promised must hold.
//!
//! `CHAOS_SEED` repeats a run's faults, `CHAOS_KILLS` says how many instances are killed, `CHAOS_MINUTES`
//! how long faults may come. Faults come in the order of the plan, each a pause after the one before; what
//! the processes do meanwhile is theirs.

mod cutter;
mod evidence;
mod fleet;
mod plan;
mod run;
mod traffic;
mod verdict;

use crate::servers::Servers;

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, not {text}")))
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_or_doubled() {
    if !Servers::available() {
        return;
    }
    let seed = asked("CHAOS_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let kills = usize::try_from(asked("CHAOS_KILLS").unwrap_or(20)).expect("few");
    let minutes = asked("CHAOS_MINUTES").unwrap_or(5);
    run::run(seed, kills, minutes);
}
