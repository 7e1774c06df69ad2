//! The twelve rules by name, in the order of the table that ranks them.

use std::fmt;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use crate::mode::Mode;
use crate::state::Indicator;

/// A rule of the specification's section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// HRV far below its baseline, in ms.
    HrvDropMs,
    /// HRV far below its baseline, in percent.
    HrvDropPercentage,
    /// Heart rate high for some time.
    HeartRateElevated,
    /// Stress very high.
    StressCritical,
    /// Heart rate far above its baseline for some time.
    HeartRateExtreme,
    /// Recovery score low.
    RecoveryLow,
    /// HRV of the night far below its baseline.
    OvernightHrvLow,
    /// Two of three signs of depletion at once.
    Depletion,
    /// The same hour was hard on several days.
    RecurringStressHour,
    /// The same weekday was hard in several weeks.
    LowRecoveryWeekday,
    /// HRV and heart rate both high.
    HighHrvHighHr,
    /// HRV and heart rate both low.
    LowHrvLowHr,
}

/// A set of rules; lists itself in the table's order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct RuleSet(u16);

impl Rule {
    /// All rules in the table's order.
    pub const ALL: [Self; 12] = [
        Self::HrvDropMs,
        Self::HrvDropPercentage,
        Self::HeartRateElevated,
        Self::StressCritical,
        Self::HeartRateExtreme,
        Self::RecoveryLow,
        Self::OvernightHrvLow,
        Self::Depletion,
        Self::RecurringStressHour,
        Self::LowRecoveryWeekday,
        Self::HighHrvHighHr,
        Self::LowHrvLowHr,
    ];

    /// The rule's id as messages, tables and the policy's documentation have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HrvDropMs => "hrv_drop_ms",
            Self::HrvDropPercentage => "hrv_drop_percentage",
            Self::HeartRateElevated => "heart_rate_elevated",
            Self::StressCritical => "stress_critical",
            Self::HeartRateExtreme => "heart_rate_extreme",
            Self::RecoveryLow => "recovery_low",
            Self::OvernightHrvLow => "overnight_hrv_low",
            Self::Depletion => "depletion",
            Self::RecurringStressHour => "recurring_stress_hour",
            Self::LowRecoveryWeekday => "low_recovery_weekday",
            Self::HighHrvHighHr => "high_hrv_high_hr",
            Self::LowHrvLowHr => "low_hrv_low_hr",
        }
    }

    /// The indicators that it looks at.
    pub(crate) fn indicators(self) -> &'static [Indicator] {
        use Indicator::{HeartRate, Hrv, OvernightHrv, Recovery, Stress};
        match self {
            Self::HrvDropMs | Self::HrvDropPercentage | Self::RecurringStressHour => &[Hrv],
            Self::HeartRateElevated | Self::HeartRateExtreme => &[HeartRate],
            Self::StressCritical => &[Stress],
            Self::RecoveryLow | Self::LowRecoveryWeekday => &[Recovery],
            Self::OvernightHrvLow => &[OvernightHrv],
            Self::Depletion => &[Hrv, HeartRate, Stress],
            Self::HighHrvHighHr | Self::LowHrvLowHr => &[Hrv, HeartRate],
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl RuleSet {
    const REFLEX: Self = Self::of(&[
        Rule::HrvDropMs,
        Rule::HrvDropPercentage,
        Rule::HeartRateElevated,
        Rule::StressCritical,
        Rule::HeartRateExtreme,
    ]);
    const GUARDIAN: Self = Self::of(&[Rule::RecoveryLow, Rule::OvernightHrvLow, Rule::Depletion]);
    const PATTERN: Self = Self::of(&[Rule::RecurringStressHour, Rule::LowRecoveryWeekday]);
    const HYPOTHESIS: Self = Self::of(&[Rule::HighHrvHighHr, Rule::LowHrvLowHr]);

    const fn of(rules: &[Rule]) -> Self {
        let mut set = 0;
        let mut rest = rules;
        while let [rule, tail @ ..] = rest {
            set |= rule.bit();
            rest = tail;
        }
        Self(set)
    }

    /// The rules that speak for `mode`.
    pub(crate) const fn of_mode(mode: Mode) -> Self {
        match mode {
            Mode::Reflex => Self::REFLEX,
            Mode::Guardian => Self::GUARDIAN,
            Mode::Pattern => Self::PATTERN,
            Mode::Hypothesis => Self::HYPOTHESIS,
        }
    }

    #[inline]
    pub(crate) fn insert(&mut self, rule: Rule) {
        self.0 |= rule.bit();
    }

    /// The rules in both sets.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether no rule is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `rule` is in the set.
    pub fn contains(self, rule: Rule) -> bool {
        self.0 & rule.bit() != 0
    }

    /// The rules in the table's order.
    pub fn iter(self) -> impl Iterator<Item = Rule> {
        Rule::ALL.into_iter().filter(move |&rule| self.contains(rule))
    }
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for RuleSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for rule in self.iter() {
            list.serialize_element(rule.as_str())?;
        }
        list.end()
    }
}
