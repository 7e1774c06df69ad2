//! Why a person is in their mode, and why not in another: now, or at any time before that their records reach back
//! to. Everything is made of stored records, applied again; nothing is guessed and nothing is written.

use actors::lane::Provenance;
use actors::person::Person;
use actors::restore::{Replayed, RestoreError};
use actors::store::{Store as _, StoredRecord};
use neuros::event::Record;
use neuros::explain::{Explanation, IndicatorReport, Status};
use neuros::time::Timestamp;
use neuros::{Counterfactual, Kind, Outcome, Policy, State, counterfactual};
use serde_json::{Value, json};

use crate::export::LogLine;
use crate::retrace::{Numbers, Retracing, Source, TooFar};

/// Records that are applied again for one answer, at most.
pub(crate) const RECORDS_MAX: i64 = 10_000;
/// Records that are passed over to find those of a time, at most.
pub(crate) const PASSED_MAX: i64 = 200_000;
/// The newest records that are told of.
const TOLD: i64 = 10;
/// So far back the last evaluation is looked for when none of those was one, and when none of these was either: there are
/// [`RECORDS_MAX`] with the way from the nearest base.
const FURTHER: i64 = 500;
const FURTHEST: i64 = 4_990;

/// Why a person is in their mode.
pub(crate) struct Why {
    /// As they were then; also their alerts.
    pub(crate) person: Person,
    /// The newest record by then; `None` of somebody who had none.
    newest: Option<StoredRecord>,
    /// How things stood then, with nothing new.
    standing: Option<Explanation>,
    /// What came of the newest records, the newest last; `None` when they are too far from any state that is kept.
    told: Option<Vec<Told>>,
    /// The newest outcome that was evaluated, further back than those if need be.
    outcome: Option<Outcome>,
    change: Option<Counterfactual>,
}

/// A record and what came of it.
pub(crate) struct Told {
    stored: StoredRecord,
    replayed: Replayed,
}

/// A record that was evaluated, and the state before it.
struct Evaluated {
    before: Option<Box<State>>,
    record: Record<'static>,
    policy: std::sync::Arc<Policy>,
}

