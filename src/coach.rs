//! The coach: one short message for each mode change, by a language model at a third party when that is switched on, or
//! else the sentence of the explanation. It reads what was committed, and nothing ever waits for it.
//!
//! What leaves is a [`Brief`]. Each call is permitted and counted in the store, then written to
//! `phi_access_log`, and only then made; whatever ends in between, nobody is asked twice about a mode change.

mod answer;
mod brief;
mod circuit;
mod endpoint;
mod why;

use std::sync::Arc;
use std::time::Duration;

use actors::lane::UserNumber;
use actors::message::explained_of_stored;
use actors::phi::Phi;
use actors::places::transition_place;
use actors::seal::{DataKey, KeyRing, KeysAway, Place, Seal};
use actors::store::StoreError;
use futures_util::future::join_all;
use neuros::time::{Micros, Timestamp};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::brief::Brief;
use self::circuit::Circuit;
use self::endpoint::{Endpoint, Failed};
use crate::app::now;
use crate::settings;
use crate::store::{
    Access, Administration as _, CallsMax, NewCoachMessage, Permission, SqlStore, Untold,
    UntoldChange,
};
use crate::watch::Watch;

pub(crate) use why::Why;

/// How often somebody looks for mode changes that are not told of.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// At every so manyth look the calls that are left are counted, though nothing was told of.
const COUNT_EVERY: u32 = 20;
/// The longest pause after a turn that came to nothing.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Mode changes of a lane that are told of at a time.
const PAGE: i64 = 16;

/// What the coach works with.
pub(crate) struct Tools {
    pub(crate) store: Arc<SqlStore>,
    pub(crate) keys: Arc<dyn KeyRing>,
    pub(crate) seal: Arc<dyn Seal>,
    pub(crate) watch: Arc<Watch>,
    /// As whom this process claims lanes.
    pub(crate) owner: String,
}

/// Tells of the mode changes of the lanes that this process owns.
pub(crate) struct Coach {
    tools: Tools,
    endpoint: Arc<Endpoint>,
    settings: settings::Coach,
    circuit: Circuit,
    turns: Semaphore,
}

/// Why a turn comes to nothing for now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Keys(#[from] KeysAway),
}

/// A message, and why it is not a language model's.
struct Said {
    text: Phi<String>,
    instead: Option<Why>,
}

/// Where a message lies.
pub(crate) fn place(user: UserNumber, n: i64) -> Place {
    Place { table: "coach_messages", column: "body", user: user.0, record: n }
}

impl Coach {
    /// The one that the settings ask for, if they do.
    ///
    /// # Errors
    ///
    /// One sentence that says which setting cannot be used.
    pub(crate) fn of(settings: &settings::Coach, tools: Tools) -> Result<Option<Self>, String> {
        let (true, Some(key)) = (settings.enabled, &settings.openai_api_key) else {
            return Ok(None);
        };
        let endpoint = Arc::new(Endpoint::of(settings, key)?);
        let turns = Semaphore::new(settings.calls_at_once);
        let (settings, circuit) = (settings.clone(), Circuit::default());
        Ok(Some(Self { tools, endpoint, settings, circuit, turns }))
    }

