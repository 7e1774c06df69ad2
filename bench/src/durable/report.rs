//! From what was measured to the table: every figure under its name, with what we want of it.

use super::copy::Copied;
use super::drain::Drained;
use super::latency::Paced;
use super::looks::Look;
use super::sockets::Sockets;
use crate::table::{Goal, Table};

const MEBIBYTE: f64 = 1_048_576.0;
const GIBIBYTE: f64 = 1_024.0 * MEBIBYTE;

/// The names of users' counts: `10k users`.
pub(super) fn of_users(users: u64) -> String {
    of(users, "users")
}

/// The name of a count of something.
fn of(count: u64, what: &str) -> String {
    match count {
        1_000_000.. if count.is_multiple_of(1_000_000) => format!("{}M {what}", count / 1_000_000),
        1_000.. if count.is_multiple_of(1_000) => format!("{}k {what}", count / 1_000),
        _ => format!("{count} {what}"),
    }
}

/// A drain by itself.
pub(super) fn drained(table: &mut Table, drained: &Drained) {
    let of = of_users(drained.users);
    table.put(format!("{of}: events drained"), drained.events as f64, "events");
    table.put(format!("{of}: mean event"), drained.event_bytes as f64, "bytes");
    table.put(format!("{of}: durable, end to end"), drained.whole.rate, "events/s");
    table.put(format!("{of}: after every user was met"), drained.known.rate, "events/s");
    for (whose, micros) in [
        ("service", drained.whole.service),
        ("PostgreSQL", drained.whole.postgres),
        ("Kafka", drained.whole.kafka),
    ] {
        table.put(format!("{of}: CPU of {whose}"), micros, "µs/event");
    }
    let all = drained.whole.service + drained.whole.postgres + drained.whole.kafka;
    table.put(format!("{of}: a core shared by all three"), 1e6 / all, "events/s");
    table.put(format!("{of}: in the database's files"), drained.stored_bytes, "bytes/event");
    table.put(format!("{of}: in its write-ahead log"), drained.logged_bytes, "bytes/event");
    table.put(format!("{of}: mean batch"), drained.batch_records, "records");
    table.put(format!("{of}: mean commit"), drained.commit_milliseconds, "ms");
    let share = drained.transitions as f64 / drained.events as f64 * 100.0;
    table.put(format!("{of}: mode changes"), share, "% of events");
    table.put(format!("{of}: memory, all users live"), mebibytes(drained.bytes), "MiB");
    table.put(format!("{of}: sealed checkpoint"), drained.checkpoint_bytes, "bytes");
}

/// A drain beside COPY alone.
pub(super) fn copied(table: &mut Table, drained: &Drained, copied: &Copied) {
    let of = of_users(drained.users);
    let share = drained.stored as f64 / drained.events as f64;
    table.put(format!("{of}: COPY alone, the same rows"), copied.rate, "rows/s");
    table.put(format!("{of}: a row in COPY"), copied.row_bytes as f64, "bytes");
    table.put(format!("{of}: CPU of PostgreSQL, COPY alone"), copied.postgres_micros, "µs/row");
    table.put(format!("{of}: COPY of fixed rows"), copied.yardstick, "rows/s");
    let stored = drained.whole.rate * share;
    let goal = Goal::at_least(0.55, 0.80);
    table.judge(format!("{of}: durable / COPY alone"), stored / copied.rate, "", goal);
    let known = drained.known.rate * share / copied.rate;
    table.put(format!("{of}: durable after all were met / COPY alone"), known, "");
    table.put(format!("{of}: durable / COPY of fixed rows"), stored / copied.yardstick, "");
    let goal = Goal::at_most(1.0, 0.5);
    let cpu = drained.whole.service / drained.whole.postgres;
    table.judge(format!("{of}: CPU of service / PostgreSQL"), cpu, "", goal);
}

