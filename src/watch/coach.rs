//! Metrics of the coach: how many calls, what came of them, and how many are left. Nothing says about whom.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::metrics::counters;
use crate::coach::{ANSWERED, Why};
use crate::settings;
use crate::store::Calls;

/// What becomes of messages about mode changes.
pub(crate) struct CoachMetrics {
    calls: IntCounterVec,
    messages: IntCounterVec,
    fallbacks: IntCounterVec,
    seconds: Histogram,
    left: IntGaugeVec,
}

impl CoachMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let calls = counters(
            registry,
            "biometric_coach_calls_total",
            "Calls of the coach, by what came of them.",
            &["outcome"],
        )?;
        let messages = counters(
            registry,
            "biometric_coach_messages_total",
            "Messages about mode changes, by who wrote them: model or fallback.",
            &["source"],
        )?;
        let fallbacks = counters(
            registry,
            "biometric_coach_fallbacks_total",
            "Messages that are the sentence of the explanation, by why.",
            &["reason"],
        )?;
        let seconds =
            HistogramOpts::new("biometric_coach_call_seconds", "How long calls of the coach take.");
        let bounds = vec![0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
        let seconds = Histogram::with_opts(seconds.buckets(bounds))?;
        registry.register(Box::new(seconds.clone()))?;
        let left = Opts::new(
            "biometric_coach_calls_left",
            "Calls that may still be made within the window.",
        );
        let left = IntGaugeVec::new(left, &["window"])?;
        registry.register(Box::new(left.clone()))?;
        calls.with_label_values(&[ANSWERED]);
        for why in Why::ALL {
            fallbacks.with_label_values(&[why.as_str()]);
            if why.is_of_a_call() {
                calls.with_label_values(&[why.as_str()]);
            }
        }
        for source in ["model", "fallback"] {
            messages.with_label_values(&[source]);
        }
        Ok(Self { calls, messages, fallbacks, seconds, left })
    }

    /// A call was made.
    pub(crate) fn called(&self, outcome: &str, time: Duration) {
        self.calls.with_label_values(&[outcome]).inc();
        self.seconds.observe(time.as_secs_f64());
    }

    /// A message is kept, a language model's or for that reason not.
    pub(crate) fn said(&self, instead: Option<Why>) {
        let source = if instead.is_some() { "fallback" } else { "model" };
        self.messages.with_label_values(&[source]).inc();
        if let Some(why) = instead {
            self.fallbacks.with_label_values(&[why.as_str()]).inc();
        }
    }

    /// So many calls were made lately.
    pub(crate) fn left(&self, settings: &settings::Coach, calls: Calls) {
        for (window, max, made) in [
            ("minute", settings.calls_per_minute, calls.minute),
            ("day", settings.calls_per_day, calls.day),
        ] {
            self.left.with_label_values(&[window]).set((i64::from(max) - made).max(0));
        }
    }
}
