//! The policy: every number of the engine that operators may choose, with its default and limits.
//! A policy is a value; who reads files and when is not its business.

mod alerts;
mod node;
mod parse;
mod setting;

use sha2::{Digest as _, Sha256};

use crate::alert::{Rules, Severity};
use crate::mode::Mode;
use crate::time::Micros;
use node::Node;
use setting::Setting;

pub use parse::{Fault, Faults, Loaded, Source};
pub use setting::EventTypes;

/// One key of the policy, as text names and shows it.
pub struct Key {
    /// The dotted name: `reflex.drop_ms`.
    pub path: &'static str,
    read: fn(&mut Policy, &Node) -> Result<(), String>,
    show: fn(&Policy) -> String,
}

impl Key {
    /// The key's value in `policy`, as YAML.
    pub fn show(&self, policy: &Policy) -> String {
        (self.show)(policy)
    }
}

impl Policy {
    /// The whole policy as YAML, its version included: read back, it is the same policy, whatever the
    /// defaults are then.
    pub fn to_yaml(&self) -> String {
        let mut text = format!("version: {:?}\n", self.version);
        let mut current_section = "";
        for key in KEYS {
            let (section, name) = key.path.split_once('.').unwrap_or(("", key.path));
            if !section.is_empty() && section != current_section {
                text.push_str(&format!("{section}:\n"));
            }
            current_section = section;
            let indent = if section.is_empty() { "" } else { "  " };
            text.push_str(&format!("{indent}{name}: {}\n", key.show(self)));
        }
        text
    }
}

