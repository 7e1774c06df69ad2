//! What time alone does to alerts, and how a change is said.

use super::book::{Book, Meeting, Sign, mode_of};
use super::change::{Change, Evidence, Held, Status};
use super::episode::{Dismissed, Episode, Phase, Slot, Snooze};
use super::rule::{Rule, When};
use super::words;
use crate::state::{Indicator, Indicators};
use crate::time::{Micros, Timestamp};

impl Book {
    /// What is due by the meeting's time becomes true.
    pub(super) fn pass_time(&mut self, meeting: &mut Meeting<'_>) {
        let policy = meeting.policy;
        for mut slot in std::mem::take(&mut self.slots) {
            match policy.alerts.rules.of(&slot.rule) {
                Some(rule) => self.pass_slot(rule, &mut slot, meeting),
                None => withdraw(&mut slot, meeting),
            }
            self.put(slot);
        }
        for rule in policy.alerts.rules.iter() {
            self.pass_silence(rule, meeting);
        }
    }

    fn pass_slot(&self, rule: &Rule, slot: &mut Slot, meeting: &mut Meeting<'_>) {
        let now = meeting.now;
        match &mut slot.phase {
            Phase::Idle => {}
            Phase::Dismissed(dismissed) => {
                if dismissed.cleared_at.is_some_and(|at| now - at >= rule.clear_after) {
                    slot.phase = Phase::Idle;
                }
            }
            // Only a reading says that it lasts; without one it lapses.
            Phase::Pending(pending) => {
                if now - pending.confirmed_at > fresh_for(rule, pending.indicators, meeting) {
                    meeting.hold(Held::Stale);
                    slot.phase = Phase::Idle;
                }
            }
            Phase::Open(episode) => {
                if let Some(after) = self.pass_episode(rule, episode, slot.snooze, meeting) {
                    slot.phase = after;
                }
            }
        }
        slot.snooze = slot.snooze.filter(|snooze| now < snooze.until);
    }

    /// Gives what comes after an episode that ends.
    fn pass_episode(
        &self,
        rule: &Rule,
        episode: &mut Episode,
        snooze: Option<Snooze>,
        meeting: &mut Meeting<'_>,
    ) -> Option<Phase> {
        let now = meeting.now;
        let resolved = episode.cleared.map(|cleared| cleared.at + rule.clear_after);
        let expired = expires_at(rule, episode);
        if let (Some(cleared), Some(at)) = (episode.cleared, resolved)
            && at <= now
            && expired.is_none_or(|expired| at <= expired)
        {
            let detail = words::over(rule, cleared.event_time);
            meeting.end(rule, episode, cleared.event_time, detail, None);
            return Some(Phase::Idle);
        }
        if let Some(at) = expired.filter(|at| *at <= now) {
            meeting.close(rule, episode, Status::Expired, at, words::expired(rule), None);
            // If it goes on all the same, that is no news.
            return Some(match episode.cleared {
                Some(_) => Phase::Idle,
                None => dismissed(episode, false),
            });
        }
        if !episode.is_suspended && is_stale(rule, episode, meeting) {
            episode.is_suspended = true;
            meeting.say(rule, episode, snooze, words::SUSPENDED.to_owned(), None);
        }
        self.remind(rule, episode, snooze, meeting);
        None
    }

    /// Somebody is told of what was held back until now, or is told again.
    fn remind(
        &self,
        rule: &Rule,
        episode: &mut Episode,
        snooze: Option<Snooze>,
        meeting: &mut Meeting<'_>,
    ) {
        if !may_be_told(episode) {
            return;
        }
        let is_due = match episode.notified_at {
            None => true,
            Some(told) => rule.remind_after.0 > 0 && meeting.now - told >= rule.remind_after,
        };
        if !is_due {
            return;
        }
        if episode.is_suspended {
            meeting.hold(Held::Stale);
            episode.suppressed_count = episode.suppressed_count.saturating_add(1);
        } else if self.may_notify(snooze, episode.severity, meeting).is_ok() {
            self.notify(rule, episode, snooze, words::REMINDED.to_owned(), meeting);
        }
    }

