//! A state as `replay --state` and exports show it.

use serde::Serialize;

use crate::mode::Mode;
use crate::redact::redacted_debug;
use crate::signal::Signal;
use crate::state::{Indicator, State};
use crate::time::Timestamp;

/// The part of a state that is compared between runs and shown to people.
#[derive(Clone, PartialEq, Serialize)]
pub struct StateSummary<'a> {
    /// Whose state this is.
    pub user_id: &'a str,
    /// The current mode.
    pub mode: Mode,
    /// The mode before the newest switch.
    pub previous_mode: Option<Mode>,
    /// The confidence in the mode, 0..=1.
    pub confidence: f64,
    /// Since when the mode holds.
    pub mode_since: Timestamp,
    /// How often the mode has changed.
    pub seq: u64,
    /// The newest time of any evaluated event.
    pub clock: Option<Timestamp>,
    /// The newest switch that was no expiry.
    pub last_switch: Option<Timestamp>,
    /// When the mode was last entered or confirmed.
    pub last_confirmed: Timestamp,
    /// What spoke for the mode on entry, by name.
    pub entry_indicators: Vec<&'static str>,
    /// Every baseline segment, by signal name, then device id.
    pub baselines: Vec<BaselineSummary<'a>>,
}

/// One device's share of one signal, over all days that it holds.
#[derive(Clone, PartialEq, Serialize)]
pub struct BaselineSummary<'a> {
    /// `heart_rate`, `hrv` or `overnight_hrv`.
    pub signal: Signal,
    /// The device.
    pub device_id: &'a str,
    /// Samples.
    pub n: u32,
    /// Distinct UTC days.
    pub days: u32,
    /// Their mean, in the signal's unit.
    pub mean: f64,
}

redacted_debug!(StateSummary<'a>, BaselineSummary<'a>);

impl State {
    /// The state of `user_id`, summed up.
    pub fn summary<'a>(&'a self, user_id: &'a str) -> StateSummary<'a> {
        let mut entry_indicators: Vec<_> =
            self.entry_indicators.iter().map(Indicator::as_str).collect();
        entry_indicators.sort_unstable();
        let by_name = [Signal::HeartRate, Signal::Hrv, Signal::OvernightHrv];
        StateSummary {
            user_id,
            mode: self.mode,
            previous_mode: self.previous_mode,
            confidence: self.confidence,
            mode_since: self.mode_since,
            seq: self.seq,
            clock: self.clock,
            last_switch: self.last_switch,
            last_confirmed: self.last_confirmed,
            entry_indicators,
            baselines: by_name
                .into_iter()
                .flat_map(|signal| self.baseline_summary(signal))
                .collect(),
        }
    }

    fn baseline_summary(&self, signal: Signal) -> impl Iterator<Item = BaselineSummary<'_>> {
        let segments = self.baselines.of(signal).map_or(&[][..], |segments| &segments.0);
        segments.iter().filter_map(move |segment| {
            let whole = segment.baseline(i32::MIN..=i32::MAX)?;
            Some(BaselineSummary {
                signal,
                device_id: &segment.device_id,
                n: whole.samples,
                days: whole.days,
                mean: whole.mean,
            })
        })
    }
}
