//! What the soak has to hold, and whether it did.

use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;

use super::Soak;
use super::sample::{Sample, sum};
use crate::durable::drain::RECORDS_MAX;
use crate::durable::service::LANES;

/// How far memory and open files may move in the judged time: of the means of its minutes the largest less
/// the smallest, over their mean. A single look may find a burst, which is no leak; those are shown too.
const SPREAD_MAX: f64 = 0.05;
/// What the load may fall short of its rate.
const SHORT_MAX: f64 = 0.01;
/// Seconds of events that may wait at the end: the least that was seen to wait in the last minute.
const LAG_SECONDS_MAX: u64 = 5;
const LAST: Duration = Duration::from_mins(1);

/// Counters that stay at 0 as long as nothing is wrong …
const ALARMS: [&str; 4] = [
    "biometric_dead_letters_total",
    "biometric_state_mismatches_total",
    "biometric_states_rebuilt_total",
    "biometric_users_quarantined_total",
];
/// … and those that may count when the database stands still.
const FAILURES: [&str; 2] = ["biometric_commit_failures_total", "biometric_publish_failures_total"];

/// What a lane may hold of events that are not committed, in bytes of memory. First what the client fetches
/// ahead (`kafka.queue_bytes_max`), twice, since small events take as much for their places in the queue. Then
/// the batches in flight (`batch.in_flight_max` of `batch.records_max`): a record, what it changes, and its
/// rows, sealed and encoded, with a checkpoint every few records, take less than 4 KiB.
const LANE_BYTES_MAX: u64 = 2 * (16 << 20) + 3 * RECORDS_MAX * (4 << 10);

/// How the run ended.
pub(super) struct End {
    pub(super) sent: u64,
    /// Length of the load.
    pub(super) paced: Duration,
    /// How long what waited took then.
    pub(super) rest: Duration,
    /// Events that the lanes counted as new.
    pub(super) applied: u64,
    /// Of these still stored.
    pub(super) stored: u64,
    /// Records that the topic's retention has passed.
    pub(super) passed: u64,
    pub(super) metrics: String,
    pub(super) said: String,
}

/// What was found.
#[derive(Default)]
pub(super) struct Verdict {
    lines: Vec<String>,
    failed: bool,
}

impl Verdict {
    pub(super) fn of(soak: &Soak, samples: &[Sample], end: &End) -> Self {
        let mut verdict = Self::default();
        verdict.counts(soak, end);
        verdict.alarms(end);
        verdict.lag(soak, samples, end);
        if let Some(seconds) = soak.stall {
            verdict.stall(soak, samples, seconds, end);
        } else {
            verdict.steadiness(samples, end);
        }
        let disk = samples.iter().map(|sample| sample.sizes.disk).max().unwrap_or(0);
        verdict.say(format!("on the disk, at most: {:.1} GiB", disk as f64 / 1_073_741_824.0));
        verdict
    }

    fn say(&mut self, line: String) {
        self.lines.push(format!("      {line}"));
    }

    fn must(&mut self, holds: bool, line: String) {
        let word = if holds { "ok  " } else { "FAIL" };
        self.lines.push(format!("{word}  {line}"));
        self.failed |= !holds;
    }

    fn counts(&mut self, soak: &Soak, end: &End) {
        let rate = end.sent as f64 / end.paced.as_secs_f64();
        let line = format!("load: {} events, {rate:.0} a second", end.sent);
        self.must(rate >= soak.rate as f64 * (1.0 - SHORT_MAX), line);
        self.must(end.applied == end.sent, format!("applied once each: {}", end.applied));
        let dropped = end.applied.saturating_sub(end.stored);
        self.must(dropped > 0, format!("old records dropped from the store: {dropped}"));
    }

    fn alarms(&mut self, end: &End) {
        for name in ALARMS {
            let (count, shown) = counted(end, name);
            self.must(count == Some(0), shown);
        }
        let scrubbed = sum(&end.metrics, "biometric_states_scrubbed_total").unwrap_or(0);
        self.say(format!("states compared with their records meanwhile: {scrubbed}"));
        let errors = end.said.lines().filter(|line| line.contains("\"level\":\"ERROR\"")).count();
        self.must(errors == 0, format!("errors in the log: {errors}"));
    }

    fn lag(&mut self, soak: &Soak, samples: &[Sample], end: &End) {
        let last = samples.iter().filter(|sample| sample.time + LAST >= end.paced);
        let least = last.map(Sample::lag).min().unwrap_or(u64::MAX);
        let most = judged(samples).iter().map(Sample::lag).max().unwrap_or(u64::MAX);
        self.say(format!("events waiting, at most in the last two thirds: {most}"));
        let rest = end.rest.as_secs_f64();
        let line = format!("at least in the last minute: {least}; all applied {rest:.1} s later");
        self.must(least <= soak.rate * LAG_SECONDS_MAX, line);
    }

