//! What a change of an alert says, in one sentence. Health data: only ever sealed or sent to who may see it.

use super::rule::{Bound, Rule, When};
use crate::explain::units::{clock, indicator_name, length, number_beside};
use crate::outcome::Outcome;
use crate::state::Indicator;
use crate::time::{Micros, Timestamp};

/// Why a mode's alert fires.
pub(super) fn mode(outcome: &Outcome) -> String {
    match &outcome.explanation {
        Some(explanation) => explanation.headline(),
        None => format!(
            "The mode {} was confirmed ({}).",
            outcome.mode.as_str(),
            outcome.reason.map_or("no rule", crate::Reason::as_str)
        ),
    }
}

/// Why a reading's alert fires.
pub(super) fn reading(indicator: Indicator, value: f64, bound: Bound) -> String {
    let side = match bound {
        Bound::AtLeast(_) => "at least",
        Bound::Above(_) => "above",
        Bound::Below(_) => "below",
    };
    let (value, limit) = (number_beside(value, bound.limit()), bound.limit());
    format!("The {} of {value} is {side} {limit}.", indicator_name(indicator))
}

/// Why the alert of somebody who is not heard of fires.
pub(super) fn silence(last: Timestamp, days: u32, of_days: u32) -> String {
    format!(
        "Nothing live has come since {}; before, data came on at least {days} of {of_days} days.",
        clock(last)
    )
}

/// That it is over.
pub(super) fn over(rule: &Rule, since: Timestamp) -> String {
    let for_how_long = match rule.clear_after {
        Micros(0) => String::new(),
        after => format!(", and has not come back for {}", length(after.as_seconds())),
    };
    match rule.when {
        When::Mode { mode, .. } => {
            format!("The mode {} was left at {}{for_how_long}.", mode.as_str(), clock(since))
        }
        When::Reading { indicator, until, .. } => format!(
            "The {} has reached {until} at {}{for_how_long}.",
            indicator_name(indicator),
            clock(since)
        ),
        When::Silence { .. } => format!("Live data has come again at {}.", clock(since)),
    }
}

/// That nothing has confirmed it.
pub(super) fn expired(rule: &Rule) -> String {
    format!("Nothing has confirmed it for {}.", length(rule.expire_after.as_seconds()))
}

pub(super) const WITHDRAWN: &str = "The policy no longer has this rule.";
pub(super) const SUSPENDED: &str =
    "The readings that it rests on are too old: whether it lasts is not known.";
pub(super) const RESUMED: &str = "Fresh readings have come, and it lasts.";
pub(super) const REMINDED: &str = "It still lasts.";
pub(super) const ACKNOWLEDGED: &str = "It was acknowledged.";
pub(super) const SNOOZED: &str = "It was snoozed.";
pub(super) const RESOLVED: &str = "It was resolved by hand.";
