//! Runs one part of the hot path a given number of times, for counting its instructions.
//!
//! `hot_path decode-e1|decode-e2|decode-e3|step|decode-and-step ROUNDS`; prints how many events came out.

use std::io::Write as _;
use std::process::ExitCode;

use bench_engine::{Shape, decode_all, decode_and_step, fold, messages, people_records};
use neuros::Policy;
use neuros::wire::Intake;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [part, rounds] = arguments.as_slice() else {
        return ExitCode::from(64);
    };
    let Ok(rounds) = rounds.parse::<usize>() else {
        return ExitCode::from(64);
    };
    let events = match part.as_str() {
        "decode-e1" => decode_rounds(Shape::E1, rounds),
        "decode-e2" => decode_rounds(Shape::E2, rounds),
        "decode-e3" => decode_rounds(Shape::E3, rounds),
        "decode-and-step" => {
            let (policy, intake) = (Policy::default(), Intake::default());
            let load = messages(Shape::E1, 100_000);
            (0..rounds).map(|_| decode_and_step(&policy, &load, &intake)).sum()
        }
        "step" => {
            let (policy, records) = (Policy::default(), people_records());
            (0..rounds).map(|_| fold(&policy, &records)).sum()
        }
        _ => return ExitCode::from(64),
    };
    match writeln!(std::io::stdout(), "{events}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(74),
    }
}

fn decode_rounds(shape: Shape, rounds: usize) -> usize {
    let (load, intake) = (messages(shape, 1_000), Intake::default());
    (0..rounds).map(|_| decode_all(&load, &intake)).sum()
}
