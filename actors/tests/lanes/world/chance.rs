//! Chance that comes from a seed alone: the same seed, the same draws. It never asks the system.

use std::sync::Mutex;

use actors::lane::FenceToken;
use uuid::Uuid;

pub(crate) struct Chance(Mutex<fastrand::Rng>);

impl Chance {
    pub(crate) fn of(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    /// A number below `end`; 0 when that is 0.
    pub(crate) fn below(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.lock().unwrap().u64(..end) }
    }

    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub(crate) fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn of_these<T: Copy>(&self, choices: &[T]) -> T {
        let place = self.below(choices.len() as u64);
        choices[usize::try_from(place).unwrap()]
    }

    pub(crate) fn token(&self) -> FenceToken {
        FenceToken(Uuid::from_u128(self.0.lock().unwrap().u128(..)))
    }
}
