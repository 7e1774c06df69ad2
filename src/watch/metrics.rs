//! The metrics, by the names that dashboards and alerts already use and those that operators need beside
//! them.

mod groups;

use actors::observe::{BatchReport, CommitFailure, Looked, Published};
use actors::rows::Sink;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use self::groups::{Alerts, Asked, Outputs, Pushes, Records, Scrub, Sockets, Traced};
use super::audit::AuditMetrics;
use super::coach::CoachMetrics;
use super::gauges::{Behind, Gauges, MODES};
use super::{Readiness, State};
use crate::kafka::TopicNames;
use crate::telemetry;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    records: Records,
    transitions: IntCounter,
    alerts: Alerts,
    dead_letters: IntCounterVec,
    released: IntCounterVec,
    scrub: Scrub,
    commands: IntCounter,
    commit_failures: IntCounterVec,
    claims: IntCounter,
    checkpoints: IntCounter,
    rebuilt: IntCounter,
    quarantined: IntCounter,
    cache_failures: IntCounter,
    outputs: Outputs,
    key_usage: Gauge,
    pub(super) audit: AuditMetrics,
    gauges: Gauges,
    histograms: Histograms,
    asked: Asked,
    traced: Traced,
    pub(super) sockets: Sockets,
    pub(super) pushes: Pushes,
    pub(super) coach: CoachMetrics,
}

/// What has a distribution.
struct Histograms {
    batch_records: Histogram,
    commit_seconds: Histogram,
    event_age_seconds: Histogram,
}