impl Why {
    /// Looks at whose records `source` has, at `as_of` or else at `now`.
    ///
    /// # Errors
    ///
    /// When records cannot be had or do not open; the inner error when they are more than [`RECORDS_MAX`].
    pub(crate) async fn of(
        source: Source<'_>,
        as_of: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Result<Self, TooFar>, RestoreError> {
        let newest = match source.newest_by(as_of, PASSED_MAX).await? {
            Ok(Some(newest)) => newest,
            Ok(None) => return Ok(Ok(Self::nothing(Person::starting(source.stored.start)))),
            Err(too_far) => return Ok(Err(too_far)),
        };
        let Some(looked) = Looked::at(source, newest.number).await? else {
            return Ok(Err(TooFar));
        };
        let Looked { person, told, evaluated } = looked;
        let (evaluated, outcome) = evaluated.unzip();
        let record = source.store.records_at(source.stored.user, &[newest.place]).await?.pop();
        let policy = match &record {
            Some(record) => Some(source.restorer.policy(record.policy).await?),
            None => None,
        };
        let standing = person.state.as_deref().zip(policy);
        let standing = standing
            .map(|(state, policy)| Explanation::standing(state, &policy, as_of.unwrap_or(now)));
        let change = match evaluated {
            Some(Evaluated { before, record, policy }) => {
                // Up to thousands of evaluations: not where connections wait for their turn.
                let look = move || counterfactual(&policy, before.as_deref(), &record);
                tokio::task::spawn_blocking(look).await.ok().flatten()
            }
            None => None,
        };
        Ok(Ok(Self { person, newest: record, standing, told, outcome, change }))
    }

    fn nothing(person: Person) -> Self {
        let told = Some(Vec::new());
        Self { person, newest: None, standing: None, told, outcome: None, change: None }
    }

    /// Why, in a sentence or a few.
    pub(crate) fn sentence(&self) -> String {
        let Some(state) = self.person.state.as_deref() else {
            return "Nothing was known of them then.".to_owned();
        };
        match (&self.outcome, &self.told) {
            (Some(outcome), _) => {
                outcome.explanation.as_ref().map(ToString::to_string).unwrap_or_default()
            }
            (None, told) => {
                let mode = format!("In {} since {}.", state.mode().as_str(), state.mode_since());
                match told {
                    Some(_) => mode,
                    None => format!("{mode} {TOO_FAR}"),
                }
            }
        }
    }

    /// What would have led to another mode, in a sentence.
    pub(crate) fn otherwise(&self) -> Option<String> {
        self.outcome.as_ref()?;
        Some(match &self.change {
            Some(change) => format!(
                "With {} {} instead of {} the mode would have been {}.",
                change.metric.replace('_', " "),
                change.to,
                change.from,
                change.mode.as_str()
            ),
            None => "No other value of a single reading would have led to another mode.".to_owned(),
        })
    }

    /// The explanation that tells most: of the newest evaluation, else of how things stood.
    pub(crate) fn explanation(&self) -> Option<&Explanation> {
        let evaluated = self.outcome.as_ref().and_then(|outcome| outcome.explanation.as_deref());
        evaluated.or(self.standing.as_ref())
    }

    /// What was usual, by signal.
    pub(crate) fn baselines(&self) -> Vec<Value> {
        self.readings()
            .into_iter()
            .filter_map(|(signal, report)| Some((signal, report, report.baseline?)))
            .map(|(signal, report, baseline)| {
                json!({
                    "signal": signal, "device_id": report.device_id, "mean": baseline.mean,
                    "n": baseline.samples, "n_needed": baseline.samples_needed,
                    "days": baseline.days, "days_needed": baseline.days_needed,
                    "status": calibration(report),
                })
            })
            .collect()
    }

    /// What came of the newest records, the newest first, a line each.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.told.iter().flatten().rev().flat_map(|told| {
            let number = told.stored.number;
            told.replayed.outcomes.iter().rev().map(move |outcome| {
                let Outcome { time, kind, mode, reason, .. } = outcome;
                let reason = reason.map_or("-", |reason| reason.as_str());
                format!(
                    "record {number} of {time}: {} in {}, {reason}",
                    kind.as_str(),
                    mode.as_str()
                )
            })
        })
    }

    /// What was read last, by signal.
    pub(crate) fn readings(&self) -> Vec<(&'static str, &IndicatorReport)> {
        let Some(standing) = &self.standing else { return Vec::new() };
        let view = &standing.view;
        vec![
            ("hrv", &view.hrv),
            ("heart_rate", &view.heart_rate),
            ("stress_level", &view.stress),
            ("recovery_score", &view.recovery),
            ("overnight_hrv", &view.overnight_hrv),
        ]
    }

    /// All of it.
    pub(crate) fn to_json(&self, user_id: &str) -> Value {
        let summary = self.person.state.as_ref().map(|state| json!(state.summary(user_id)));
        let readings = |wanted: fn(Status) -> bool| {
            let all = self.readings().into_iter().filter(|(_, report)| wanted(report.status));
            all.map(|(signal, report)| reading(signal, report)).collect::<Vec<_>>()
        };
        let outcomes =
            self.told.as_ref().map(|told| told.iter().rev().map(Told::to_json).collect::<Vec<_>>());
        json!({
            "record_number": self.person.record_number,
            "n": self.person.message_number,
            "why": self.sentence(),
            "why_not": self.otherwise(),
            "counterfactual": self.change,
            "state": summary,
            "rules": self.standing.as_ref().map(|standing| &standing.rules),
            "baselines": self.baselines(),
            "readings": {
                "fresh": readings(|status| !matches!(status, Status::Stale | Status::Missing)),
                "stale": readings(|status| status == Status::Stale),
                "missing": readings(|status| status == Status::Missing),
            },
            "newest_record": self.newest.as_ref().map(place),
            "outcomes": outcomes,
            "outcomes_missing": self.told.is_none().then_some(TOO_FAR),
        })
    }
}

const TOO_FAR: &str = "What came of the newest records cannot be told: they are further from any state that is kept \
                       than 10000 records.";

impl Told {
    /// A record and what came of it, as people who look into it are shown it.
    pub(crate) fn of(stored: StoredRecord, replayed: Replayed) -> Self {
        Self { stored, replayed }
    }