    /// Tells of what is committed, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        self.tools.watch.part(PART, Ok(()));
        let (mut pause, mut looks) = (LOOK_EVERY, 0_u32);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                done = self.look(looks.is_multiple_of(COUNT_EVERY)) => match done {
                    Ok(()) => (pause, looks) = (LOOK_EVERY, looks.wrapping_add(1)),
                    Err(trouble) => {
                        tracing::warn!(%trouble, "the coach waits");
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tells of all that is committed by now, and counts how many calls are left.
    async fn look(&self, counts: bool) -> Result<(), Trouble> {
        let store = &self.tools.store;
        let mut goes_on = true;
        let mut told = counts;
        while goes_on {
            let lanes = store.untold_lanes(&self.tools.owner).await?;
            goes_on = false;
            for moved in join_all(lanes.into_iter().map(|lane| self.tell_of(lane))).await {
                goes_on |= moved?;
            }
            told |= goes_on;
        }
        if told {
            let calls = store.coach_calls(now()).await?;
            self.tools.watch.coach().left(&self.settings, calls);
        }
        Ok(())
    }

    /// Tells of a lane's first mode changes, and moves its cursor behind them; says whether it was ours to move.
    async fn tell_of(&self, lane: Untold) -> Result<bool, Trouble> {
        let store = &self.tools.store;
        let changes = store.untold_changes(&lane, PAGE).await?;
        let is_last = i64::try_from(changes.len()).unwrap_or(PAGE) < PAGE;
        let to = changes.last().filter(|_| !is_last).map_or(lane.head, |change| change.number);
        let briefs = self.briefs(&changes).await?;
        let told: Vec<(&UntoldChange, Brief)> = changes
            .iter()
            .zip(briefs)
            .filter_map(|(change, brief)| Some((change, brief?)))
            .collect();
        let said = join_all(told.iter().map(|(change, brief)| self.say(change, brief))).await;
        let said = said.into_iter().collect::<Result<Vec<Said>, Trouble>>()?;
        // Asked for anew: meanwhile somebody may have been erased.
        let keys = self.keys_of(told.iter().map(|(change, _)| change.user)).await?;
        let at = now();
        let messages =
            told.iter().zip(&said).zip(&keys).filter_map(|(((change, brief), said), key)| {
                let body = self.written(change, brief, said, at);
                let body = self.tools.seal.seal(key.as_ref()?, place(change.user, change.n), &body);
                Some(NewCoachMessage { user: change.user, n: change.n, body })
            });
        let messages = messages.collect();
        let moved = store.keep_coach_messages(lane, to, messages, at).await?;
        if moved {
            said.iter().for_each(|said| self.tools.watch.coach().said(said.instead));
        }
        Ok(moved)
    }

    /// What may be told of each; none of what opens no more.
    async fn briefs(&self, changes: &[UntoldChange]) -> Result<Vec<Option<Brief>>, Trouble> {
        let keys = self.keys_of(changes.iter().map(|change| change.user)).await?;
        let brief = |(change, key): (&UntoldChange, &Option<DataKey>)| {
            let place = transition_place(change.user, change.n);
            let opened = self.tools.seal.open(key.as_ref()?, place, &change.body).ok();
            let brief = opened.and_then(explained_of_stored).as_ref().and_then(Brief::of);
            if brief.is_none() {
                tracing::warn!(n = change.n, "a mode change does not open, and gets no message");
            }
            brief
        };
        Ok(changes.iter().zip(&keys).map(brief).collect())
    }

    async fn keys_of(
        &self,
        users: impl Iterator<Item = UserNumber>,
    ) -> Result<Vec<Option<DataKey>>, KeysAway> {
        let users: Vec<UserNumber> = users.collect();
        if users.is_empty() {
            return Ok(Vec::new());
        }
        self.tools.keys.keys_of(&users).await
    }

    /// The message as it is sealed and shown.
    fn written(
        &self,
        change: &UntoldChange,
        brief: &Brief,
        said: &Said,
        at: Timestamp,
    ) -> Phi<Vec<u8>> {
        let message = json!({
            "n": change.n,
            "seq": brief.seq,
            "previous_mode": brief.previous_mode,
            "mode": brief.mode,
            "time": change.time,
            "text": said.text.expose(),
            "source": if said.instead.is_none() { "model" } else { "fallback" },
            "fallback_reason": said.instead.map(Why::as_str),
            "model": said.instead.is_none().then_some(&self.settings.model),
            "written_at": at,
        });
        // An object of texts and numbers is always written.
        Phi::new(serde_json::to_vec(&message).unwrap_or_default())
    }

    async fn say(&self, change: &UntoldChange, brief: &Brief) -> Result<Said, Trouble> {
        Ok(match self.ask(change, brief).await? {
            Ok(text) => Said { text, instead: None },
            Err(why) => Said { text: brief.sentence.clone(), instead: Some(why) },
        })
    }

    /// Asks for a message, twice at most; the inner error says why there is none.
    async fn ask(
        &self,
        change: &UntoldChange,
        brief: &Brief,
    ) -> Result<Result<Phi<String>, Why>, Trouble> {
        if change.calls > 0 {
            return Ok(Err(Why::CutOff));
        }
        if self.is_old(change) {
            return Ok(Err(Why::Old));
        }
        let Ok(_turn) = self.turns.acquire().await else { return Ok(Err(Why::Unreachable)) };
        let deadline = Instant::now() + self.settings.timeout;
        let mut calls = 0;
        loop {
            if let Err(why) = self.may_ask(change, calls).await? {
                return Ok(Err(why));
            }
            calls += 1;
            let asked = self.call(change, brief, deadline).await;
            let Err(Failed { why, problem, again }) = asked else {
                return Ok(asked.map_err(|failed| failed.why));
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let again = again.filter(|pause| calls < 2 && *pause < left);
            let Some(pause) = again else {
                self.note(why, &problem);
                return Ok(Err(why));
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn is_old(&self, change: &UntoldChange) -> bool {
        let newer_than = i64::try_from(self.settings.newer_than.as_micros()).unwrap_or(i64::MAX);
        newer_than != 0 && now() - change.time > Micros(newer_than)
    }

    /// Has a call permitted and written down; the inner error says why it may not be made.
    async fn may_ask(
        &self,
        change: &UntoldChange,
        before: i32,
    ) -> Result<Result<(), Why>, Trouble> {
        if !self.circuit.admits(Instant::now()) {
            return Ok(Err(Why::Resting));
        }
        let settings::Coach { calls_per_minute, calls_per_day, calls_per_user_day, .. } =
            self.settings;
        let max = CallsMax {
            per_minute: calls_per_minute,
            per_day: calls_per_day,
            per_user_day: calls_per_user_day,
        };
        let about = (change.user, change.n);
        let permission = self.tools.store.permit_call(about, before, max, now()).await?;
        let refused = match permission {
            Permission::Given => None,
            Permission::MinuteSpent => Some(Why::MinuteSpent),
            Permission::DaySpent => Some(Why::DaySpent),
            Permission::UserDaySpent => Some(Why::UserDaySpent),
            Permission::Taken => Some(Why::CutOff),
        };
        if let Some(why) = refused {
            return Ok(Err(why));
        }
        let written = self.tools.store.log_access(&self.access(change, "DISCLOSE", None)).await;
        Ok(written.map_err(|error| {
            tracing::error!(%error, "nothing is disclosed: phi_access_log takes no rows");
            Why::Unwritten
        }))
    }

    /// Makes a call, and writes down what came of it.
    async fn call(
        &self,
        change: &UntoldChange,
        brief: &Brief,
        deadline: Instant,
    ) -> Result<Phi<String>, Failed> {
        let (endpoint, prompt) = (Arc::clone(&self.endpoint), brief.prompt.clone());
        let begun = Instant::now();
        let left = deadline.saturating_duration_since(begun).max(Duration::from_millis(1));
        let asked = tokio::task::spawn_blocking(move || endpoint.ask(&prompt, left)).await;
        let asked = asked.unwrap_or_else(|_| Err(Failed::ended()));
        let outcome = asked.as_ref().map_or_else(|failed| failed.why.as_str(), |_| ANSWERED);
        self.tools.watch.coach().called(outcome, begun.elapsed());
        let is_failure = asked.as_ref().is_err_and(|failed| failed.why.is_failure());
        if !is_failure && self.circuit.answered() {
            self.tools.watch.part(PART, Ok(()));
        }
        let ended = self.access(change, "DISCLOSURE ENDED", Some(outcome));
        if let Err(error) = self.tools.store.log_access(&ended).await {
            tracing::warn!(%error, "what came of a disclosure could not be written down");
        }
        asked
    }

    /// Notes that there is no message.
    fn note(&self, why: Why, problem: &str) {
        tracing::debug!(why = why.as_str(), %problem, "no message of the coach");
        if why.is_failure() && self.circuit.failed(Instant::now()) {
            let problem = format!("{} is not asked for a minute: {problem}", self.settings.host());
            tracing::warn!(%problem, "the coach rests");
            self.tools.watch.part(PART, Err(problem));
        }
    }

    fn access(&self, change: &UntoldChange, kind: &str, outcome: Option<&str>) -> Access {
        let to = format!("n = {}, to {}", change.n, self.settings.host());
        Access {
            user_id: Some(change.user_id.clone()),
            accessor_id: self.tools.owner.clone(),
            access_type: kind.to_owned(),
            table_name: "mode_transitions".to_owned(),
            record_id: Some(outcome.map_or(to.clone(), |outcome| format!("{to}: {outcome}"))),
            records: 1,
            time: now(),
        }
    }
}

/// Its name in `/ready`.
const PART: &str = "coach";
/// What came of a call that has led to a message.
pub(crate) const ANSWERED: &str = "answered";

#[cfg(test)]
mod tests;
