//! Which records and requests are followed. It is decided before there is a span, so that what is not followed costs
//! next to nothing.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::settings::{Sampler, TracesSettings};

/// Decides what is followed.
pub(super) struct Sampling {
    sampler: Sampler,
    ratio: f64,
}

impl Sampling {
    pub(super) fn of(settings: &TracesSettings) -> Self {
        Self { sampler: settings.sampler, ratio: settings.ratio.0 }
    }

    /// Whether to follow what came with this trace, or with none.
    pub(super) fn follows(&self, parent: Option<&SpanContext>) -> bool {
        match (self.sampler, parent) {
            (Sampler::AlwaysOn, _) => true,
            (Sampler::AlwaysOff, _) => false,
            (Sampler::Ratio, None) => self.draws(),
            // By its name, so that whoever else decides so decides the same.
            (Sampler::Ratio, Some(parent)) => self.has_drawn(parent.trace_id()),
            (_, Some(parent)) => parent.is_sampled(),
            (Sampler::ParentOrAlwaysOn, None) => true,
            (Sampler::ParentOrAlwaysOff, None) => false,
            (Sampler::ParentOrRatio, None) => self.draws(),
        }
    }

    fn draws(&self) -> bool {
        self.ratio >= 1.0 || (self.ratio > 0.0 && rand::random::<f64>() < self.ratio)
    }

    fn has_drawn(&self, trace: TraceId) -> bool {
        let [.., a, b, c, d, e, f, g, h] = trace.to_bytes();
        let low = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 11;
        // 53 bits are exact in a double.
        #[expect(clippy::cast_precision_loss, reason = "it has 53 bits")]
        let drawn = low as f64 / (1_u64 << 53) as f64;
        drawn < self.ratio
    }
}

/// The trace that a `traceparent` names; the text has been checked to be one.
pub(super) fn named(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let mut part = || parts.next();
    let (trace, span) = (TraceId::from_hex(part()?).ok()?, SpanId::from_hex(part()?).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(part()?, 16).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

/// A trace as others name it.
pub(super) fn traceparent(names: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", names.trace_id(), names.span_id(), names.trace_flags())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Ratio;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn follows(sampler: Sampler, ratio: f64, parent: Option<&str>) -> bool {
        Sampling { sampler, ratio: Ratio(ratio).0 }.follows(parent.and_then(named).as_ref())
    }

    #[test]
    fn who_has_decided_before_us_is_heeded_and_else_the_ratio_counts() {
        let sampler = Sampler::ParentOrRatio;
        for ratio in [0.0, 1.0] {
            assert!(follows(sampler, ratio, Some(SAMPLED)));
            assert!(!follows(sampler, ratio, Some(UNSAMPLED)));
            assert_eq!(follows(sampler, ratio, None), ratio > 0.5);
        }
        assert!(follows(Sampler::ParentOrAlwaysOn, 0.0, None));
        assert!(!follows(Sampler::ParentOrAlwaysOff, 1.0, None));
        assert!(follows(Sampler::ParentOrAlwaysOff, 0.0, Some(SAMPLED)));
        assert!(follows(Sampler::AlwaysOn, 0.0, Some(UNSAMPLED)));
        assert!(!follows(Sampler::AlwaysOff, 1.0, Some(SAMPLED)));
    }

    #[test]
    fn a_ratio_is_kept_and_of_a_named_trace_always_decided_the_same() {
        let drawn = (0..10_000).filter(|_| follows(Sampler::Ratio, 0.25, None)).count();
        assert!((2_000..3_000).contains(&drawn), "{drawn}");
        let sampling = Sampling { sampler: Sampler::Ratio, ratio: 0.25 };
        let trace = |low: u64| TraceId::from(u128::from(low));
        assert!(sampling.has_drawn(trace(u64::MAX / 5)));
        assert!(!sampling.has_drawn(trace(u64::MAX / 3)));
        assert!(!follows(Sampler::Ratio, 0.0, Some(SAMPLED)));
        assert!(follows(Sampler::Ratio, 1.0, Some(UNSAMPLED)));
    }

    #[test]
    fn a_trace_is_named_again_as_it_was() {
        for text in [SAMPLED, UNSAMPLED] {
            assert_eq!(traceparent(&named(text).expect("a trace")), text);
        }
    }
}
