//! The simulation: whole histories of processes, faults and records from a seed, in virtual time, with every
//! write checked as it happens. The lanes are the real ones; what they promise must hold in all of them.
//!
//! `cargo test -p actors --test lanes simulation` runs some hundred seeds; `SIMULATION_SEEDS=5000` runs so
//! many (with `--release`), `SIMULATION_SEED=7` one, and prints its history. A plan that has failed is kept in
//! `kept/`, as the smallest that does; `SIMULATION_PLAN=file` runs one.

mod asking;
mod auditor;
mod fates;
mod group;
mod kept;
mod leaks;
mod leaving;
mod letters;
mod operator;
mod people;
mod plan;
mod process;
mod produce;
mod reference;
mod run;
mod shrink;
mod table;

use std::collections::BTreeMap;
use std::sync::Mutex;

use plan::Plan;
use run::{Report, TOLD_SO, play};

/// One seed in so many is run twice.
const TWICE: u64 = 16;

/// Seeds that are run when nothing else is asked for.
const SEEDS: u64 = 100;

/// Panics that are part of a plan stay off the terminal, and the log is listened to.
fn hush() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        leaks::listen();
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>();
            if text.is_none_or(|text| !text.contains(TOLD_SO)) {
                usual(info);
            }
        }));
    });
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds on two threads; gives the tally and the first that failed.
fn sweep(seeds: impl Iterator<Item = u64> + Send) -> (BTreeMap<String, u64>, Vec<(u64, Report)>) {
    hush();
    let seeds = Mutex::new(seeds);
    let tally = Mutex::new(BTreeMap::<String, u64>::new());
    let failed = Mutex::new(Vec::new());
    let keeps_on = asked("SIMULATION_KEEP_ON").is_some();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = seeds.lock().unwrap().next();
                    let Some(seed) = seed else { return };
                    if !keeps_on && !failed.lock().unwrap().is_empty() {
                        return;
                    }
                    let report = play(&Plan::of(seed));
                    let mut tally = tally.lock().unwrap();
                    for (what, count) in &report.tally {
                        *tally.entry(what.clone()).or_default() += count;
                    }
                    drop(tally);
                    if !report.violations.is_empty() {
                        failed.lock().unwrap().push((seed, report));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|(seed, _)| *seed);
    (tally.into_inner().unwrap(), failed)
}

#[test]
fn whatever_happens_nothing_is_lost_or_doubled() {
    let file = std::env::var("SIMULATION_PLAN").ok();
    let file = file.map(|file| kept::plan_of(&std::fs::read_to_string(file).unwrap()));
    if let Some(plan) = file.or_else(|| asked("SIMULATION_SEED").map(Plan::of)) {
        hush();
        let report = play(&plan);
        println!("{}", report.history.join("\n"));
        assert!(report.violations.is_empty(), "{:#?}", report.violations);
        return;
    }
    let count = asked("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let from = asked("SIMULATION_FROM").unwrap_or(0);
    let (tally, failed) = sweep(from..from + count);
    if asked("SIMULATION_KEEP_ON").is_some() {
        for (seed, report) in &failed {
            println!("seed {seed}: {}", report.violations[0]);
        }
        println!("{} of {count} seeds failed", failed.len());
    }
    if let Some((seed, report)) = failed.first() {
        let all: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
        println!("failed: {all:?}");
        let smallest = shrink::shrink(&Plan::of(*seed));
        let history = play(&smallest).history.join("\n");
        println!("{history}\nto be kept in {}:\n{}", kept::FOLDER, kept::text_of(&smallest));
        panic!("seed {seed}: {:#?}", report.violations);
    }
    println!("{}", table::of(&tally, count));
    let never = table::never(&tally);
    assert!(never.is_empty(), "in {count} seeds these never happened: {never:?}");
}

#[test]
fn plans_that_failed_once_do_not_fail_again() {
    hush();
    for (name, plan) in kept::all() {
        let violations = play(&plan).violations;
        assert!(violations.is_empty(), "{name}: {violations:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    hush();
    let count = asked("SIMULATION_SEEDS").unwrap_or(SEEDS);
    for seed in 0..count.div_ceil(TWICE) {
        let plan = Plan::of(seed);
        let (first, second) = (play(&plan), play(&plan));
        assert_eq!(first.history, second.history, "seed {seed}");
        assert_eq!(first.hash, second.hash, "seed {seed}");
    }
}

/// Seeds that are tried for a defect, at most.
#[cfg(feature = "defects")]
const SEEDS_OF_A_DEFECT: u64 = 1_000;

#[cfg(feature = "defects")]
#[test]
fn every_deliberate_defect_is_noticed() {
    use actors::defect::Defect;
    hush();
    let is_tried = |defect: &Defect| !Defect::OF_THE_STORE.contains(defect);
    let defects = Mutex::new(Defect::ALL.into_iter().filter(is_tried));
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(defect) = { defects.lock().unwrap().next() } {
                    Defect::switch(Some(defect));
                    // A plan that is kept may be for it.
                    let kept = kept::all().into_iter();
                    let kept = kept.filter(|(name, _)| *name == format!("{defect:?}"));
                    let seeds =
                        (0..SEEDS_OF_A_DEFECT).map(|seed| (seed.to_string(), Plan::of(seed)));
                    let noticed = kept.chain(seeds).find_map(|(name, plan)| {
                        let violation = play(&plan).violations.into_iter().next()?;
                        Some((name, violation))
                    });
                    Defect::switch(None);
                    found.lock().unwrap().push((defect, noticed));
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    for (defect, noticed) in &found {
        match noticed {
            Some((plan, violation)) => println!("{defect:?}: plan {plan}: {violation}"),
            None => println!("{defect:?}: NOT NOTICED in {SEEDS_OF_A_DEFECT} seeds"),
        }
    }
    assert_eq!(found.len(), Defect::ALL.len() - Defect::OF_THE_STORE.len());
    let missed: Vec<_> = found.iter().filter(|(_, noticed)| noticed.is_none()).collect();
    assert!(missed.is_empty(), "{missed:?}");
}