impl Metrics {
    /// All of them at zero.
    ///
    /// # Errors
    ///
    /// When two have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let counter = |name, help| counter(&registry, name, help);
        let counters = |name, help, labels| counters(&registry, name, help, labels);
        let metrics = Self {
            records: Records::new(&registry)?,
            transitions: counter("cognitive_mode_transitions", "Mode changes committed.")?,
            alerts: Alerts::new(&registry)?,
            dead_letters: counters(
                "biometric_dead_letters_total",
                "Dead letters committed, by reason.",
                &["reason"],
            )?,
            released: counters(
                "biometric_dead_letters_released_total",
                "Dead letters that left the list, by what became of them.",
                &["fate"],
            )?,
            scrub: Scrub::new(&registry)?,
            commands: counter("biometric_commands_total", "Operators' commands carried out.")?,
            commit_failures: counters(
                "biometric_commit_failures_total",
                "Commits that failed: fenced, away, unknown or refused.",
                &["kind"],
            )?,
            claims: counter(
                "biometric_lane_claims_total",
                "Lanes claimed: at first, from others, and again after a failure.",
            )?,
            checkpoints: counter("biometric_checkpoints_total", "Checkpoints written.")?,
            rebuilt: counter(
                "biometric_states_rebuilt_total",
                "States rebuilt from stored records, their checkpoint being missing or unreadable.",
            )?,
            quarantined: counter("biometric_users_quarantined_total", "Users put in quarantine.")?,
            cache_failures: counter(
                "biometric_cache_failures_total",
                "Times the cache did not take states; nothing depends on it.",
            )?,
            outputs: Outputs::new(&registry)?,
            key_usage: gauge(
                &registry,
                "biometric_key_usage_ratio_max",
                "Of all data keys the largest part of 2^30 seals that may be used up; rotate keys before 1.",
            )?,
            audit: AuditMetrics::new(&registry)?,
            gauges: Gauges::new(&registry)?,
            histograms: Histograms::new(&registry)?,
            asked: Asked::new(&registry)?,
            traced: Traced::new(&registry)?,
            sockets: Sockets::new(&registry)?,
            pushes: Pushes::new(&registry)?,
            coach: CoachMetrics::new(&registry)?,
            registry,
        };
        build_info(&metrics.registry)?;
        metrics.name_all_labels();
        Ok(metrics)
    }

    /// A series that appears only with its first value cannot be alerted on.
    fn name_all_labels(&self) {
        for sink in Sink::ALL {
            self.outputs.published.with_label_values(&[sink.as_str()]);
            self.outputs.failures.with_label_values(&[sink.as_str()]);
            self.outputs.unopened.with_label_values(&[sink.as_str()]);
            self.gauges.name_sink(sink);
        }
        for kind in ["fenced", "away", "unknown", "refused"] {
            self.commit_failures.with_label_values(&[kind]);
        }
        for reason in neuros::wire::Reason::ALL.map(neuros::wire::Reason::as_str) {
            self.dead_letters.with_label_values(&[reason]);
        }
        for reason in [actors::intake::MISROUTED, actors::intake::QUARANTINED] {
            self.dead_letters.with_label_values(&[reason]);
        }
        for fate in ["applied", "duplicate", "discarded"] {
            self.released.with_label_values(&[fate]);
        }
        for kind in ["memory", "checkpoint", "unreadable"] {
            self.scrub.mismatches.with_label_values(&[kind]);
        }
        for route in crate::http::ROUTES {
            for status in ["200", "500", "503"] {
                self.asked.requests.with_label_values(&[route.pattern, status]);
            }
        }
        for reason in crate::http::REFUSALS {
            self.asked.failures.with_label_values(&[reason]);
        }
        for mode in MODES {
            self.gauges.name_mode(mode);
        }
    }

    pub(super) fn committed(&self, report: &BatchReport) {
        let read = self.records.committed(report);
        self.transitions.inc_by(report.transitions);
        self.alerts.committed(report);
        for (reason, count) in &report.dead_letters {
            self.dead_letters.with_label_values(&[reason]).inc_by(*count);
        }
        for (fate, count) in &report.released {
            self.released.with_label_values(&[fate]).inc_by(*count);
        }
        self.commands.inc_by(report.commands);
        #[expect(clippy::cast_precision_loss, reason = "a batch has some thousand records")]
        self.histograms.batch_records.observe(read as f64);
        self.histograms.commit_seconds.observe(report.commit_time.as_secs_f64());
        if let Some(age) = report.event_age {
            self.histograms.event_age_seconds.observe(age.as_secs_f64());
        }
        self.checkpoints.inc_by(report.checkpoints);
    }

    pub(super) fn commit_failed(&self, kind: CommitFailure) {
        let kind = match kind {
            CommitFailure::Fenced => "fenced",
            CommitFailure::Away => "away",
            CommitFailure::Unknown => "unknown",
            CommitFailure::Refused => "refused",
        };
        self.commit_failures.with_label_values(&[kind]).inc();
    }

    pub(super) fn claimed(&self) {
        self.claims.inc();
    }

    pub(super) fn scrubbed(&self, looked: Looked) {
        let kind = match looked {
            Looked::Unreplayable => return self.scrub.unreplayable.inc(),
            Looked::Agrees => None,
            Looked::MemoryDiffers => Some("memory"),
            Looked::CheckpointDiffers => Some("checkpoint"),
            Looked::CheckpointUnreadable => Some("unreadable"),
        };
        self.scrub.scrubbed.inc();
        if let Some(kind) = kind {
            self.scrub.mismatches.with_label_values(&[kind]).inc();
        }
    }

    pub(super) fn key_usage(&self, ratio: f64) {
        self.key_usage.set(ratio);
    }

    pub(super) fn rebuilt(&self, users: usize) {
        self.rebuilt.inc_by(users as u64);
    }
    pub(super) fn cached(&self, available: bool) {
        self.cache_failures.inc_by(u64::from(!available));
    }

    pub(super) fn quarantined(&self) {
        self.quarantined.inc();
    }

    pub(super) fn answered(&self, route: &str, status: u16) {
        self.asked.requests.with_label_values(&[route, &status.to_string()]).inc();
    }

    pub(super) fn authentication_failed(&self, reason: &str) {
        self.asked.failures.with_label_values(&[reason]).inc();
    }

    pub(super) fn published(&self, sink: Sink, report: &Published) {
        self.outputs.published.with_label_values(&[sink.as_str()]).inc_by(report.messages);
        self.outputs.unopened.with_label_values(&[sink.as_str()]).inc_by(report.unopened);
        if report.problem.is_some() {
            self.outputs.failures.with_label_values(&[sink.as_str()]).inc();
        }
    }

    /// Sets the gauges from what is known now, and writes everything.
    pub(super) fn exposition(
        &self,
        state: &State,
        readiness: &Readiness,
        behind: &Behind,
        topics: &TopicNames,
    ) -> Result<String, prometheus::Error> {
        self.gauges.set(state, readiness, behind, topics);
        self.audit.set();
        self.traced.set(telemetry::traces().spans());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

impl Histograms {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name, help, bounds: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        Ok(Self {
            batch_records: histogram(
                "biometric_batch_records",
                "Records of a committed batch.",
                &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0],
            )?,
            commit_seconds: histogram(
                "biometric_commit_seconds",
                "From the begin of a batch's transaction to its end.",
                &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0],
            )?,
            event_age_seconds: histogram(
                "biometric_event_age_seconds",
                "From the entry of a batch's oldest record into the log to its commit.",
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3_600.0],
            )?,
        })
    }
}

pub(super) fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

/// 1, with the release that runs.
fn build_info(registry: &Registry) -> Result<(), prometheus::Error> {
    let options = Opts::new("biometric_build_info", "1, with the release that runs.");
    let info = IntGaugeVec::new(options, &["version"])?;
    registry.register(Box::new(info.clone()))?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(())
}

