//! The one table: every figure with its unit, and beside it what it is to be compared with.

use std::io::Write as _;

use super::copy::Copied;
use super::drain::Drained;
use super::latency::Paced;

/// Collects lines; prints them at the end, in the order of their making.
#[derive(Default)]
pub(super) struct Report {
    lines: Vec<(String, String)>,
    memories: Vec<Memory>,
}

/// What a drain has left in memory.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) users: u64,
    pub(super) events: u64,
    idle_bytes: u64,
    bytes: u64,
    checkpoint_bytes: f64,
}

const MEBIBYTE: f64 = 1_048_576.0;

impl Report {
    fn line(&mut self, what: impl Into<String>, figure: String) {
        self.lines.push((what.into(), figure));
    }

    pub(super) fn memories(&self) -> &[Memory] {
        &self.memories
    }

    pub(super) fn drained(&mut self, drained: &Drained, copied: &Copied) {
        let Drained { users, events, event_bytes, seconds, rate, .. } = *drained;
        self.line(
            format!("durable, end to end, {users} users"),
            format!(
                "{rate:.0} events/s ({events} events of {event_bytes} bytes in {seconds:.1} s)"
            ),
        );
        if let Some(known) = drained.rate_of_known {
            self.line("  after every user was met", format!("{known:.0} events/s"));
        }
        self.line(
            "  COPY alone, the same rows and table",
            format!("{:.0} rows/s of {} bytes", copied.rate, copied.row_bytes),
        );
        self.line("  ratio", format!("{:.2}", rate / copied.rate));
        if let Some(known) = drained.rate_of_known {
            self.line("  ratio after every user was met", format!("{:.2}", known / copied.rate));
        }
        self.line("  COPY, yardstick", format!("{:.0} rows/s", copied.yardstick));
        let micros = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e6 / events as f64;
        let cpu = drained.cpu;
        self.line("  CPU of the service", format!("{:.2} µs/event", micros(cpu.service)));
        self.line("  CPU of PostgreSQL", format!("{:.2} µs/event", micros(cpu.postgres)));
        self.line(
            "  CPU of PostgreSQL, COPY alone",
            format!("{:.2} µs/row", copied.postgres_micros),
        );
        self.line("  CPU of Kafka", format!("{:.2} µs/event", micros(cpu.kafka)));
        let used = (cpu.service + cpu.postgres + cpu.kafka).as_secs_f64() / seconds;
        self.line("  cores used by the three", format!("{used:.2}"));
        self.line("  mean batch", format!("{:.0} records", drained.batch_records));
        self.line("  mean commit", format!("{:.1} ms", drained.commit_milliseconds));
        let share = drained.transitions as f64 / events as f64 * 100.0;
        self.line("  mode changes", format!("{} ({share:.2} % of events)", drained.transitions));
        self.line("  memory before any event", mebibytes(drained.idle_bytes));
        self.line("  memory with all users live", mebibytes(drained.bytes));
        self.memories.push(Memory {
            users,
            events,
            idle_bytes: drained.idle_bytes,
            bytes: drained.bytes,
            checkpoint_bytes: drained.checkpoint_bytes,
        });
    }

    /// Between two drains of the same events for few and many users; `state_bytes` is what a state takes
    /// when there is nothing but states.
    pub(super) fn memory(&mut self, few: Memory, many: Memory, state_bytes: f64) {
        let more = (many.users - few.users) as f64;
        let slope = (many.bytes as f64 - few.bytes as f64) / more;
        let whole = many.bytes.saturating_sub(many.idle_bytes) as f64 / many.users as f64;
        self.line(
            format!("memory of a live user, from {} to {} users", few.users, many.users),
            format!("{slope:.0} bytes"),
        );
        self.line(
            format!("  all that came with {} users, by user", many.users),
            format!("{whole:.0} bytes"),
        );
        self.line("  the state alone, in a process of its own", format!("{state_bytes:.0} bytes"));
        self.line("  its sealed checkpoint, mean", format!("{:.0} bytes", many.checkpoint_bytes));
        self.line("  beyond the state", format!("{:.0} bytes", slope - state_bytes));
        let beyond_all = whole - state_bytes;
        self.line("  beyond the state, of all that came", format!("{beyond_all:.0} bytes"));
    }

    pub(super) fn paced(&mut self, paced: Paced) {
        let milliseconds = |quantile| paced.seen.value_at_quantile(quantile) as f64 / 1_000.0;
        let (rate, floor, p99) = (paced.rate, paced.floor(), milliseconds(0.99));
        self.line(
            format!("mode change seen after sending, at {rate} events/s"),
            format!(
                "p50 {:.1} ms, p99 {p99:.1} ms, most {:.1} ms ({} changes)",
                milliseconds(0.5),
                milliseconds(1.0),
                paced.seen.len()
            ),
        );
        let commit = |quantile| paced.commits.value_at_quantile(quantile) as f64 / 1_000.0;
        self.line(
            "  commit of a single row meanwhile",
            format!("p50 {:.1} ms, p99 {:.1} ms", commit(0.5), commit(0.99)),
        );
        self.line("  fetch wait + that p99 + linger", format!("{floor:.1} ms"));
        self.line("  ratio of the p99", format!("{:.2}", p99 / floor));
        self.line("  mean batch", format!("{:.1} records", paced.batch_records));
        self.line("  mean commit", format!("{:.1} ms", paced.commit_milliseconds));
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        let width = self.lines.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
        let mut out = std::io::stdout().lock();
        for (what, figure) in &self.lines {
            writeln!(out, "{what:width$}  {figure}")?;
        }
        Ok(())
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MEBIBYTE)
}
