//! How the properties run: reproducible case counts and seeds, and the policies they run under.

use neuros::Policy;
use neuros::time::Micros;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{FileFailurePersistence, RngSeed};

/// Logs that each property of the engine is tried on.
pub(crate) const LOGS: u32 = 88;

/// `cases` cases, always the same ones, unless `PROPTEST_RNG_SEED` says otherwise; the usual
/// `PROPTEST_CASES` (256) scales their number.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let from_environment = ProptestConfig::default();
    let rng_seed = match from_environment.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0x6e65_7572_6f73),
        given @ RngSeed::Fixed(_) => given,
    };
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/properties.proptest-regressions");
    ProptestConfig {
        cases: (cases * from_environment.cases / 256).max(1),
        rng_seed,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..from_environment
    }
}

/// A policy to run under, by name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Under {
    Defaults,
    /// Every memory as short as it may be, nothing is held back.
    Smallest,
    /// Every memory as long as it may be.
    Largest,
}

impl Under {
    pub(crate) fn policy(self) -> Policy {
        let mut policy = Policy::default();
        let (memory, held_back, windows) = match self {
            Self::Defaults => return policy,
            Self::Smallest => ([0, 0], Micros(0), [1, 1, 1, 1, 1, 1]),
            Self::Largest => ([1_024, 200], Micros::from_minutes(60), [31, 31, 32, 90, 26, 3]),
        };
        [policy.dedupe.remember, policy.history] = memory;
        policy.selection.cooldown = held_back;
        policy.step_down.after = held_back;
        policy.return_to_pattern.after_calm = held_back;
        [
            policy.baseline.window_days,
            policy.baseline.min_days,
            policy.baseline.max_segments,
            policy.pattern.hour_days,
            policy.pattern.weekdays,
            policy.pattern.weekday_min,
        ] = windows;
        policy.pattern.hour_min = 1;
        policy
    }
}

/// Any of the policies, the defaults most often.
pub(crate) fn under() -> impl Strategy<Value = Under> {
    select(&[Under::Defaults, Under::Defaults, Under::Smallest, Under::Largest][..])
}

/// SplitMix64: draws that are the same everywhere and need nothing else.
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// One of `0..count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).unwrap()
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