pub(super) fn gauge(
    registry: &Registry,
    name: &str,
    help: &str,
) -> Result<Gauge, prometheus::Error> {
    let gauge = Gauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

pub(super) fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actors::lane::{Counts, Lane, ModeCounts, PerSource, Positions};

    use super::*;

    fn exposition(metrics: &Metrics, state: &State) -> String {
        exposition_behind(metrics, state, &Behind::default())
    }

    fn exposition_behind(metrics: &Metrics, state: &State, behind: &Behind) -> String {
        let readiness = Readiness::of(state, Err("away".to_owned()), Ok(()));
        metrics.exposition(state, &readiness, behind, &TopicNames::default()).expect("written")
    }

    fn report() -> BatchReport {
        let mut counts = PerSource::<Counts>::default();
        counts.events.new = 5;
        counts.events.dead_letter = 1;
        counts.by_user.new = 2;
        counts.events.skipped = 3;
        BatchReport {
            lane: Lane(0),
            counts,
            refused: PerSource { events: 1, by_user: 0 },
            evaluations: 6,
            transitions: 3,
            alerts: vec![("firing", 2)],
            held: [0, 0, 3, 0, 0, 0, 0, 0],
            dead_letters: vec![("not_json", 1)],
            released: vec![("applied", 2)],
            commands: 1,
            positions: Positions::default(),
            modes: ModeCounts::default(),
            commit_time: Duration::from_millis(3),
            event_age: None,
            checkpoints: 4,
            queued: 0,
        }
    }

    #[test]
    fn what_appears_in_trouble_only_is_there_from_the_start() {
        let text = exposition(&Metrics::new().expect("names are unique"), &State::default());
        for series in [
            "biometric_events_late_total",
            "biometric_records_total{outcome=\"dead_letter\",source=\"events\"}",
            "biometric_commit_failures_total{kind=\"fenced\"}",
            "biometric_state_mismatches_total{kind=\"memory\"}",
            "biometric_lanes{condition=\"halted\"}",
            "biometric_http_requests_total{route=\"/ready\",status=\"503\"}",
            "biometric_push_disconnects_total{reason=\"unacknowledged\"}",
            "biometric_push_disconnects_total{reason=\"refused\"}",
            "biometric_event_waiting_seconds",
            "biometric_audit_failures_total",
        ] {
            assert!(text.contains(&format!("\n{series} 0\n")), "there is no {series}\n{text}");
        }
    }

    #[test]
    fn records_of_a_batch_are_late_when_its_oldest_has_waited_for_more_than_a_second() {
        let metrics = Metrics::new().expect("names are unique");
        let late_after = |millis| {
            let mut report = report();
            report.event_age = Some(Duration::from_millis(millis));
            metrics.committed(&report);
            metrics.records.late.get()
        };
        assert_eq!((late_after(1_000), late_after(1_001)), (0, 7), "of both sources");
    }

    #[test]
    fn each_part_of_the_service_shows_whether_it_is_up() {
        let metrics = Metrics::new().expect("names are unique");
        let mut state = State { cache: Some(false), ..State::default() };
        state.parts.insert("postgres", Ok(()));
        let text = exposition(&metrics, &state);
        for line in [
            "biometric_part_up{part=\"postgres\"} 1",
            "biometric_part_up{part=\"kafka\"} 0",
            "biometric_part_up{part=\"group\"} 1",
            "biometric_part_up{part=\"lanes\"} 1",
            "biometric_part_up{part=\"redis\"} 0",
            "biometric_part_up{part=\"outputs\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        state.parts.insert("postgres", Err("away".to_owned()));
        state.cache = None;
        let text = exposition(&metrics, &state);
        assert!(text.contains("\nbiometric_part_up{part=\"postgres\"} 0\n"), "{text}");
        assert!(!text.contains("part=\"redis\""), "what is not there is not down");
    }

    #[test]
    fn a_committed_batch_shows_under_the_names_that_dashboards_use() {
        let metrics = Metrics::new().expect("names are unique");
        metrics.committed(&report());
        let mut state = State::default();
        state.modes.insert(Lane(0), ModeCounts::new([1, 2, 3, 4]));
        state.modes.insert(Lane(1), ModeCounts::new([10, 0, 0, 0]));
        let mut behind = Behind { waiting: Duration::from_secs(9), ..Behind::default() };
        behind.lags.insert(Lane(1), PerSource { events: 7, by_user: 0 });
        let text = exposition_behind(&metrics, &state, &behind);
        for line in [
            "biometric_events_processed_total 7",
            "biometric_events_late_total 0",
            "biometric_evaluations_total 6",
            "biometric_event_waiting_seconds 9",
            "cognitive_mode_transitions 3",
            "biometric_alert_changes_total{status=\"firing\"} 2",
            "biometric_alert_changes_total{status=\"expired\"} 0",
            "biometric_alerts_held_back_total{reason=\"snoozed\"} 3",
            "cognitive_mode_current{mode=\"reflex\"} 11",
            "cognitive_mode_current{mode=\"hypothesis\"} 4",
            "kafka_consumer_lag{partition=\"1\",topic=\"biometric.events\"} 7",
            "biometric_dead_letters_total{reason=\"not_json\"} 1",
            "biometric_dead_letters_total{reason=\"misrouted\"} 0",
            "biometric_dead_letters_released_total{fate=\"applied\"} 2",
            "biometric_commands_total 1",
            "biometric_records_total{outcome=\"dead_letter\",source=\"events\"} 1",
            "biometric_records_total{outcome=\"skipped\",source=\"events\"} 2",
            "biometric_records_total{outcome=\"erased\",source=\"events\"} 1",
            "biometric_checkpoints_total 4",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        assert!(!text.contains("partition=\"0\""), "an unknown lag is absent");
    }
}