    fn steadiness(&mut self, samples: &[Sample], end: &End) {
        for name in FAILURES {
            let (count, shown) = counted(end, name);
            self.must(count == Some(0), shown);
        }
        self.must(end.passed > 0, format!("old events dropped from the topic: {}", end.passed));
        let stopped = samples.iter().filter(|sample| !sample.runs).count();
        self.must(stopped == 0, format!("looks that did not find all {LANES} lanes: {stopped}"));
        let judged = judged(samples);
        let memory = Spread::of(judged, mebibytes);
        self.must(memory.share <= SPREAD_MAX, format!("memory, MiB: {}", memory.words()));
        let files = Spread::of(judged, |sample| sample.files as f64);
        self.must(files.share <= SPREAD_MAX, format!("file descriptors: {}", files.words()));
    }

    /// Memory rises by no more than a lane may hold, and no more once it holds that.
    fn stall(&mut self, soak: &Soak, samples: &[Sample], seconds: u64, end: &End) {
        let first = samples.iter().position(|sample| sample.halted).unwrap_or(samples.len());
        let (before, rest) = samples.split_at(first);
        let halted = rest.partition_point(|sample| sample.halted);
        let (halted, after) = rest.split_at(halted);
        let most =
            |samples: &[Sample]| samples.iter().map(|sample| sample.resident).max().unwrap_or(0);
        let bytes = |bytes: u64| bytes >> 20;
        let (calm, peak) = (most(before), most(rest));
        let bound = u64::from(LANES.unsigned_abs()) * LANE_BYTES_MAX;
        self.must(
            peak <= calm + bound,
            format!(
                "memory with PostgreSQL halted for {seconds} s: {} to {} MiB, at most {} more",
                bytes(calm),
                bytes(peak),
                bytes(bound)
            ),
        );
        let waiting = halted.iter().map(Sample::lag).max().unwrap_or(0);
        let (_, late) = halted.split_at(halted.len() * 3 / 4);
        let grown = Spread::of(late, mebibytes);
        self.say(format!("memory in the last quarter of the halt, MiB: {}", grown.words()));
        for name in FAILURES {
            self.say(counted(end, name).1);
        }
        let over = halted.last().map(|sample| sample.time);
        let caught_up = after.iter().find(|sample| sample.lag() <= soak.rate);
        let took = over.zip(caught_up).map(|(over, sample)| sample.time.saturating_sub(over));
        let took = took.map_or("never".to_owned(), |took| format!("{:.0} s", took.as_secs_f64()));
        let line = format!("{waiting} events waited; caught up after {took}");
        self.must(caught_up.is_some(), line);
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        if self.failed {
            bail!("it does not hold");
        }
        Ok(())
    }
}

/// The last two thirds: what a start takes is over by then.
pub(super) fn judged(samples: &[Sample]) -> &[Sample] {
    samples.split_at(samples.len() / 3).1
}

/// A counter's value, and what to say of it.
fn counted(end: &End, name: &str) -> (Option<u64>, String) {
    match sum(&end.metrics, name) {
        Ok(count) => (Some(count), format!("{name}: {count}")),
        Err(error) => (None, error.to_string()),
    }
}

pub(super) fn mebibytes(sample: &Sample) -> f64 {
    sample.resident as f64 / 1_048_576.0
}

/// How far a figure moves.
pub(super) struct Spread {
    /// Of single looks.
    least: f64,
    most: f64,
    /// Of the means of minutes.
    low: f64,
    high: f64,
    mean: f64,
    /// Largest less smallest, over the mean.
    share: f64,
}

impl Spread {
    pub(super) fn of(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Self {
        let (least, most) = bounds(samples.iter().map(&figure));
        let minutes = samples.chunk_by(|one, next| minute(one) == minute(next));
        let mean =
            |samples: &[Sample]| samples.iter().map(&figure).sum::<f64>() / samples.len() as f64;
        let means: Vec<f64> = minutes.map(mean).collect();
        let (low, high) = bounds(means.iter().copied());
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        Self { least, most, low, high, mean, share: (high - low) / mean }
    }

    pub(super) fn words(&self) -> String {
        let Self { least, most, low, high, mean, share } = self;
        format!(
            "minutes {low:.1} to {high:.1}, mean {mean:.1}, spread {:.1} %; single looks {least:.0} to \
             {most:.0}",
            share * 100.0
        )
    }
}

/// A look tells of the seconds before it: the one at the end of a minute belongs to that minute.
fn minute(sample: &Sample) -> u64 {
    sample.time.as_secs().saturating_sub(1) / 60
}

fn bounds(figures: impl Iterator<Item = f64>) -> (f64, f64) {
    figures.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), figure| {
        (figure.min(least), figure.max(most))
    })
}
