//! Metrics that belong together, as one part of all of them. They count, and know nothing of what led to it.

use std::time::Duration;

use actors::lane::Source;
use actors::observe::BatchReport;
use neuros::alert::Held;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::{counter, counters};
use crate::telemetry::Spans;

/// A record that waits longer from the log to its commit is late: what the objective of `config/dashboards/slo.json`
/// is about.
const LATE: Duration = Duration::from_secs(1);

/// What becomes of records that were read.
const RECORD_OUTCOMES: [&str; 6] =
    ["new", "duplicate", "dead_letter", "forwarded", "skipped", "erased"];

/// What becomes of records.
pub(super) struct Records {
    applied: IntCounter,
    pub(super) late: IntCounter,
    outcomes: IntCounterVec,
    evaluations: IntCounter,
}

impl Records {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let outcomes = counters(
            registry,
            "biometric_records_total",
            "Records read and committed, by topic's role and by what became of them.",
            &["source", "outcome"],
        )?;
        for source in Source::ALL {
            for outcome in RECORD_OUTCOMES {
                outcomes.with_label_values(&[source.as_str(), outcome]);
            }
        }
        Ok(Self {
            applied: counter(
                registry,
                "biometric_events_processed_total",
                "Records applied to their user's state and committed.",
            )?,
            late: counter(
                registry,
                "biometric_events_late_total",
                "Records committed more than a second after the oldest record of their batch had entered the log.",
            )?,
            outcomes,
            evaluations: counter(
                registry,
                "biometric_evaluations_total",
                "Events evaluated and committed: those that could have changed a mode.",
            )?,
        })
    }

    /// Counts a batch; gives how many records were read for it.
    pub(super) fn committed(&self, report: &BatchReport) -> i64 {
        let is_late = report.event_age.is_some_and(|age| age > LATE);
        self.evaluations.inc_by(report.evaluations);
        let mut read = 0;
        for source in Source::ALL {
            let counts = report.counts.of(source);
            let refused = *report.refused.of(source);
            read += counts.read();
            self.applied.inc_by(unsigned(counts.new));
            if is_late {
                self.late.inc_by(unsigned(counts.new));
            }
            let counted = [
                counts.new,
                counts.duplicate,
                counts.dead_letter,
                counts.forwarded,
                counts.skipped - refused,
                refused,
            ];
            for (outcome, count) in RECORD_OUTCOMES.into_iter().zip(counted) {
                let labels = [source.as_str(), outcome];
                self.outcomes.with_label_values(&labels).inc_by(unsigned(count));
            }
        }
        read
    }
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// What comes of being asked over HTTP.
pub(super) struct Asked {
    pub(super) requests: IntCounterVec,
    pub(super) failures: IntCounterVec,
}

/// What becomes of spans.
pub(super) struct Traced {
    spans: IntCounterVec,
    passed_over: IntCounter,
}

impl Traced {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let traced = Self {
            spans: counters(
                registry,
                "biometric_spans_total",
                "Spans that the collector has taken, and that were dropped: by a full queue, or because it did not.",
                &["outcome"],
            )?,
            passed_over: counter(
                registry,
                "biometric_records_not_followed_total",
                "Records that would have been followed if not enough others of their batch had been.",
            )?,
        };
        traced.set(None);
        Ok(traced)
    }

    /// Sets what is counted elsewhere. One looks at a time.
    pub(super) fn set(&self, spans: Option<&Spans>) {
        let counts = spans.map(|spans| (spans.exported(), spans.dropped(), spans.passed_over()));
        let (exported, dropped, passed_over) = counts.unwrap_or_default();
        for (counter, counted) in [
            (&self.spans.with_label_values(&["exported"]), exported),
            (&self.spans.with_label_values(&["dropped"]), dropped),
            (&self.passed_over, passed_over),
        ] {
            counter.inc_by(counted.saturating_sub(counter.get()));
        }
    }
}

/// What is said of alerts, and what is not.
pub(super) struct Alerts {
    pub(super) changes: IntCounterVec,
    pub(super) held_back: IntCounterVec,
}

impl Alerts {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let changes = counters(
            registry,
            "biometric_alert_changes_total",
            "Changes of alerts committed, by where the alert stands then.",
            &["status"],
        )?;
        let held_back = counters(
            registry,
            "biometric_alerts_held_back_total",
            "Times that something was found and nobody was notified, by reason.",
            &["reason"],
        )?;
        for status in ["firing", "acknowledged", "resolved", "expired"] {
            changes.with_label_values(&[status]);
        }
        for held in Held::ALL {
            held_back.with_label_values(&[held.as_str()]);
        }
        Ok(Self { changes, held_back })
    }

    pub(super) fn committed(&self, report: &BatchReport) {
        for (status, count) in &report.alerts {
            self.changes.with_label_values(&[status]).inc_by(*count);
        }
        for (held, count) in Held::ALL.into_iter().zip(report.held) {
            self.held_back.with_label_values(&[held.as_str()]).inc_by(count.into());
        }
    }
}

