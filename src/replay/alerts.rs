//! Alerts over a recorded log: what would have been said of each person, and how often somebody would have been
//! notified. Time is the log's own: whatever is due before a record happens before it, on the minute.

use std::collections::{BTreeMap, BTreeSet};

use actors::person::{Applied, Look, Person, Reaction};
use neuros::alert::{Change, Order, Severity, Status, Stored};
use neuros::time::{Micros, Timestamp};
use neuros::wire::{self, Intake};
use neuros::{Mode, Outcome, Policy};
use serde::Serialize;

use super::log::Line;

/// Everybody's alerts, as a log builds them up.
pub struct AlertReplay<'p> {
    policy: &'p Policy,
    intake: Intake,
    only_user: Option<String>,
    people: BTreeMap<String, Known>,
    /// When whose alerts are to be looked at.
    due: BTreeSet<(Timestamp, String)>,
    outcomes: Vec<Outcome>,
}

#[derive(Default)]
struct Known {
    person: Person,
    due: Option<Timestamp>,
    /// UTC days with records.
    days: BTreeSet<i64>,
    notifications: u64,
    changes: u64,
}

/// A change of an alert.
#[derive(Serialize)]
pub struct AlertLine<'a> {
    r#type: &'static str,
    user_id: &'a str,
    n: i64,
    rule: &'a str,
    status: Status,
    severity: Severity,
    notify: bool,
    suspended: bool,
    started_at: Timestamp,
    updated_at: Timestamp,
    ended_at: Option<Timestamp>,
    suppressed_count: u32,
    mode: Mode,
    detail: &'a str,
}

/// How often somebody was notified of a person.
#[derive(Serialize)]
pub struct AlertSummary<'a> {
    r#type: &'static str,
    user_id: &'a str,
    /// Days (UTC) with records.
    days: usize,
    /// Changes of alerts, notified or not.
    changes: u64,
    notifications: u64,
    notifications_per_day: f64,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

impl<'p> AlertReplay<'p> {
    /// A replay without any person.
    pub fn new(policy: &'p Policy, intake: Intake, only_user: Option<String>) -> Self {
        Self {
            policy,
            intake,
            only_user,
            people: BTreeMap::new(),
            due: BTreeSet::new(),
            outcomes: Vec::new(),
        }
    }

    /// Applies one line after what is due before it; calls `report` with each change. Says whether it was a record
    /// that counts.
    ///
    /// # Errors
    ///
    /// What `report` gives.
    pub fn apply<E>(
        &mut self,
        line: &Line<'_>,
        mut report: impl FnMut(&AlertLine<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let value = line.value();
        let Ok(record) = wire::decode(&line.message(&value), &self.intake) else {
            return Ok(false);
        };
        if self.only_user.as_deref().is_some_and(|only| record.user_id != only) {
            return Ok(false);
        }
        self.pass_time(record.record_time, &mut report)?;
        let user_id = record.user_id.as_str();
        let known = self.people.entry(user_id.to_owned()).or_default();
        known.days.insert(record.record_time.as_micros().div_euclid(MICROS_PER_DAY));
        let mut reaction = Reaction::default();
        let applied = known.person.apply(self.policy, &record, &mut self.outcomes);
        if applied != Applied::Duplicate {
            known.person.react(self.policy, &record, &self.outcomes, &mut reaction);
        }
        self.say(user_id, &reaction, &mut report)?;
        Ok(true)
    }

    fn pass_time<E>(
        &mut self,
        until: Timestamp,
        report: &mut impl FnMut(&AlertLine<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((due, user_id)) = self.due.first().cloned().filter(|(due, _)| *due <= until)
        {
            self.due.remove(&(due, user_id.clone()));
            let Some(known) = self.people.get_mut(&user_id) else { continue };
            // On the next whole minute, as somebody who looks from time to time.
            let minute = Micros::from_minutes(1).0;
            let at = due.as_micros().saturating_add(minute - 1).div_euclid(minute) * minute;
            let tick = Stored::new(Timestamp::from_micros(at), Order::Tick);
            let mut reaction = Reaction::default();
            let carried_out = known.person.obey(self.policy, &tick, &mut reaction);
            if carried_out.is_ok() {
                known.due = None;
                self.say(&user_id, &reaction, report)?;
            }
        }
        Ok(())
    }

    fn say<E>(
        &mut self,
        user_id: &str,
        reaction: &Reaction,
        report: &mut impl FnMut(&AlertLine<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(known) = self.people.get_mut(user_id) else { return Ok(()) };
        for change in &reaction.changes {
            known.changes += 1;
            known.notifications += u64::from(change.notify);
            report(&AlertLine::of(user_id, change))?;
        }
        let due = match reaction.look {
            Look::Unchanged => return Ok(()),
            Look::At(due) => Some(due),
            Look::Never => None,
        };
        if let Some(before) = known.due.take() {
            self.due.remove(&(before, user_id.to_owned()));
        }
        known.due = due;
        self.due.extend(due.map(|due| (due, user_id.to_owned())));
        Ok(())
    }

    /// How often somebody was notified of each person, by the bytes of the user id.
    pub fn summaries(&self) -> impl Iterator<Item = AlertSummary<'_>> {
        self.people.iter().map(|(user_id, known)| AlertSummary {
            r#type: "summary",
            user_id,
            days: known.days.len(),
            changes: known.changes,
            notifications: known.notifications,
            notifications_per_day: rate(known.notifications, known.days.len()),
        })
    }
}

/// In hundredths: more would say more than there is.
#[expect(clippy::cast_precision_loss, reason = "days and notifications of a log are few")]
fn rate(notifications: u64, days: usize) -> f64 {
    (100.0 * notifications as f64 / days.max(1) as f64).round() / 100.0
}

impl<'a> AlertLine<'a> {
    fn of(user_id: &'a str, change: &'a Change) -> Self {
        Self {
            r#type: "alert",
            user_id,
            n: change.n,
            rule: &change.rule,
            status: change.status,
            severity: change.severity,
            notify: change.notify,
            suspended: change.suspended,
            started_at: change.started_at,
            updated_at: change.updated_at,
            ended_at: change.ended_at,
            suppressed_count: change.suppressed_count,
            mode: change.mode,
            detail: &change.detail,
        }
    }
}
