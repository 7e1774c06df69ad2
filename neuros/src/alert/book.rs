//! The alerts of one person: what is open, what is held back, when to look again; and what an outcome means for
//! them. What orders and time alone mean is beside.

use serde::{Deserialize, Serialize};

use super::change::{Change, Evidence, Held};
use super::episode::{Cleared, Episode, Pending, Phase, Slot, Snooze, micros, micros_or_none};
use super::grade::{Measure, Severity};
use super::quiet::Quiet;
use super::rule::{Rule, When};
use super::silence::Heard;
use super::words;
use crate::mode::Mode;
use crate::outcome::{Kind, Outcome, Reason};
use crate::policy::Policy;
use crate::redact::redacted_debug;
use crate::rule::{Rule as EngineRule, RuleSet};
use crate::state::{Indicators, State};
use crate::time::Timestamp;
use crate::view::View;

/// A person's alerts.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Book {
    /// The newest arrival: time does not go back, whatever clocks do.
    #[serde(with = "micros")]
    pub(super) clock: Timestamp,
    pub(super) heard: Heard,
    /// When somebody is to look again, as it was said last.
    #[serde(with = "micros_or_none")]
    pub(super) scheduled: Option<Timestamp>,
    pub(super) quiet: Option<Box<Quiet>>,
    pub(super) slots: Vec<Slot>,
}

/// A person is met at some time: what to go by, and where to say what comes of it.
pub struct Meeting<'m> {
    /// The policy in force.
    pub policy: &'m Policy,
    /// The person's state after what has happened.
    pub state: &'m State,
    /// When it arrived.
    pub arrived: Timestamp,
    /// The time by which the alerts go: at first the same, and never earlier than it was.
    pub now: Timestamp,
    /// The number of what was said of the person last; goes on with each change.
    pub message_number: &'m mut i64,
    /// Changes are added here.
    pub changes: &'m mut Vec<Change>,
    /// What was held back, by the place of its reason in [`Held::ALL`].
    pub held: &'m mut [u32; Held::ALL.len()],
}

/// What is happening with a rule, when something is.
pub(super) struct Sign {
    pub(super) severity: Severity,
    pub(super) detail: String,
    pub(super) evidence: Evidence,
    /// What it rests on.
    pub(super) indicators: Indicators,
    /// Event time.
    pub(super) at: Timestamp,
}

redacted_debug!(Book);

impl Default for Book {
    fn default() -> Self {
        Self {
            clock: Timestamp::from_micros(0),
            heard: Heard::default(),
            scheduled: None,
            quiet: None,
            slots: Vec::new(),
        }
    }
}

impl Meeting<'_> {
    pub(super) fn hold(&mut self, reason: Held) {
        if let Some(count) = self.held.get_mut(reason as usize) {
            *count += 1;
        }
    }

    pub(super) fn view(&self, at: Timestamp) -> View {
        View::at(at, self.state, self.policy)
    }

    /// How serious a rule is by its table. The last line has no condition.
    fn severity(&self, rule: &Rule, confidence: f64, at: Timestamp) -> Severity {
        let value = |measure| match measure {
            Measure::Confidence => Some(confidence),
            Measure::Indicator(indicator) => self.view(at).of(indicator).value(),
        };
        let mut lines = rule.severity.iter();
        let line = lines.find(|line| match line.when {
            Some((measure, bound)) => value(measure).is_some_and(|value| bound.holds(value)),
            None => true,
        });
        line.map_or(Severity::Low, |line| line.severity)
    }
}

impl Book {
    /// The number of the first that was said of each alert that is open.
    pub fn open_episodes(&self) -> impl Iterator<Item = i64> {
        self.slots.iter().filter_map(|slot| match &slot.phase {
            Phase::Open(episode) => Some(episode.number),
            _ => None,
        })
    }

    /// Time has come to the meeting's: what is due by then becomes true. Before everything else of a meeting.
    pub fn begin(&mut self, meeting: &mut Meeting<'_>) {
        self.clock = self.clock.max(meeting.now);
        meeting.now = self.clock;
        self.pass_time(meeting);
    }

    /// One of a record's outcomes, in order; behind the mode change that it may be.
    pub fn meet(&mut self, outcome: &Outcome, meeting: &mut Meeting<'_>) {
        match outcome.kind {
            Kind::Duplicate => return,
            Kind::NotEvaluated => {
                if outcome.reason == Some(Reason::Backfill) {
                    meeting.hold(Held::Backfill);
                }
                return;
            }
            Kind::Switched | Kind::Held | Kind::Suppressed | Kind::Unchanged => {}
        }
        self.heard.hear(meeting.arrived);
        let at = evaluated_at(outcome);
        let policy = meeting.policy;
        for rule in policy.alerts.rules.iter() {
            match rule.when {
                When::Mode { mode, rule: engine } => {
                    let confirms = matches!(outcome.kind, Kind::Switched | Kind::Held)
                        && engine.is_none_or(|engine| outcome.fired.contains(engine));
                    if outcome.mode != mode {
                        self.is_over(rule, at, meeting);
                    } else if confirms {
                        let sign = mode_sign(rule, outcome, meeting);
                        self.is_on(rule, sign, meeting);
                    }
                }
                When::Reading { .. } => {}
                When::Silence { .. } => self.is_over(rule, meeting.arrived, meeting),
            }
        }
    }

