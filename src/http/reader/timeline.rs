//! What was measured of a person over a time, what was usual for them, and their modes. The records that came in
//! that time are applied again; nothing of this is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::person::Person;
use actors::phi::Phi;
use actors::restore::Replayed;
use neuros::event::Metric;
use neuros::explain::IndicatorReport;
use neuros::time::Timestamp;
use neuros::{Kind, Mode, Reason};
use serde::Serialize;
use utoipa::ToSchema;

use super::Reader;
use super::archive::{File, Opened};
use super::unread::Unread;
use crate::http::document::schemas;
use crate::http::problem::Problem;
use crate::http::series::{METHOD, Point, m4};
use crate::retrace::Retracing;

/// From when until, exclusively, when; and with how many points a line.
#[derive(Clone, Copy)]
pub(in crate::http) struct Stretch {
    pub(in crate::http) from: Timestamp,
    pub(in crate::http) to: Timestamp,
    pub(in crate::http) points: usize,
}

/// What was measured and decided over a time.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Timeline {
    #[schema(value_type = DateTime<Utc>)]
    from: Timestamp,
    #[schema(value_type = DateTime<Utc>)]
    to: Timestamp,
    /// How lines of more points were drawn with fewer: `m4`, the first, lowest, highest and last of each of so many
    /// equal parts of the time.
    method: &'static str,
    /// What was measured, by metric; `overnight_hrv` is the HRV of nights.
    readings: Vec<Line>,
    /// What was usual, as the rules saw it once it rested on enough.
    baselines: Vec<Line>,
    modes: Vec<Lasting>,
}

/// A line.
#[derive(Serialize, ToSchema)]
struct Line {
    name: String,
    /// So many there were.
    count: usize,
    points: Vec<Point>,
}

/// A mode and when it lasted.
#[derive(Clone, Serialize, ToSchema)]
struct Lasting {
    #[schema(value_type = schemas::Mode)]
    mode: Mode,
    #[schema(value_type = DateTime<Utc>)]
    from: Timestamp,
    #[schema(value_type = DateTime<Utc>)]
    to: Timestamp,
    /// Why it was entered; `null` when that was before.
    #[schema(value_type = Option<String>)]
    reason: Option<Reason>,
}

/// Records that are applied again for one answer, at most.
const RECORDS_MAX: i64 = 50_000;
/// Readings that one answer is made of, at most.
const READINGS_MAX: usize = 1_000_000;

impl Reader {
    /// What was measured of the user and decided in a stretch of time.
    pub(in crate::http) async fn timeline(
        &self,
        stretch: Stretch,
    ) -> Result<Phi<Vec<u8>>, Problem> {
        let read = async move |opened: Arc<Opened>, file: File| {
            let too_far = || {
                let detail = format!(
                    "more than {RECORDS_MAX} records would have to be applied again; ask from a later time on"
                );
                Unread::TooFar("from", detail)
            };
            let source = opened.source(&file);
            let numbers = source.stored_since(stretch.from, RECORDS_MAX).await?;
            let numbers = numbers.ok_or_else(too_far)?;
            let begun = Retracing::begin(source, numbers, RECORDS_MAX).await?;
            let mut records = begun.ok_or_else(too_far)?;
            let mut drawing = Drawing::of(stretch, &records.person);
            while let Some((_, replayed)) = records.next().await? {
                replayed.iter().for_each(|replayed| drawing.add(replayed));
                if drawing.count > READINGS_MAX {
                    return Err(too_far());
                }
            }
            super::written(&drawing.end())
        };
        let Stretch { from, to, .. } = stretch;
        let part = Some(format!("{from} to {to}"));
        self.disclose("biometric_events", part, RECORDS_MAX, read).await
    }
}

/// A timeline in the making.
struct Drawing {
    stretch: Stretch,
    readings: BTreeMap<String, Vec<Point>>,
    baselines: BTreeMap<&'static str, Vec<Point>>,
    modes: Vec<Lasting>,
    count: usize,
}

impl Drawing {
    /// Nothing yet, of a person as they were before.
    fn of(stretch: Stretch, person: &Person) -> Self {
        let before = person.state.as_ref().map(|state| Lasting {
            mode: state.mode(),
            from: state.mode_since(),
            to: stretch.to,
            reason: None,
        });
        Self {
            stretch,
            readings: BTreeMap::new(),
            baselines: BTreeMap::new(),
            modes: before.into_iter().collect(),
            count: 0,
        }
    }

    fn has(&self, time: Timestamp) -> bool {
        (self.stretch.from..self.stretch.to).contains(&time)
    }

    fn add(&mut self, replayed: &Replayed) {
        let Replayed { record, outcomes, policy } = replayed;
        let overnight = policy.overnight.event_types.contains(&record.event_type);
        for (event, outcome) in record.events().zip(outcomes) {
            if self.has(outcome.time) {
                for reading in event.readings {
                    let Ok(value) = reading.usable(policy.quality.min_confidence) else { continue };
                    let name = match (&reading.metric, overnight) {
                        (Metric::Hrv, true) => "overnight_hrv",
                        (metric, _) => metric.name(),
                    };
                    let point = Point { time: outcome.time, value };
                    match self.readings.get_mut(name) {
                        Some(line) => line.push(point),
                        None => drop(self.readings.insert(name.to_owned(), vec![point])),
                    }
                    self.count += 1;
                }
            }
            let explanation = outcome.explanation.as_deref();
            let evaluated = explanation.and_then(|its| Some((its, its.evaluated_at?)));
            let Some((explanation, at)) = evaluated else { continue };
            if matches!(outcome.kind, Kind::Duplicate | Kind::NotEvaluated) {
                continue;
            }
            let view = &explanation.view;
            for (name, report) in [
                ("hrv", &view.hrv),
                ("heart_rate", &view.heart_rate),
                ("overnight_hrv", &view.overnight_hrv),
            ] {
                if let (Some(value), true) = (usual(report), self.has(at)) {
                    self.baselines.entry(name).or_default().push(Point { time: at, value });
                    self.count += 1;
                }
            }
            if self.modes.is_empty() {
                self.lasts(outcome.previous_mode, at, None);
            }
            if outcome.kind == Kind::Switched {
                self.lasts(outcome.mode, at, outcome.reason);
            }
        }
    }

    /// From then on another mode lasts.
    fn lasts(&mut self, mode: Mode, from: Timestamp, reason: Option<Reason>) {
        if let Some(before) = self.modes.last_mut() {
            before.to = from;
        }
        self.modes.push(Lasting { mode, from, to: self.stretch.to, reason });
    }

    fn end(self) -> Timeline {
        let Stretch { from, to, points } = self.stretch;
        let line = |name: String, all: Vec<Point>| {
            let count = all.len();
            Line { name, count, points: m4(all, from, to, points) }
        };
        let within = |lasting: Lasting| Lasting {
            from: lasting.from.max(from),
            to: lasting.to.min(to),
            reason: lasting.reason.filter(|_| lasting.from >= from),
            ..lasting
        };
        let modes = self.modes.into_iter().map(within).filter(|its| its.from < its.to);
        let named = self.baselines.into_iter().map(|(name, all)| (name.to_owned(), all));
        Timeline {
            from,
            to,
            method: METHOD,
            modes: modes.collect(),
            readings: self.readings.into_iter().map(|(name, all)| line(name, all)).collect(),
            baselines: named.map(|(name, all)| line(name, all)).collect(),
        }
    }
}

/// What was usual, when it rested on enough.
fn usual(report: &IndicatorReport) -> Option<f64> {
    report.baseline.filter(|baseline| baseline.calibrated)?.mean
}
