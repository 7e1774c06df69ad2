//! Readiness: whether the service does its work now, and if not, which part is missing. Parts without
//! which nothing is lost make it degraded, not unready.

use std::collections::BTreeMap;

use actors::observe::Condition;
use actors::rows::Sink;
use serde::Serialize;

use super::State;

/// The answer to `/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// `ready`, `degraded` (which is ready too) or `unready`.
    pub status: &'static str,
    /// The part that failed first, of an unready service.
    pub failing: Option<&'static str>,
    /// Every part.
    pub parts: BTreeMap<&'static str, Part>,
    /// The lanes of this process and what they are doing.
    pub lanes: BTreeMap<i32, &'static str>,
}

/// One part of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// It does its work.
    pub ok: bool,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Parts without which the service does not do its work, in the order in which they are named.
const NEEDED: [&str; 8] =
    ["postgres", "keys", "kafka", "topics", "start", "group", "lanes", "shutdown"];

impl Readiness {
    pub(super) fn of(
        state: &State,
        kafka: Result<(), String>,
        group: Result<(), &'static str>,
    ) -> Self {
        let mut parts: BTreeMap<&'static str, Part> =
            state.parts.iter().map(|(part, said)| (*part, Part::of(said.clone()))).collect();
        parts.insert("kafka", Part::of(kafka));
        parts.insert("group", Part::of(group.map_err(str::to_owned)));
        let mut lanes = Part::of(Ok(()));
        for (lane, condition) in &state.lanes {
            match condition {
                Condition::Running | Condition::Added | Condition::Left => {}
                Condition::Waiting { part, problem } => {
                    parts.insert(part, Part::of(Err(problem.clone())));
                }
                Condition::Halted { problem } => {
                    lanes = Part::of(Err(format!("lane {lane} has stopped: {problem}")));
                }
                Condition::Claiming | Condition::Restoring => {
                    if lanes.ok {
                        let doing = condition.as_str();
                        lanes = Part::of(Err(format!("lane {lane} is {doing}")));
                    }
                }
            }
        }
        parts.insert("lanes", lanes);
        if state.draining {
            parts.insert("shutdown", Part::of(Err("the service is ending".to_owned())));
        }
        if let Some(available) = state.cache {
            let said = available.then_some(()).ok_or_else(|| "it did not take states".to_owned());
            parts.insert("redis", Part::of(said));
        }
        // The peer is a part of its own, and says more of itself.
        let mut topics = state.sinks.iter().filter(|((_, sink), _)| *sink != Sink::Peer);
        let waiting = topics.find_map(|((_, sink), published)| {
            let problem = published.problem.as_ref()?;
            Some(format!("{}: {problem}", sink.as_str()))
        });
        parts.insert("outputs", Part::of(waiting.map_or(Ok(()), Err)));
        let failing = NEEDED.into_iter().find(|part| parts.get(part).is_some_and(|part| !part.ok));
        let status = match failing {
            Some(_) => "unready",
            None if parts.values().all(|part| part.ok) => "ready",
            None => "degraded",
        };
        let lanes = state.lanes.iter().map(|(lane, condition)| (lane.0, condition.as_str()));
        Self { status, failing, lanes: lanes.collect(), parts }
    }

    /// Whether work may be sent here.
    pub fn is_ready(&self) -> bool {
        self.failing.is_none()
    }
}

impl Part {
    fn of(said: Result<(), String>) -> Self {
        match said {
            Ok(()) => Self { ok: true, problem: None },
            Err(problem) => Self { ok: false, problem: Some(problem) },
        }
    }
}

#[cfg(test)]
mod tests {
    use actors::lane::Lane;
    use actors::observe::Published;

    use super::*;

    fn well() -> State {
        let mut state = State::default();
        state.parts.insert("postgres", Ok(()));
        state.parts.insert("start", Ok(()));
        state.lanes.insert(Lane(0), Condition::Running);
        state.cache = Some(true);
        state
    }

    fn away() -> String {
        "away".to_owned()
    }

    #[test]
    fn a_service_whose_parts_all_work_is_ready() {
        let readiness = Readiness::of(&well(), Ok(()), Ok(()));
        assert!(readiness.is_ready());
        assert_eq!((readiness.status, readiness.failing), ("ready", None));
    }

    #[test]
    fn what_is_needed_and_fails_is_named() {
        let kafka = Readiness::of(&well(), Err(away()), Ok(()));
        assert_eq!((kafka.is_ready(), kafka.failing), (false, Some("kafka")));
        let group = Readiness::of(&well(), Ok(()), Err("gone"));
        assert_eq!((group.is_ready(), group.failing), (false, Some("group")));
        let mut state = well();
        state.parts.insert("postgres", Err(away()));
        assert_eq!(Readiness::of(&state, Err(away()), Ok(())).failing, Some("postgres"));
        let mut state = well();
        state.lanes.insert(Lane(1), Condition::Waiting { part: "keys", problem: away() });
        assert_eq!(Readiness::of(&state, Ok(()), Ok(())).failing, Some("keys"));
        for condition in
            [Condition::Claiming, Condition::Restoring, Condition::Halted { problem: away() }]
        {
            let mut state = well();
            state.lanes.insert(Lane(1), condition);
            assert_eq!(Readiness::of(&state, Ok(()), Ok(())).failing, Some("lanes"));
        }
        let mut state = well();
        state.draining = true;
        assert_eq!(Readiness::of(&state, Ok(()), Ok(())).failing, Some("shutdown"));
    }

    #[test]
    fn without_cache_or_outputs_the_service_is_degraded_and_ready() {
        let mut state = well();
        state.cache = Some(false);
        let readiness = Readiness::of(&state, Ok(()), Ok(()));
        assert_eq!((readiness.status, readiness.is_ready()), ("degraded", true));
        let mut state = well();
        let published = Published { problem: Some(away()), waiting: 7, ..Published::default() };
        state.sinks.insert((Lane(0), Sink::Alerts), published);
        let readiness = Readiness::of(&state, Ok(()), Ok(()));
        assert_eq!((readiness.status, readiness.is_ready()), ("degraded", true));
        assert_eq!(readiness.parts["outputs"].problem.as_deref(), Some("alerts: away"));
    }
}