    /// All outcomes of a record are met; `evaluated` says whether one was evaluated. Gives when to look again,
    /// if that is earlier than was said before.
    pub fn finish(&mut self, evaluated: bool, meeting: &mut Meeting<'_>) -> Option<Timestamp> {
        if evaluated {
            let policy = meeting.policy;
            for rule in policy.alerts.rules.iter() {
                self.look(rule, meeting);
            }
            self.resume(meeting);
        }
        let due = self.due(meeting)?;
        if self.scheduled.is_some_and(|scheduled| scheduled <= due) {
            return None;
        }
        self.scheduled = Some(due);
        Some(due)
    }

    /// What a rule is about holds, as a reading shows that has just come.
    fn is_on(&mut self, rule: &Rule, sign: Sign, meeting: &mut Meeting<'_>) {
        let mut slot = self.take_slot(rule);
        match &mut slot.phase {
            Phase::Idle => {
                if rule.fire_after.0 > 0 {
                    meeting.hold(Held::Pending);
                    slot.phase = Phase::Pending(Pending {
                        since: meeting.now,
                        confirmed_at: meeting.now,
                        indicators: sign.indicators,
                        started_at: sign.at,
                        severity: sign.severity,
                        detail: sign.detail,
                        evidence: sign.evidence,
                    });
                } else {
                    self.fire(rule, &mut slot, sign, meeting);
                }
            }
            Phase::Dismissed(dismissed) if sign.severity > dismissed.severity => {
                self.fire(rule, &mut slot, sign, meeting);
            }
            Phase::Dismissed(dismissed) => {
                dismissed.cleared_at = None;
                meeting.hold(Held::Dismissed);
            }
            Phase::Pending(pending) => {
                if meeting.now - pending.since >= rule.fire_after {
                    let severity = sign.severity.max(pending.severity);
                    let sign = Sign { severity, at: pending.started_at, ..sign };
                    self.fire(rule, &mut slot, sign, meeting);
                } else {
                    pending.severity = pending.severity.max(sign.severity);
                    (pending.confirmed_at, pending.indicators) = (meeting.now, sign.indicators);
                    meeting.hold(Held::Pending);
                }
            }
            Phase::Open(_) => self.confirm(rule, &mut slot, sign, meeting),
        }
        self.put(slot);
    }

    /// An open episode goes on: somebody is told if it has become more serious.
    fn confirm(&self, rule: &Rule, slot: &mut Slot, sign: Sign, meeting: &mut Meeting<'_>) {
        let snooze = slot.snooze;
        let Phase::Open(episode) = &mut slot.phase else { return };
        (episode.confirmed_at, episode.indicators) = (meeting.now, sign.indicators);
        episode.cleared = None;
        if sign.severity <= episode.severity {
            let why = match self.may_notify(snooze, episode.severity, meeting) {
                _ if episode.is_acknowledged => Held::Acknowledged,
                Err(held) => held,
                Ok(()) => Held::Firing,
            };
            meeting.hold(why);
            episode.suppressed_count = episode.suppressed_count.saturating_add(1);
            return;
        }
        episode.severity = sign.severity;
        episode.evidence = sign.evidence;
        episode.is_acknowledged = false;
        episode.is_suspended = false;
        self.notify(rule, episode, snooze, sign.detail, meeting);
    }

    /// A new episode.
    pub(super) fn fire(&self, rule: &Rule, slot: &mut Slot, sign: Sign, meeting: &mut Meeting<'_>) {
        let mut episode = Box::new(Episode {
            number: *meeting.message_number + 1,
            severity: sign.severity,
            is_acknowledged: false,
            is_suspended: false,
            started_at: sign.at,
            confirmed_at: meeting.now,
            indicators: sign.indicators,
            cleared: None,
            notified_at: None,
            suppressed_count: 0,
            evidence: sign.evidence,
        });
        self.notify(rule, &mut episode, slot.snooze, sign.detail, meeting);
        slot.phase = Phase::Open(episode);
    }

