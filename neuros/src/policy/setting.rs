//! The kinds of value that a policy holds: how each is read, bounded and shown.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::node::{Content, Node};
use crate::time::Micros;

/// The most event types that a list may name.
const EVENT_TYPES_MAX: usize = 64;

/// A kind of policy value.
pub(super) trait Setting: Sized {
    /// What bounds it.
    type Limits;

    /// Reads the value; as an error, what is wrong with it and what would be right.
    fn read(node: &Node, limits: &Self::Limits) -> Result<Self, String>;

    /// The value as YAML that reads back as the same value.
    fn show(&self) -> String;
}

/// A set of event types, in alphabetical order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTypes(Vec<String>);

impl EventTypes {
    pub(super) fn of(names: &[&str]) -> Self {
        Self::sorted(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn sorted(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        Self(names)
    }

    /// Whether `event_type` is one of them.
    #[inline]
    pub fn contains(&self, event_type: &str) -> bool {
        self.0.iter().any(|name| name == event_type)
    }
}

impl Setting for f64 {
    type Limits = RangeInclusive<Self>;

    fn read(node: &Node, limits: &Self::Limits) -> Result<Self, String> {
        let value = match node.value {
            Content::Number(value) => Some(value),
            #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 it is out of every range")]
            Content::Whole(value) => Some(value as Self),
            Content::Null
            | Content::Bool(_)
            | Content::Text(_)
            | Content::List(_)
            | Content::Mapping(_) => None,
        };
        // Minus zero is zero, and makes no other policy.
        within(value.map(|value| value + 0.0), limits, "a number", node)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for u32 {
    type Limits = RangeInclusive<Self>;

    fn read(node: &Node, limits: &Self::Limits) -> Result<Self, String> {
        let value = match node.value {
            Content::Whole(value) => {
                Some(Self::try_from(value.clamp(0, Self::MAX.into())).unwrap_or(0))
                    .filter(|&read| i128::from(read) == value)
            }
            Content::Null
            | Content::Bool(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::List(_)
            | Content::Mapping(_) => None,
        };
        within(value, limits, "a whole number", node)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// The units of durations, the largest first.
const UNITS: [(&str, i64); 5] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
];

impl Setting for Micros {
    type Limits = RangeInclusive<Self>;

    fn read(node: &Node, limits: &Self::Limits) -> Result<Self, String> {
        let value = match &node.value {
            Content::Text(text) => duration(text),
            Content::Null
            | Content::Bool(_)
            | Content::Whole(_)
            | Content::Number(_)
            | Content::List(_)
            | Content::Mapping(_) => None,
        };
        let limits = Shown(*limits.start())..=Shown(*limits.end());
        let wanted = "a duration with its unit (d, h, m, s or ms)";
        within(value.map(Shown), &limits, wanted, node).map(|shown| shown.0)
    }

    fn show(&self) -> String {
        Shown(*self).to_string()
    }
}

/// Whole numbers with units, the largest first and each at most once: `36h`, `1m30s`.
fn duration(text: &str) -> Option<Micros> {
    let mut rest = text;
    let mut units = UNITS.as_slice();
    let mut total = 0_i64;
    loop {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit_end =
            tail.find(|character: char| !character.is_ascii_lowercase()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let place = units.iter().position(|(name, _)| *name == unit)?;
        let (_, micros) = units.get(place)?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(*micros)?)?;
        if tail.is_empty() {
            return Some(Micros(total));
        }
        units = units.get(place + 1..)?;
        rest = tail;
    }
}

/// A duration that prints as it is read.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Shown(Micros);

impl Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = self.0.0;
        let fits = UNITS.iter().find(|(_, unit)| micros != 0 && micros % unit == 0);
        match fits {
            Some((name, unit)) => write!(f, "{}{name}", micros / unit),
            None => f.write_str("0s"),
        }
    }
}

impl Setting for EventTypes {
    type Limits = ();

    fn read(node: &Node, (): &()) -> Result<Self, String> {
        let wanted = || {
            format!(
                "is {}; wanted is a list of at most {EVENT_TYPES_MAX} event types, each a text",
                node.value.describe()
            )
        };
        let Content::List(list) = &node.value else {
            return Err(wanted());
        };
        if list.len() > EVENT_TYPES_MAX {
            return Err(wanted());
        }
        let mut names = Vec::new();
        for element in list {
            match &element.value {
                Content::Text(name) if names.contains(name) => {
                    return Err(format!("names `{name}` twice"));
                }
                Content::Text(name) if is_event_type(name) => names.push(name.clone()),
                other => {
                    return Err(format!(
                        "holds {}; wanted are event types, each a text of 1 to 255 bytes without \
                         control characters",
                        other.describe()
                    ));
                }
            }
        }
        Ok(Self::sorted(names))
    }

    fn show(&self) -> String {
        // Between single quotes YAML replaces nothing but a doubled quote.
        let quoted = self.0.iter().map(|name| format!("'{}'", name.replace('\'', "''")));
        format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
    }
}

/// Whether a record can have this event type.
fn is_event_type(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn within<T: PartialOrd + Display>(
    value: Option<T>,
    limits: &RangeInclusive<T>,
    wanted: &str,
    node: &Node,
) -> Result<T, String> {
    value.filter(|value| limits.contains(value)).ok_or_else(|| {
        let (low, high) = (limits.start(), limits.end());
        format!("is {}; wanted is {wanted} from {low} to {high}", node.value.describe())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units_in_falling_order() {
        assert_eq!(duration("15m"), Some(Micros::from_minutes(15)));
        assert_eq!(duration("1h30m"), Some(Micros::from_minutes(90)));
        assert_eq!(duration("250ms"), Some(Micros(250_000)));
        assert_eq!(duration("0s"), Some(Micros(0)));
        for text in [
            "",
            "15",
            "m",
            "15 m",
            "15min",
            "1m1h",
            "1m1m",
            "-1s",
            "1.5h",
            "1h30",
            "99999999999999999999s",
            "9999999999999d",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_show_in_the_largest_whole_unit() {
        for text in ["36h", "90s", "15m", "250ms", "0s", "2d"] {
            assert_eq!(duration(text).map(|micros| micros.show()).as_deref(), Some(text));
        }
    }
}
