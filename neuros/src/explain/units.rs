//! Names, numbers, lengths and times as people write them.

use crate::event::Metric;
use crate::state::Indicator;
use crate::time::Timestamp;

pub(crate) fn indicator_name(indicator: Indicator) -> &'static str {
    match indicator {
        Indicator::Hrv => "HRV",
        Indicator::HeartRate => "heart rate",
        Indicator::Stress => "stress",
        Indicator::Recovery => "recovery",
        Indicator::OvernightHrv => "overnight HRV",
    }
}

/// A metric's name in words; one that we do not know in quotes, since it can say anything.
pub(crate) fn metric_name(metric: &str) -> String {
    match Metric::named(metric.into()) {
        Metric::Hrv => "HRV".into(),
        Metric::Other(name) => format!("\"{name}\""),
        known => known.name().replace('_', " "),
    }
}

/// The first few of `items`, and how many more there are.
pub(crate) fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    const NAMED: usize = 5;
    let more = items.len().saturating_sub(NAMED);
    let named = items.take(NAMED).collect::<Vec<_>>().join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

/// At most two decimals for small numbers, one for others, and none that says nothing.
pub(crate) fn number(value: f64) -> String {
    number_beside(value, f64::NAN)
}

/// A number with as many decimals as show on which side of `limit` it lies.
pub(crate) fn number_beside(value: f64, limit: f64) -> String {
    let fewest = if value.abs() < 2.0 { 2 } else { 1 };
    let written = |decimals: usize| {
        let text = format!("{value:.decimals$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let on_its_side = |text: &String| {
        let shown: f64 = text.parse().unwrap_or(value);
        limit.is_nan() || shown.partial_cmp(&limit) == value.partial_cmp(&limit)
    };
    (fewest..17).map(written).find(on_its_side).unwrap_or_else(|| value.to_string())
}

/// A length of time in the unit that suits it.
pub(crate) fn length(seconds: f64) -> String {
    length_beside(seconds, f64::NAN)
}

/// A length of time that shows on which side of `limit` it lies; both in seconds.
pub(crate) fn length_beside(seconds: f64, limit: f64) -> String {
    let (unit, name) = match seconds.abs() {
        0.0..120.0 => (1.0, "s"),
        120.0..7_200.0 => (60.0, "min"),
        7_200.0..172_800.0 => (3_600.0, "h"),
        _ => (86_400.0, "days"),
    };
    let text = number(seconds / unit);
    let shown = text.parse().unwrap_or(seconds) * unit;
    if limit.is_nan() || shown.partial_cmp(&limit) == seconds.partial_cmp(&limit) {
        format!("{text} {name}")
    } else {
        format!("{} s", number_beside(seconds, limit))
    }
}

/// Day, hour and minute.
pub(crate) fn clock(time: Timestamp) -> String {
    let text = time.to_string();
    match text.get(..16) {
        Some(minute) => format!("{} UTC", minute.replace('T', " ")),
        None => text,
    }
}