    fn pass_silence(&mut self, rule: &Rule, meeting: &mut Meeting<'_>) {
        let When::Silence { after, days, of_days } = rule.when else { return };
        let silent_at = self.heard.silent_at(after, days, of_days);
        let (Some(_), Some(last)) = (silent_at.filter(|at| *at <= meeting.now), self.heard.last())
        else {
            return;
        };
        let mut slot = self.take_slot(rule);
        if matches!(slot.phase, Phase::Idle) {
            let sign = Sign {
                severity: rule.severity.last().map_or(super::Severity::Low, |line| line.severity),
                detail: words::silence(last, days, of_days),
                evidence: Evidence { seq: meeting.state.seq(), ..Evidence::default() },
                indicators: Indicators::default(),
                at: last,
            };
            self.fire(rule, &mut slot, sign, meeting);
        }
        self.put(slot);
    }

    /// Fresh readings have come: what was suspended goes on.
    pub(super) fn resume(&mut self, meeting: &mut Meeting<'_>) {
        for slot in &mut self.slots {
            let Some(rule) = meeting.policy.alerts.rules.of(&slot.rule) else { continue };
            let Phase::Open(episode) = &mut slot.phase else { continue };
            let lasts = episode.cleared.is_none();
            if episode.is_suspended && lasts && !is_stale(rule, episode, meeting) {
                episode.is_suspended = false;
                meeting.say(rule, episode, slot.snooze, words::RESUMED.to_owned(), None);
            }
        }
    }

    /// When something may be due next.
    pub(super) fn due(&self, meeting: &Meeting<'_>) -> Option<Timestamp> {
        let rules = &meeting.policy.alerts.rules;
        let of_slots = self.slots.iter().filter_map(|slot| {
            let Some(rule) = rules.of(&slot.rule) else { return Some(meeting.now) };
            match &slot.phase {
                Phase::Idle | Phase::Dismissed(_) | Phase::Pending(_) => None,
                Phase::Open(episode) => self.episode_due(rule, episode, slot.snooze, meeting),
            }
        });
        let of_silence = rules.iter().filter_map(|rule| match rule.when {
            When::Silence { after, days, of_days }
                if !self
                    .slots
                    .iter()
                    .any(|slot| *slot.rule == *rule.id && !matches!(slot.phase, Phase::Idle)) =>
            {
                self.heard.silent_at(after, days, of_days)
            }
            _ => None,
        });
        of_slots.chain(of_silence).min()
    }

    fn episode_due(
        &self,
        rule: &Rule,
        episode: &Episode,
        snooze: Option<Snooze>,
        meeting: &Meeting<'_>,
    ) -> Option<Timestamp> {
        let now = meeting.now;
        let resolved = episode.cleared.map(|cleared| cleared.at + rule.clear_after);
        let stale = stale_at(rule, episode, meeting).filter(|_| !episode.is_suspended);
        let told = if !may_be_told(episode) || episode.is_suspended {
            None
        } else {
            match self.may_notify(snooze, episode.severity, meeting) {
                Err(Held::Snoozed) => snooze.map(|snooze| snooze.until),
                Err(_) => self.quiet_until(now),
                Ok(()) => match episode.notified_at {
                    None => Some(now),
                    Some(told) => (rule.remind_after.0 > 0).then(|| told + rule.remind_after),
                },
            }
        };
        [resolved, expires_at(rule, episode), stale, told].into_iter().flatten().min()
    }

    /// Says that an episode fires as it does now, and notifies if somebody may be told.
    pub(super) fn notify(
        &self,
        rule: &Rule,
        episode: &mut Episode,
        snooze: Option<Snooze>,
        detail: String,
        meeting: &mut Meeting<'_>,
    ) {
        let may = self.may_notify(snooze, episode.severity, meeting);
        match may {
            Ok(()) => episode.notified_at = Some(meeting.now),
            Err(held) => {
                meeting.hold(held);
                episode.notified_at = None;
                episode.suppressed_count = episode.suppressed_count.saturating_add(1);
            }
        }
        let change = meeting.change(rule, episode, snooze, detail, None);
        meeting.changes.push(Change { notify: may.is_ok(), ..change });
    }
}

/// Somebody may have to be told of it: nobody has seen it, and it lasts.
fn may_be_told(episode: &Episode) -> bool {
    !episode.is_acknowledged && episode.cleared.is_none()
}

fn expires_at(rule: &Rule, episode: &Episode) -> Option<Timestamp> {
    (rule.expire_after.0 > 0).then(|| episode.confirmed_at + rule.expire_after)
}