/// What comes of comparing states with their records.
pub(super) struct Scrub {
    pub(super) scrubbed: IntCounter,
    pub(super) mismatches: IntCounterVec,
    pub(super) unreplayable: IntCounter,
}

/// What becomes of messages.
pub(super) struct Outputs {
    pub(super) published: IntCounterVec,
    pub(super) failures: IntCounterVec,
    pub(super) unopened: IntCounterVec,
}

impl Scrub {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            scrubbed: counter(
                registry,
                "biometric_states_scrubbed_total",
                "States compared with what stored records make of them.",
            )?,
            mismatches: counters(
                registry,
                "biometric_state_mismatches_total",
                "States that were not what stored records make of them, an alarm: in memory, in a \
                 checkpoint, or in a checkpoint that does not open.",
                &["kind"],
            )?,
            unreplayable: counter(
                registry,
                "biometric_states_unreplayable_total",
                "States that could not be compared: their stored records cannot be replayed.",
            )?,
        })
    }
}

impl Outputs {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let of_sinks = |name, help| counters(registry, name, help, &["sink"]);
        Ok(Self {
            published: of_sinks("biometric_published_total", "Messages safe at a sink.")?,
            failures: of_sinks(
                "biometric_publish_failures_total",
                "Attempts to publish that failed.",
            )?,
            unopened: of_sinks(
                "biometric_outbox_unopened_total",
                "Messages that open no more and were passed over: their user was erased.",
            )?,
        })
    }
}

impl Asked {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: counters(
                registry,
                "biometric_http_requests_total",
                "Requests answered, by the pattern of their route and by status.",
                &["route", "status"],
            )?,
            failures: counters(
                registry,
                "biometric_authentication_failures_total",
                "Requests for health data of whom nobody knows who they are, by reason.",
                &["reason"],
            )?,
        })
    }
}

/// What becomes of the connection to the peer.
pub(in crate::watch) struct Pushes {
    pub(in crate::watch) connected: IntGauge,
    pub(in crate::watch) connections: IntCounter,
    pub(in crate::watch) failures: IntCounterVec,
    pub(in crate::watch) unanswered: IntGauge,
    pub(in crate::watch) ignored: IntCounterVec,
}

impl Pushes {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let ignored = counters(
            registry,
            "biometric_push_ignored_total",
            "What the peer said and nobody waits for, by kind.",
            &["kind"],
        )?;
        for kind in ["unknown_message", "unknown_ack", "unknown_pong"] {
            ignored.with_label_values(&[kind]);
        }
        let failures = counters(
            registry,
            "biometric_push_disconnects_total",
            "Connections to the peer that ended, or were not opened, by reason.",
            &["reason"],
        )?;
        for reason in crate::push::disconnects() {
            failures.with_label_values(&[reason]);
        }
        Ok(Self {
            connected: gauge(
                "biometric_push_connected",
                "1 while there is a connection to the peer of push.websocket_url.",
            )?,
            connections: counter(
                registry,
                "biometric_push_connections_total",
                "Connections to the peer that were opened.",
            )?,
            failures,
            unanswered: gauge(
                "biometric_push_unacknowledged",
                "Messages written to the peer that it is not known to have read.",
            )?,
            ignored,
        })
    }
}

/// What becomes of sockets.
pub(in crate::watch) struct Sockets {
    pub(in crate::watch) open: IntGauge,
    pub(in crate::watch) sent: IntCounter,
    pub(in crate::watch) closed: IntCounterVec,
}

impl Sockets {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let open = IntGauge::new("biometric_sockets", "Sockets that are open.")?;
        registry.register(Box::new(open.clone()))?;
        let closed = counters(
            registry,
            "biometric_sockets_closed_total",
            "Sockets that have ended, by the code that they were closed with; 1000 when the client left.",
            &["code"],
        )?;
        for code in ["1000", "1001", "1008", "1011", "1012", "1013", "4001", "4003", "4008", "4009"]
        {
            closed.with_label_values(&[code]);
        }
        let sent =
            counter(registry, "biometric_socket_messages_total", "Messages sent on sockets.")?;
        Ok(Self { open, sent, closed })
    }
}