/// Declares sections and keys once: types with docs, defaults, accepted ranges, and from these the
/// table by which text is read and shown.
macro_rules! policy {
    ($(
        #[doc = $section_doc:literal]
        $section:ident / $section_name:literal: $Section:ident {
            $( #[doc = $key_doc:literal] $key:ident: $Kind:ty = $default:expr, $limits:expr; )*
        }
    )*) => {
        /// Every value of the specification's section 9.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Policy {
            /// Names the policy in every decision: its content's hash, unless given.
            pub version: String,
            $( #[doc = $section_doc] pub $section: $Section, )*
            /// How many of the newest decisions a state keeps.
            pub history: u32,
        }

        $(
            #[doc = $section_doc]
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $( #[doc = $key_doc] pub $key: $Kind, )*
            }
        )*

        impl Policy {
            /// The defaults, not yet named by a version.
            fn unnamed() -> Self {
                Self {
                    version: String::new(),
                    $( $section: $Section { $( $key: $default, )* }, )*
                    history: 50,
                }
            }
        }

        /// Every key but `version`, in the order of the specification.
        pub const KEYS: &[Key] = &[
            $( $( Key {
                path: concat!($section_name, ".", stringify!($key)),
                read: |policy, node| Setting::read(node, &$limits).map(|value| policy.$section.$key = value),
                show: |policy| Setting::show(&policy.$section.$key),
            }, )* )*
            Key {
                path: "history",
                read: |policy, node| Setting::read(node, &(0..=200)).map(|count| policy.history = count),
                show: |policy| Setting::show(&policy.history),
            },
        ];
    };
}

const ZERO: Micros = Micros(0);
const DAY: Micros = Micros::from_minutes(24 * 60);
const YEAR: Micros = Micros::from_minutes(366 * 24 * 60);
/// The least divisor: no span that a confidence is divided by may be zero.
const SPAN_MIN: f64 = 0.001;

policy! {
    /// How far clocks are trusted.
    clock / "clock": Clock {
        /// A record or reading later than its arrival by more than this is rejected.
        max_future: Micros = Micros::from_minutes(5), ZERO..=DAY;
    }
    /// Which readings are good enough.
    quality / "quality": Quality {
        /// A reading less sure than this (0..1) is kept but excluded.
        min_confidence: f64 = 0.5, 0.0..=1.0;
    }
    /// How repeats are recognised.
    dedupe / "dedupe": Dedupe {
        /// How many of a user's newest record identities are remembered.
        remember: u32 = 64, 0..=1024;
    }
    /// Events that sum up hours of rest.
    overnight / "overnight": Overnight {
        /// The event types whose readings are not momentary.
        event_types: EventTypes = EventTypes::of(&["sleep", "daily_sleep", "readiness", "daily_readiness", "recovery"]), ();
    }
    /// How old a reading may be on arrival and still change the mode.
    live_for / "live_for": LiveFor {
        /// Readings in general.
        default: Micros = Micros::from_minutes(15), ZERO..=YEAR;
        /// Readings of overnight events, and recovery scores.
        overnight: Micros = Micros::from_minutes(36 * 60), ZERO..=YEAR;
    }
    /// How long a held reading counts.
    fresh_for / "fresh_for": FreshFor {
        /// Readings in general.
        default: Micros = Micros::from_minutes(15), ZERO..=YEAR;
        /// Recovery scores and overnight HRV.
        overnight: Micros = Micros::from_minutes(36 * 60), ZERO..=YEAR;
    }
    /// What is usual for a person and device.
    baseline / "baseline": Baseline {
        /// UTC days that a baseline spans, the reading's own included.
        window_days: u32 = 7, 1..=31;
        /// Samples from which on a baseline is calibrated (overnight HRV excepted).
        min_samples: u32 = 20, 1..=1_000_000;
        /// Distinct days from which on a baseline is calibrated.
        min_days: u32 = 4, 1..=31;
        /// Readings closer than this to the one added last are not added.
        min_spacing: Micros = Micros::from_seconds(60), ZERO..=DAY;
        /// Devices with a baseline of their own, for each signal.
        max_segments: u32 = 8, 1..=32;
    }
    /// When movement explains heart rate and HRV.
    activity / "activity": Activity {
        /// The event types that announce a workout.
        event_types: EventTypes = EventTypes::of(&["workout", "exercise"]), ();
        /// How long after a workout heart rate and HRV stay gated.
        hold: Micros = Micros::from_minutes(30), ZERO..=DAY;
        /// Steps per minute from which on a person is moving.
        steps_per_minute: f64 = 60.0, 0.0..=400.0;
        /// How long such steps gate heart rate and HRV.
        steps_hold: Micros = Micros::from_minutes(10), ZERO..=DAY;
    }
    /// How long a heart rate must be high to count.
    heart_rate / "heart_rate": HeartRate {
        /// With steps known.
        sustain: Micros = Micros::from_seconds(60), ZERO..=DAY;
        /// Without: a minute above the threshold is usually a staircase.
        sustain_activity_unknown: Micros = Micros::from_minutes(10), ZERO..=DAY;
    }
    /// Acute strain.
    reflex / "reflex": Reflex {
        /// HRV below its baseline by more than this, ms.
        drop_ms: f64 = 25.0, 0.0..=300.0;
        /// HRV below its baseline by more than this, percent.
        drop_pct: f64 = 30.0, 0.0..=100.0;
        /// Heart rate above this, beats/min, sustained.
        heart_rate: f64 = 100.0, 20.0..=250.0;
        /// Stress above this, 0..1.
        stress: f64 = 0.85, 0.0..=1.0;
        /// Heart rate above its baseline by more than this, beats/min, sustained.
        elevation: f64 = 40.0, 0.0..=230.0;
        /// An HRV drop above this many ms adds to the confidence …
        significant_ms: f64 = 20.0, 0.0..=300.0;
        /// … or above this many percent.
        significant_pct: f64 = 30.0, 0.0..=100.0;
        /// The HRV drop, ms, that makes confidence 1.
        full_drop_ms: f64 = 30.0, SPAN_MIN..=300.0;
        /// The heart rate, beats/min, from which confidence grows …
        hr_from: f64 = 90.0, 0.0..=250.0;
        /// … and over how many beats/min it reaches 1.
        hr_span: f64 = 30.0, SPAN_MIN..=250.0;
        /// Stress above this adds to the confidence, 0..1.
        stress_part: f64 = 0.7, 0.0..=1.0;
        /// The least confidence of this mode, 0..1.
        min: f64 = 0.5, 0.0..=1.0;
    }
    /// Depletion that asks for protection.
    guardian / "guardian": Guardian {
        /// Recovery score below this, 0..100.
        recovery: f64 = 40.0, 0.0..=100.0;
        /// Overnight HRV below its baseline by more than this, ms …
        overnight_drop_ms: f64 = 25.0, 0.0..=300.0;
        /// … or by more than this, percent.
        overnight_drop_pct: f64 = 30.0, 0.0..=100.0;
        /// The overnight HRV drop, ms, that makes confidence 1.
        overnight_full_drop_ms: f64 = 30.0, SPAN_MIN..=300.0;
        /// Depletion, first leg: HRV below this, ms …
        hrv: f64 = 30.0, 0.0..=300.0;
        /// … and below its baseline by more than this, percent.
        hrv_drop_pct: f64 = 20.0, 0.0..=100.0;
        /// Depletion, second leg: heart rate above this, beats/min …
        heart_rate: f64 = 80.0, 20.0..=250.0;
        /// … and above its baseline by more than this, beats/min.
        elevation: f64 = 10.0, 0.0..=230.0;
        /// Depletion, third leg: reported stress above this, 0..1.
        stress: f64 = 0.7, 0.0..=1.0;
        /// Confidence of two legs, 0..1.
        base: f64 = 0.5, 0.0..=1.0;
        /// What the third leg adds.
        step: f64 = 0.2, 0.0..=1.0;
        /// The greatest confidence of depletion, 0..1.
        max: f64 = 0.9, 0.0..=1.0;
    }
    /// What comes back at the same hour or weekday.
    pattern / "pattern": Pattern {
        /// HRV below its baseline by more than this marks the hour, ms.
        drop_ms: f64 = 15.0, 0.0..=300.0;
        /// Local days over which marked hours are counted, today included.
        hour_days: u32 = 30, 1..=90;
        /// Days with the same hour marked that make a pattern.
        hour_min: u32 = 5, 1..=90;
        /// A recovery score below this marks the day, 0..100.
        recovery: f64 = 50.0, 0.0..=100.0;
        /// Same local weekdays over which marked days are counted, today included.
        weekdays: u32 = 8, 1..=26;
        /// Marked weekdays that make a pattern.
        weekday_min: u32 = 3, 1..=26;
        /// Confidence of this mode, 0..1.
        confidence: f64 = 0.7, 0.0..=1.0;
    }
    /// Contradictory signs.
    hypothesis / "hypothesis": Hypothesis {
        /// HRV above its baseline times this …
        ratio: f64 = 1.5, 0.0..=100.0;
        /// … while heart rate is above this, beats/min.
        high_hr: f64 = 90.0, 20.0..=250.0;
        /// HRV below this, ms …
        low_hrv: f64 = 20.0, 0.0..=300.0;
        /// … while heart rate is below this, beats/min.
        low_hr: f64 = 50.0, 20.0..=250.0;
        /// Confidence of this mode, 0..1.
        confidence: f64 = 0.6, 0.0..=1.0;
    }
    /// What is normal again, and for how long before the mode returns to pattern.
    return_to_pattern / "return": Return {
        /// How long calm must last.
        after_calm: Micros = Micros::from_minutes(5), ZERO..=YEAR;
        /// HRV (also overnight) below its baseline by at most this, ms …
        drop_ms: f64 = 15.0, 0.0..=300.0;
        /// … and at most this, percent.
        drop_pct: f64 = 20.0, 0.0..=100.0;
        /// Heart rate at most this, beats/min.
        heart_rate: f64 = 90.0, 20.0..=250.0;
        /// Stress at most this, 0..1.
        stress: f64 = 0.6, 0.0..=1.0;
        /// Recovery score at least this, 0..100.
        recovery: f64 = 60.0, 0.0..=100.0;
        /// The share of the known indicators that must be normal, 0..1.
        share: f64 = 0.8, 0.0..=1.0;
        /// Confidence of a return, 0..1.
        confidence: f64 = 0.8, 0.0..=1.0;
    }
    /// When a weaker mode may follow a stronger one.
    step_down / "step_down": StepDown {
        /// Since the current mode was last confirmed.
        after: Micros = Micros::from_minutes(5), ZERO..=YEAR;
    }
    /// How long an unconfirmed mode lasts.
    mode_ttl / "mode_ttl": ModeTtl {
        /// Reflex.
        reflex: Micros = Micros::from_minutes(6 * 60), ZERO..=YEAR;
        /// Hypothesis.
        hypothesis: Micros = Micros::from_minutes(12 * 60), ZERO..=YEAR;
        /// Guardian.
        guardian: Micros = Micros::from_minutes(12 * 60), ZERO..=YEAR;
    }
    /// How the mode is selected from the candidates.
    selection / "selection": Selection {
        /// For so long after a switch other modes are held back …
        cooldown: Micros = Micros::from_minutes(5), ZERO..=YEAR;
        /// … by multiplying their confidence by this, 0..1.
        factor: f64 = 0.7, 0.0..=1.0;
        /// A candidate below this confidence is skipped, 0..1.
        min_confidence: f64 = 0.5, 0.0..=1.0;
    }
    /// When an evaluation is too close to reflex for a pattern to be seen in it.
    borderline / "borderline": Borderline {
        /// HRV below its baseline by more than this, ms.
        drop_ms: f64 = 22.5, 0.0..=300.0;
        /// Heart rate above this, beats/min.
        heart_rate: f64 = 90.0, 20.0..=250.0;
        /// Stress above this, 0..1.
        stress: f64 = 0.765, 0.0..=1.0;
        /// How many of the three make it borderline.
        min: u32 = 2, 1..=3;
    }
    /// Of what somebody should be told, and when not.
    alerts / "alerts": Alerts {
        /// The rules, which replace the built-in ones.
        rules: Rules = Rules::built_in(), ();
        /// From which severity on somebody is told in a person's quiet hours too.
        through_quiet_hours: Severity = Severity::Critical, ();
    }
}

impl Default for Policy {
    fn default() -> Self {
        let mut policy = Self::unnamed();
        policy.version = policy.content_version();
        policy
    }
}

impl Policy {
    /// How long `mode` lasts unconfirmed; pattern lasts for ever.
    pub(crate) fn mode_ttl(&self, mode: Mode) -> Option<Micros> {
        match mode {
            Mode::Reflex => Some(self.mode_ttl.reflex),
            Mode::Guardian => Some(self.mode_ttl.guardian),
            Mode::Hypothesis => Some(self.mode_ttl.hypothesis),
            Mode::Pattern => None,
        }
    }

    /// The first 16 hexadecimal digits of the SHA-256 of all values, so that comments, order and
    /// defaults written out do not make another policy.
    fn content_version(&self) -> String {
        let mut hash = Sha256::new();
        for key in KEYS {
            hash.update(format!("{}={}\n", key.path, key.show(self)));
        }
        let digest = hash.finalize();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Values that are each allowed and together make no sense: the key and what is wrong.
    fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut must = |holds: bool, key, problem: &str| {
            if !holds {
                found.push((key, problem.to_owned()));
            }
        };
        let (baseline, pattern) = (&self.baseline, &self.pattern);
        must(
            baseline.min_days <= baseline.window_days,
            "baseline.min_days",
            "is more than `baseline.window_days`: overnight HRV would never be calibrated",
        );
        must(
            pattern.hour_min <= pattern.hour_days,
            "pattern.hour_min",
            "is more than `pattern.hour_days`: the rule could never fire",
        );
        must(
            pattern.weekday_min <= pattern.weekdays,
            "pattern.weekday_min",
            "is more than `pattern.weekdays`: the rule could never fire",
        );
        must(
            self.guardian.base <= self.guardian.max,
            "guardian.base",
            "is more than `guardian.max`: it would never be reached",
        );
        found
    }
}
