//! Decoding and stepping alone, on one core.

use std::hint::black_box;

use bench_engine::{Shape, decode_and_step, messages};
use neuros::Policy;
use neuros::wire::Intake;

use super::clock;
use crate::table::{Goal, Table};

/// The middle one counts.
const REPEATS: usize = 9;
const EVENTS: u64 = 100_000;

pub(super) fn run(table: &mut Table) {
    let (policy, intake, load) =
        (Policy::default(), Intake::default(), messages(Shape::E1, EVENTS));
    let mut rates = Vec::new();
    for _ in 0..REPEATS {
        let began = clock::now();
        black_box(decode_and_step(&policy, black_box(&load), &intake));
        rates.push(EVENTS as f64 / began.elapsed().as_secs_f64());
    }
    let goal = Goal::at_least(1_000_000.0, 3_000_000.0);
    table.judge("decode and step, one core", super::middle(rates), "events/s", goal);
}
