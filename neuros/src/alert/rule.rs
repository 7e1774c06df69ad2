//! A rule of alerts, as the policy gives it. Says what is meant, never what has happened.

use super::grade::{Grade, Severity};
use crate::mode::Mode;
use crate::rule::Rule as EngineRule;
use crate::state::Indicator;
use crate::time::Micros;

/// When somebody is told of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name in messages: 1 to 64 lower-case letters, digits and underscores.
    pub id: Box<str>,
    /// What people read first.
    pub title: String,
    /// What it is about.
    pub when: When,
    /// How serious that is.
    pub severity: Vec<Grade>,
    /// How long it must last before the alert fires.
    pub fire_after: Micros,
    /// How long it must be over before the alert is resolved.
    pub clear_after: Micros,
    /// How long an alert lasts that nothing confirms; zero for ever.
    pub expire_after: Micros,
    /// How long after a notification the next one follows while nobody has acknowledged it; zero for never.
    pub remind_after: Micros,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// A mode, entered or confirmed for any reason, or by one of the engine's rules; over when the mode is left.
    Mode {
        /// The mode.
        mode: Mode,
        /// The engine's rule that must have fired.
        rule: Option<EngineRule>,
    },
    /// A live value beyond a bound; over when it is within another.
    Reading {
        /// Of what.
        indicator: Indicator,
        /// Beyond this.
        bound: Bound,
        /// Over from this value on, which lies on the other side of the bound or at it.
        until: f64,
    },
    /// Nothing live from somebody who had live readings on most days; over with the next.
    Silence {
        /// For how long.
        after: Micros,
        /// Days with live readings …
        days: u32,
        /// … among so many, up to the newest one.
        of_days: u32,
    },
}

/// One side of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// More than this.
    Above(f64),
    /// Less than this.
    Below(f64),
}

impl Bound {
    /// Whether a value lies there.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::Above(limit) => value > limit,
            Self::Below(limit) => value < limit,
        }
    }

    /// The value at which it begins.
    pub fn limit(self) -> f64 {
        match self {
            Self::AtLeast(limit) | Self::Above(limit) | Self::Below(limit) => limit,
        }
    }

    /// Its name in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtLeast(_) => "at_least",
            Self::Above(_) => "above",
            Self::Below(_) => "below",
        }
    }
}

impl When {
    /// Whether a value of this rule's indicator is normal again.
    pub(super) fn is_over_at(bound: Bound, until: f64, value: f64) -> bool {
        match bound {
            Bound::AtLeast(_) | Bound::Above(_) => value <= until && !bound.holds(value),
            Bound::Below(_) => value >= until && !bound.holds(value),
        }
    }
}

impl Rule {
    fn of(id: &str, title: &str, when: When, severity: Vec<Grade>, expire_after: Micros) -> Self {
        Self {
            id: id.into(),
            title: title.to_owned(),
            when,
            severity,
            fire_after: Micros(0),
            clear_after: Micros::from_minutes(10),
            expire_after,
            remind_after: Micros(0),
        }
    }

    /// What stands for a rule that an episode was of, and that the policy no longer has.
    pub(super) fn withdrawn(id: &str) -> Self {
        let never = When::Silence { after: Micros(0), days: 0, of_days: 0 };
        Self::of(id, "Withdrawn", never, Vec::new(), Micros(0))
    }

    /// The rules of a policy that names none.
    pub(super) fn built_in() -> Vec<Self> {
        use super::grade::Measure::{Confidence, Indicator as Of};
        let always = |severity| Grade { severity, when: None };
        let high =
            |measure, bound| Grade { severity: Severity::High, when: Some((measure, bound)) };
        let mode = |mode, rule| When::Mode { mode, rule };
        let hours = |hours: i64| Micros::from_minutes(hours * 60);
        let silence = When::Silence { after: hours(36), days: 7, of_days: 7 };
        vec![
            Self::of(
                "mode_reflex",
                "Acute strain",
                mode(Mode::Reflex, None),
                vec![high(Confidence, Bound::AtLeast(0.85)), always(Severity::Medium)],
                hours(6),
            ),
            Self::of(
                "mode_guardian",
                "Depleted, needs protection",
                mode(Mode::Guardian, None),
                vec![high(Of(Indicator::Recovery), Bound::Below(20.0)), always(Severity::Medium)],
                hours(36),
            ),
            Self::of(
                "low_hrv_low_hr",
                "HRV and heart rate both unusually low",
                mode(Mode::Hypothesis, Some(EngineRule::LowHrvLowHr)),
                vec![always(Severity::High)],
                hours(12),
            ),
            Self {
                clear_after: Micros(0),
                ..Self::of("no_data", "No data", silence, vec![always(Severity::Low)], hours(168))
            },
        ]
    }
}
