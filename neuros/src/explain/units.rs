//! Names, numbers, lengths and times as people write them.

use crate::state::Indicator;
use crate::time::Timestamp;

pub(super) fn indicator_name(indicator: Indicator) -> &'static str {
    match indicator {
        Indicator::Hrv => "HRV",
        Indicator::HeartRate => "heart rate",
        Indicator::Stress => "stress",
        Indicator::Recovery => "recovery",
        Indicator::OvernightHrv => "overnight HRV",
    }
}

pub(super) fn metric_name(metric: &str) -> String {
    match metric {
        "hrv" => "HRV".into(),
        other => other.replace('_', " "),
    }
}

/// At most two decimals for small numbers, one for others, and none that says nothing.
pub(super) fn number(value: f64) -> String {
    let text = if value.abs() < 2.0 { format!("{value:.2}") } else { format!("{value:.1}") };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn length(seconds: f64) -> String {
    let (value, unit) = match seconds.abs() {
        0.0..120.0 => (seconds, "s"),
        120.0..7_200.0 => (seconds / 60.0, "min"),
        7_200.0..172_800.0 => (seconds / 3_600.0, "h"),
        _ => (seconds / 86_400.0, "days"),
    };
    format!("{} {unit}", number(value))
}

/// Day, hour and minute.
pub(super) fn clock(time: Timestamp) -> String {
    let text = time.to_string();
    match text.get(..16) {
        Some(minute) => format!("{} UTC", minute.replace('T', " ")),
        None => text,
    }
}