/// The policy no longer has the slot's rule.
fn withdraw(slot: &mut Slot, meeting: &mut Meeting<'_>) {
    if let Phase::Open(episode) = &mut slot.phase {
        let rule = Rule::withdrawn(&slot.rule);
        meeting.end(&rule, episode, meeting.now, words::WITHDRAWN.to_owned(), None);
    }
    (slot.phase, slot.snooze) = (Phase::Idle, None);
}

/// Once it has been over, the rule begins anew.
pub(super) fn dismissed(episode: &Episode, by_hand: bool) -> Phase {
    let cleared_at = episode.cleared.map(|cleared| cleared.at);
    Phase::Dismissed(Dismissed { severity: episode.severity, by_hand, cleared_at })
}

fn is_stale(rule: &Rule, episode: &Episode, meeting: &Meeting<'_>) -> bool {
    stale_at(rule, episode, meeting).is_some_and(|at| at <= meeting.now)
}

/// When the readings are too old that the newest confirmation rests on: all of them, or one where the rule needs each;
/// `None` when it rests on none.
fn stale_at(rule: &Rule, episode: &Episode, meeting: &Meeting<'_>) -> Option<Timestamp> {
    let stale_at = |indicator: Indicator| {
        let latest = meeting.state.latest.get(indicator.signal()).as_ref()?;
        // One that is as old as it may be is still fresh.
        Some(latest.time + of_indicator(indicator, meeting) + Micros(1))
    };
    let all = episode.indicators.iter().filter_map(stale_at);
    if needs_all(rule) { all.min() } else { all.max() }
}

fn fresh_for(rule: &Rule, indicators: Indicators, meeting: &Meeting<'_>) -> Micros {
    let all = indicators.iter().map(|indicator| of_indicator(indicator, meeting));
    let fresh_for = if needs_all(rule) { all.min() } else { all.max() };
    fresh_for.unwrap_or(meeting.policy.fresh_for.default)
}

fn of_indicator(indicator: Indicator, meeting: &Meeting<'_>) -> Micros {
    let fresh_for = &meeting.policy.fresh_for;
    match indicator {
        Indicator::Hrv | Indicator::HeartRate | Indicator::Stress => fresh_for.default,
        Indicator::Recovery | Indicator::OvernightHrv => fresh_for.overnight,
    }
}

fn needs_all(rule: &Rule) -> bool {
    matches!(rule.when, When::Mode { rule: Some(_), .. })
}

impl Meeting<'_> {
    /// Says how an episode stands, to whom it may concern; notifies nobody.
    pub(super) fn say(
        &mut self,
        rule: &Rule,
        episode: &Episode,
        snooze: Option<Snooze>,
        detail: String,
        by: Option<&str>,
    ) {
        let change = self.change(rule, episode, snooze, detail, by);
        self.changes.push(change);
    }

    /// Says that an episode is resolved, and when what it is about had ended.
    pub(super) fn end(
        &mut self,
        rule: &Rule,
        episode: &Episode,
        ended_at: Timestamp,
        detail: String,
        by: Option<&str>,
    ) {
        self.close(rule, episode, Status::Resolved, ended_at, detail, by);
    }

    fn close(
        &mut self,
        rule: &Rule,
        episode: &Episode,
        status: Status,
        ended_at: Timestamp,
        detail: String,
        by: Option<&str>,
    ) {
        let change = self.change(rule, episode, None, detail, by);
        let ended_at = Some(ended_at);
        self.changes.push(Change { status, ended_at, suspended: false, ..change });
    }

    fn change(
        &mut self,
        rule: &Rule,
        episode: &Episode,
        snooze: Option<Snooze>,
        detail: String,
        by: Option<&str>,
    ) -> Change {
        *self.message_number += 1;
        Change {
            n: *self.message_number,
            episode: episode.number,
            rule: rule.id.clone(),
            title: rule.title.clone(),
            detail,
            severity: episode.severity,
            status: episode.status(),
            notify: false,
            suspended: episode.is_suspended,
            snoozed_until: snooze.map(|snooze| snooze.until).filter(|until| *until > self.now),
            started_at: episode.started_at,
            updated_at: self.now,
            ended_at: None,
            suppressed_count: episode.suppressed_count,
            mode: mode_of(self),
            evidence: episode.evidence.clone(),
            by: by.map(str::to_owned),
        }
    }
}
