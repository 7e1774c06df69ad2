//! What is told of the log of accesses: rows, and where its checkpoints are. Never whose rows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};
use tokio::time::Instant;

use super::metrics::{counter, counters};
use crate::store::Audited;

/// The sink that is there whatever is configured.
const TOPIC: &str = "topic";

/// Metrics of the log of accesses.
pub(super) struct AuditMetrics {
    rows: IntCounter,
    failures: IntCounter,
    checkpoints: IntCounterVec,
    checkpoint_failures: IntCounterVec,
    age: IntGaugeVec,
    /// When the newest checkpoint was signed that is safe at each sink; before the first, since when one is due.
    newest: Mutex<BTreeMap<&'static str, Instant>>,
    audited: OnceLock<Arc<Audited>>,
}

impl AuditMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let age = IntGaugeVec::new(
            Opts::new(
                "biometric_audit_checkpoint_age_seconds",
                "Since the newest checkpoint was signed that is safe at a sink, or since the start: an alarm \
                 when it grows.",
            ),
            &["sink"],
        )?;
        registry.register(Box::new(age.clone()))?;
        let metrics = Self {
            rows: counter(
                registry,
                "biometric_audit_rows_total",
                "Rows added to the log of accesses and committed.",
            )?,
            failures: counter(
                registry,
                "biometric_audit_failures_total",
                "Accesses that could not be written down, and so were refused.",
            )?,
            checkpoints: counters(
                registry,
                "biometric_audit_checkpoints_total",
                "Signed checkpoints that are safe at a sink.",
                &["sink"],
            )?,
            checkpoint_failures: counters(
                registry,
                "biometric_audit_checkpoint_failures_total",
                "Attempts to bring a checkpoint to a sink that failed.",
                &["sink"],
            )?,
            age,
            newest: Mutex::default(),
            audited: OnceLock::new(),
        };
        metrics.expect(TOPIC);
        Ok(metrics)
    }

    /// From now on checkpoints are due at `sink`.
    pub(super) fn expect(&self, sink: &'static str) {
        self.checkpoints.with_label_values(&[sink]);
        self.checkpoint_failures.with_label_values(&[sink]);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.entry(sink).or_insert_with(Instant::now);
    }

    /// Who counts rows.
    pub(super) fn count(&self, audited: Arc<Audited>) {
        // There is one store.
        _ = self.audited.set(audited);
    }

    pub(super) fn checkpointed(&self, sink: &'static str, signed_at: Option<Instant>) {
        let Some(signed_at) = signed_at else {
            return self.checkpoint_failures.with_label_values(&[sink]).inc();
        };
        self.checkpoints.with_label_values(&[sink]).inc();
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(sink, signed_at);
    }

    /// Sets what depends on when somebody looks. One looks at a time.
    pub(super) fn set(&self) {
        let (rows, failures) = self.audited.get().map_or((0, 0), |audited| audited.counts());
        for (counter, counted) in [(&self.rows, rows), (&self.failures, failures)] {
            counter.inc_by(counted.saturating_sub(counter.get()));
        }
        for (sink, signed_at) in &*self.newest.lock().unwrap_or_else(PoisonError::into_inner) {
            let age = i64::try_from(signed_at.elapsed().as_secs()).unwrap_or(i64::MAX);
            self.age.with_label_values(&[*sink]).set(age);
        }
    }
}