/// Memory, from a drain of few users and one of many with as many events; `state_bytes` is what a state
/// takes when there is nothing but states.
pub(super) fn memory(table: &mut Table, few: &Drained, many: &Drained, state_bytes: f64) {
    let more = (many.users - few.users) as f64;
    let slope = (many.bytes as f64 - few.bytes as f64) / more;
    table.put("a live user", slope, "bytes");
    table.put("live users in a GiB", GIBIBYTE / slope, "users");
    table.put("a state alone, in a process of its own", state_bytes, "bytes");
    let goal = Goal::at_most(2_048.0, 1_280.0);
    table.judge("a live user beyond its state", slope - state_bytes, "bytes", goal);
    let goal = Goal::at_most(64.0, 32.0);
    table.judge("memory when idle", mebibytes(few.idle_bytes), "MiB", goal);
}

/// The rate at which latency is judged, events a second.
const JUDGED_RATE: u64 = 2_000;

/// A paced run.
pub(super) fn paced(table: &mut Table, paced: &Paced) {
    let of = format!("{} events/s", paced.rate);
    let seen = |quantile| paced.seen.value_at_quantile(quantile) as f64 / 1_000.0;
    let commit = |quantile| paced.commits.value_at_quantile(quantile) as f64 / 1_000.0;
    let (p99, floor) = (seen(0.99), paced.floor());
    table.put(format!("{of}: mode changes timed"), paced.seen.len() as f64, "");
    table.put(format!("{of}: produce to mode change, p50"), seen(0.5), "ms");
    table.put(format!("{of}: produce to mode change, p99"), p99, "ms");
    table.put(format!("{of}: commit of one row meanwhile, p50"), commit(0.5), "ms");
    table.put(format!("{of}: commit of one row meanwhile, p99"), commit(0.99), "ms");
    table.put(format!("{of}: fetch + that p99 + linger"), floor, "ms");
    table.put(format!("{of}: mean batch"), paced.batch_records, "records");
    table.put(format!("{of}: mean commit"), paced.commit_milliseconds, "ms");
    let goal = Goal::at_most(3.0, 1.6).filter(|_| paced.rate == JUDGED_RATE);
    table.judge(format!("{of}: p99 / floor"), p99 / floor, "", goal);
}

/// Sockets.
pub(super) fn sockets(table: &mut Table, sockets: &Sockets) {
    let Sockets { idle, subscribers, idle_bytes, rate, bare_rate, message_bytes, micros, seen } =
        sockets;
    let of_all = of(*subscribers as u64, "subscribers");
    let milliseconds = |quantile| seen.value_at_quantile(quantile) as f64 / 1_000.0;
    table.put(format!("{of_all}: mean message"), *message_bytes, "bytes");
    table.put(format!("{of_all}: fan-out"), *rate, "messages/s");
    table.put(format!("{of_all}: the same bytes, sent by nothing else"), *bare_rate, "messages/s");
    table.put(format!("{of_all}: fan-out / bare"), rate / bare_rate, "");
    table.put(format!("{of_all}: CPU of the service"), *micros, "µs/message");
    table.put(format!("{of_all}: produce to receipt, p50"), milliseconds(0.5), "ms");
    table.put(format!("{of_all}: produce to receipt, p99"), milliseconds(0.99), "ms");
    let goal = Goal::at_most(24_576.0, 16_384.0);
    table.judge(
        format!("an idle socket of {}", of(*idle as u64, "sockets")),
        *idle_bytes,
        "bytes",
        goal,
    );
}

/// A look into a user.
pub(super) fn look(table: &mut Table, look: &Look) {
    let of = format!("a user of {}{}", of(look.events, "events"), look.when);
    table.put(format!("{of}: a look, p50"), look.milliseconds, "ms");
    table.put(format!("{of}: rows of records read for it"), look.rows, "rows");
}

/// Looks into users with many and with few events.
pub(super) fn looks(table: &mut Table, most: u64, [now, then]: [f64; 2]) {
    let name = format!("a look into a user of {} / few", of(most, "events"));
    table.judge(name.clone(), now, "", Goal::at_most(2.0, 1.0));
    // Nothing of those days was evaluated, for it came when it was old: the last evaluation is looked for further back.
    table.put(format!("{name}, half of them ago"), then, "");
}

pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MEBIBYTE
}
