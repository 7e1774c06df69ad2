//! Decoding, stepping and replaying on one core, each beside a yardstick from the same run.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::BufReader;

use bench_engine::{
    Shape, decode_all, decode_and_step, fold, messages, people_log, people_records,
};
use biometric_bridge::replay::{Applied, Lines, Replay};
use chrono::{DateTime, NaiveDateTime, Utc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use neuros::wire::Intake;
use neuros::{Explain, Policy};
use serde::Deserialize;

const COUNT: u64 = 10_000;

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(COUNT));
    let intake = Intake::default();
    for shape in [Shape::E1, Shape::E2, Shape::E3] {
        let load = messages(shape, COUNT);
        assert_eq!(decode_all(&load, &intake), load.len());
        group.bench_function(format!("{shape:?}"), |bencher| {
            bencher.iter(|| decode_all(black_box(&load), &intake));
        });
    }
    let load = messages(Shape::E1, COUNT);
    group.bench_function("E1, serde_json into owned fields and chrono", |bencher| {
        bencher.iter(|| black_box(&load).iter().filter(|text| plain_decode(text)).count());
    });
    group.finish();
}

/// What one would write first: the yardstick.
fn plain_decode(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Plain {
        user_id: String,
        device_id: String,
        event_type: String,
        timestamp: String,
        metrics: BTreeMap<String, f64>,
    }
    let Ok(plain) = serde_json::from_slice::<Plain>(text.as_bytes()) else {
        return false;
    };
    let time: Result<DateTime<Utc>, _> =
        plain.timestamp.parse::<NaiveDateTime>().map(|naive| naive.and_utc());
    black_box((&plain.user_id, &plain.device_id, &plain.event_type, &plain.metrics));
    time.is_ok()
}

fn stepping(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    let (policy, records) = (Policy::default(), people_records());
    group.throughput(Throughput::Elements(records.len() as u64));
    group.bench_function("twenty people", |bencher| {
        bencher.iter(|| fold(&policy, black_box(&records)));
    });
    group.finish();
}

fn decoding_and_stepping(criterion: &mut Criterion) {
    // A hundred events of each user: what a state costs once does not count much.
    let count = 10 * COUNT;
    let mut group = criterion.benchmark_group("decode and step");
    group.throughput(Throughput::Elements(count)).sample_size(30);
    let (policy, intake) = (Policy::default(), Intake::default());
    let load = messages(Shape::E1, count);
    group.bench_function("E1", |bencher| {
        bencher.iter(|| decode_and_step(&policy, black_box(&load), &intake));
    });
    group.finish();
}

fn replaying(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    let policy = Policy::default();
    group.throughput(Throughput::Elements(people_log().lines().count() as u64));
    group.bench_function("twenty people, from text to outcomes", |bencher| {
        bencher.iter(|| {
            let mut replay = Replay::new(&policy, Intake::default(), Explain::Switches, None);
            let mut lines = Lines::numbered_from(0, BufReader::new(people_log().as_bytes()));
            let mut events = 0;
            while let Ok(Some(numbered)) = lines.read() {
                let Ok(line) = numbered.line else { continue };
                events += replay.apply(&line, |applied| match applied {
                    Applied::Record { outcomes, .. } => outcomes.len(),
                    Applied::Rejected { .. } | Applied::Ignored => 0,
                });
            }
            events
        });
    });
    group.finish();
}

criterion_group!(benches, decoding, stepping, decoding_and_stepping, replaying);
criterion_main!(benches);
