//! What is set when somebody looks: how things stand now. Never adds up.

use std::time::Duration;

use actors::lane::Source;
use actors::observe::Condition;
use actors::rows::Sink;
use neuros::Mode;
use prometheus::{Gauge, IntGaugeVec, Opts, Registry};

use super::{Readiness, State};
use crate::kafka::{Lags, TopicNames};

/// How far lanes are behind the end of the log.
#[derive(Default)]
pub(super) struct Behind {
    /// In records.
    pub(super) lags: Lags,
    /// The longest that one has had something to read and has read nothing.
    pub(super) waiting: Duration,
}

/// All gauges of the process.
pub(super) struct Gauges {
    modes: IntGaugeVec,
    lag: IntGaugeVec,
    waiting: Gauge,
    outbox_waiting: IntGaugeVec,
    outbox_age: IntGaugeVec,
    users_live: IntGaugeVec,
    batches_queued: IntGaugeVec,
    lanes: IntGaugeVec,
    part_up: IntGaugeVec,
}

pub(super) const MODES: [Mode; 4] = [Mode::Reflex, Mode::Guardian, Mode::Pattern, Mode::Hypothesis];

impl Gauges {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name, help, labels: &[&str]| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            modes: gauge(
                "cognitive_mode_current",
                "Users in each mode, of the lanes of this process.",
                &["mode"],
            )?,
            lag: gauge(
                "kafka_consumer_lag",
                "Records between the committed position and the end of the log.",
                &["topic", "partition"],
            )?,
            waiting: super::metrics::gauge(
                registry,
                "biometric_event_waiting_seconds",
                "Of all lanes of this process, the longest that one has had records to read and has committed none.",
            )?,
            outbox_waiting: gauge(
                "biometric_outbox_waiting",
                "Rows of the outbox behind a sink's cursor.",
                &["sink"],
            )?,
            outbox_age: gauge(
                "biometric_outbox_waiting_seconds",
                "Since the oldest row of the outbox behind a sink's cursor was committed, when the sink takes its time.",
                &["sink"],
            )?,
            users_live: gauge("biometric_users_live", "Users in memory.", &[])?,
            batches_queued: gauge(
                "biometric_batches_queued",
                "Batches between ingest and commit.",
                &[],
            )?,
            lanes: gauge(
                "biometric_lanes",
                "Lanes of this process, by condition.",
                &["condition"],
            )?,
            part_up: gauge(
                "biometric_part_up",
                "1 for each part that /ready finds well, 0 for one that it does not.",
                &["part"],
            )?,
        })
    }

    /// Makes a mode's series appear before there is anything to tell.
    pub(super) fn name_mode(&self, mode: Mode) {
        self.modes.with_label_values(&[mode.as_str()]);
    }

    /// The same for a sink.
    pub(super) fn name_sink(&self, sink: Sink) {
        self.outbox_waiting.with_label_values(&[sink.as_str()]);
        self.outbox_age.with_label_values(&[sink.as_str()]);
    }

    /// Sets all to what is known now.
    pub(super) fn set(
        &self,
        state: &State,
        readiness: &Readiness,
        behind: &Behind,
        topics: &TopicNames,
    ) {
        self.part_up.reset();
        for (name, part) in &readiness.parts {
            self.part_up.with_label_values(&[*name]).set(i64::from(part.ok));
        }
        for mode in MODES {
            let of_lane = |counts: &actors::lane::ModeCounts| {
                counts.iter().find(|(known, _)| *known == mode).map_or(0, |(_, count)| count)
            };
            let users = state.modes.values().map(of_lane).sum();
            self.modes.with_label_values(&[mode.as_str()]).set(users);
        }
        self.lag.reset();
        for (lane, lag) in &behind.lags {
            for source in Source::ALL {
                let labels = [topics.of(source), &lane.to_string()];
                self.lag.with_label_values(&labels).set(*lag.of(source));
            }
        }
        self.waiting.set(behind.waiting.as_secs_f64());
        // Each condition has its series, also when no lane is in it: an alarm looks at it.
        for name in Condition::NAMES {
            self.lanes.with_label_values(&[name]).set(0);
        }
        for condition in state.lanes.values() {
            self.lanes.with_label_values(&[condition.as_str()]).inc();
        }
        let now = crate::app::now();
        for sink in Sink::ALL {
            let told =
                || state.sinks.iter().filter(|((_, of), _)| *of == sink).map(|(_, told)| told);
            let waiting = told().map(|told| told.waiting).sum();
            self.outbox_waiting.with_label_values(&[sink.as_str()]).set(waiting);
            let oldest = told().filter_map(|told| told.waiting_since).min();
            let age = oldest.map_or(0, |since| (now - since).0.max(0) / 1_000_000);
            self.outbox_age.with_label_values(&[sink.as_str()]).set(age);
        }
        self.users_live.with_label_values::<&str>(&[]).set(signed(state.live_users.values().sum()));
        self.batches_queued.with_label_values::<&str>(&[]).set(signed(state.queued.values().sum()));
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