    /// What a rule is about no longer holds.
    fn is_over(&mut self, rule: &Rule, event_time: Timestamp, meeting: &mut Meeting<'_>) {
        let Some(place) = self.slots.iter().position(|slot| *slot.rule == *rule.id) else { return };
        let mut slot = self.slots.remove(place);
        match &mut slot.phase {
            Phase::Idle => {}
            Phase::Pending(_) => slot.phase = Phase::Idle,
            // Whoever has resolved it knows of it; what expired long ago and begins anew is news.
            Phase::Dismissed(dismissed) if !dismissed.by_hand || rule.clear_after.0 <= 0 => {
                slot.phase = Phase::Idle;
            }
            Phase::Dismissed(dismissed) => _ = dismissed.cleared_at.get_or_insert(meeting.now),
            Phase::Open(episode) => {
                let cleared = Cleared { at: meeting.now, event_time };
                let cleared = *episode.cleared.get_or_insert(cleared);
                if rule.clear_after.0 <= 0 {
                    let detail = words::over(rule, cleared.event_time);
                    meeting.end(rule, episode, cleared.event_time, detail, None);
                    slot.phase = Phase::Idle;
                }
            }
        }
        self.put(slot);
    }

    /// What a rule about readings sees.
    fn look(&mut self, rule: &Rule, meeting: &mut Meeting<'_>) {
        let When::Reading { indicator, bound, until } = rule.when else { return };
        let Some(at) = meeting.state.clock() else { return };
        let Some(value) = meeting.view(at).of(indicator).value() else { return };
        if bound.holds(value) {
            let confidence = meeting.state.confidence();
            let sign = Sign {
                severity: meeting.severity(rule, confidence, at),
                detail: words::reading(indicator, value, bound),
                evidence: Evidence {
                    seq: meeting.state.seq(),
                    reason: None,
                    value: Some(value),
                    limit: Some(bound.limit()),
                },
                indicators: Indicators::of(&[(indicator, true)]),
                at,
            };
            self.is_on(rule, sign, meeting);
        } else if When::is_over_at(bound, until, value) {
            self.is_over(rule, at, meeting);
        }
    }

    /// Whether somebody may be told now of something so serious.
    pub(super) fn may_notify(
        &self,
        snooze: Option<Snooze>,
        severity: Severity,
        meeting: &Meeting<'_>,
    ) -> Result<(), Held> {
        let now = meeting.now;
        if snooze.is_some_and(|snooze| now < snooze.until && severity <= snooze.severity) {
            return Err(Held::Snoozed);
        }
        let waits = severity < meeting.policy.alerts.through_quiet_hours;
        if waits && self.quiet_until(now).is_some() {
            return Err(Held::QuietHours);
        }
        Ok(())
    }

    pub(super) fn quiet_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.quiet.as_ref()?.end_at(now)
    }

    pub(super) fn take_slot(&mut self, rule: &Rule) -> Slot {
        match self.slots.iter().position(|slot| *slot.rule == *rule.id) {
            Some(place) => self.slots.remove(place),
            None => Slot { rule: rule.id.clone(), phase: Phase::Idle, snooze: None },
        }
    }

    /// Keeps a slot, in the order of the rules' names, while there is something in it.
    pub(super) fn put(&mut self, slot: Slot) {
        if matches!(slot.phase, Phase::Idle) && slot.snooze.is_none() {
            return;
        }
        let place = self.slots.partition_point(|other| other.rule < slot.rule);
        self.slots.insert(place, slot);
    }
}

fn mode_sign(rule: &Rule, outcome: &Outcome, meeting: &Meeting<'_>) -> Sign {
    Sign {
        severity: meeting.severity(rule, outcome.confidence, evaluated_at(outcome)),
        detail: words::mode(outcome),
        evidence: Evidence {
            seq: meeting.state.seq(),
            reason: outcome.reason.map(|reason| reason.as_str().into()),
            value: None,
            limit: None,
        },
        indicators: indicators_of(rule, outcome),
        at: evaluated_at(outcome),
    }
}

/// What a mode rests on now: whatever the rules look at that speak for it, or the one that is meant.
fn indicators_of(rule: &Rule, outcome: &Outcome) -> Indicators {
    let is_meant = |engine: &EngineRule| match rule.when {
        When::Mode { rule: Some(meant), .. } => *engine == meant,
        _ => RuleSet::of_mode(outcome.mode).contains(*engine) && outcome.fired.contains(*engine),
    };
    let meant = EngineRule::ALL.into_iter().filter(is_meant);
    meant.fold(Indicators::default(), |all, engine| {
        let its = engine.indicators().iter().map(|indicator| (*indicator, true));
        all.union(Indicators::of(&its.collect::<Vec<_>>()))
    })
}

/// The evaluation's own time, which does not go back; of a switch, when its mode began.
fn evaluated_at(outcome: &Outcome) -> Timestamp {
    let explained = outcome.explanation.as_ref();
    explained.and_then(|explanation| explanation.evaluated_at).unwrap_or(outcome.time)
}

/// The mode to say of a person.
pub(super) fn mode_of(meeting: &Meeting<'_>) -> Mode {
    meeting.state.mode()
}