    pub(crate) fn to_json(&self) -> Value {
        let outcomes = self.replayed.outcomes.iter().map(|outcome| {
            json!({
                "time": outcome.time, "kind": outcome.kind, "mode": outcome.mode,
                "previous_mode": outcome.previous_mode, "reason": outcome.reason,
                "confidence": outcome.confidence, "explanation": outcome.explanation,
                "text": outcome.explanation.as_ref().map(ToString::to_string),
            })
        });
        let outcomes: Vec<Value> = outcomes.collect();
        json!({
            "record": place(&self.stored),
            "message": LogLine::of(&self.replayed.record),
            "outcomes": outcomes,
        })
    }
}

/// What was looked at.
struct Looked {
    person: Person,
    told: Option<Vec<Told>>,
    evaluated: Option<(Evaluated, Outcome)>,
}

impl Looked {
    /// Goes back a few records from number `upto`, further when none of them was evaluated, or as far as states reach,
    /// and comes forward again; `None` when not even `upto` is near enough to any.
    async fn at(source: Source<'_>, upto: i64) -> Result<Option<Self>, RestoreError> {
        let start = source.stored.start.record_number;
        let bases = source.store.bases(source.stored.user, upto - 1).await?;
        // Records that a base holds may have gone.
        let base = bases.first().map(|base| base.record_number);
        let mut looked = None;
        let mut back =
            [TOLD, FURTHER, FURTHEST].map(|records| (upto - records).max(start)).to_vec();
        // Behind the beginning there is nothing to look for.
        back.dedup();
        for after in back.into_iter().chain(base) {
            let begun = Retracing::begin(source, Numbers { after, upto }, RECORDS_MAX).await;
            match begun {
                Ok(Some(records)) => {
                    let found = Self::forward(records).await?;
                    if found.evaluated.is_some() {
                        return Ok(Some(found));
                    }
                    looked.get_or_insert(found);
                }
                Ok(None) | Err(RestoreError::Unreadable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if looked.is_some() {
            return Ok(looked);
        }
        let person = source.restorer.at(source.stored, source.key, upto, RECORDS_MAX).await?;
        Ok(person.map(|person| Self { person, told: None, evaluated: None }))
    }

    async fn forward(mut records: Retracing<'_>) -> Result<Self, RestoreError> {
        let (mut told, mut evaluated) = (Vec::new(), None);
        loop {
            let before = records.person.state.clone();
            let Some((stored, replayed)) = records.next().await? else { break };
            let Some(replayed) = replayed else { continue };
            if let Some(outcome) = replayed.outcomes.iter().rfind(|outcome| is_evaluated(outcome)) {
                let (record, policy) = (replayed.record.clone(), replayed.policy.clone());
                evaluated = Some((Evaluated { before, record, policy }, outcome.clone()));
            }
            told.push(Told { stored, replayed });
            if told.len() > usize::try_from(TOLD).unwrap_or(usize::MAX) {
                told.remove(0);
            }
        }
        Ok(Self { person: records.person, told: Some(told), evaluated })
    }
}

fn is_evaluated(outcome: &Outcome) -> bool {
    !matches!(outcome.kind, Kind::Duplicate | Kind::NotEvaluated)
}

/// Where a record lies, and where it came from.
pub(crate) fn place(record: &StoredRecord) -> Value {
    json!({
        "number": record.number,
        "recorded_at": record.place.stamp,
        "lane": record.place.lane.0,
        "position": record.place.position,
        "source": match record.provenance {
            Provenance::Log(source, _) => source.as_str(),
            Provenance::Order(_) => "order",
        },
        "offset": record.provenance.offset(),
    })
}

fn reading(signal: &str, report: &IndicatorReport) -> Value {
    json!({
        "signal": signal, "status": report.status, "value": report.value,
        "age_seconds": report.age_seconds, "device_id": report.device_id,
    })
}

/// `calibrated`, or how far it is from that.
pub(crate) fn calibration(report: &IndicatorReport) -> String {
    let Some(baseline) = report.baseline else { return "calibrating".to_owned() };
    if baseline.calibrated {
        return "calibrated".to_owned();
    }
    let days = format!("{}/{} days", baseline.days, baseline.days_needed);
    match baseline.samples_needed {
        Some(needed) => format!("calibrating {}/{needed}, {days}", baseline.samples),
        None => format!("calibrating {days}"),
    }
}
