//! How rules of alerts are written in a policy: read with all that is wrong with one, and shown as they are read.

use super::node::{Content, Node};
use super::setting::Setting;
use crate::alert::{Bound, Grade, Measure, Rule, Rules, Severity, When};
use crate::mode::Mode;
use crate::rule::Rule as EngineRule;
use crate::state::Indicator;
use crate::time::Micros;

/// The most rules that a policy may have.
const RULES_MAX: usize = 32;
/// The most lines of a severity table.
const GRADES_MAX: usize = 16;

const MINUTE: Micros = Micros::from_minutes(1);
const YEAR: Micros = Micros::from_minutes(366 * 24 * 60);
const ZERO: Micros = Micros(0);
/// Values are anything that a signal can have, and more.
const VALUE_MAX: f64 = 10_000.0;

impl Setting for Severity {
    type Limits = ();

    fn read(node: &Node, (): &()) -> Result<Self, String> {
        named(node, &Self::ALL, Self::as_str)
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Setting for Rules {
    type Limits = ();

    fn read(node: &Node, (): &()) -> Result<Self, String> {
        let Content::List(list) = &node.value else {
            return Err(format!("is {}; wanted is a list of rules", node.value.describe()));
        };
        if list.len() > RULES_MAX {
            return Err(format!("has {} rules; at most {RULES_MAX} are possible", list.len()));
        }
        let mut rules: Vec<Rule> = Vec::new();
        let mut problems = Vec::new();
        for (place, node) in list.iter().enumerate() {
            match read_rule(node) {
                Ok(rule) if rules.iter().any(|other| other.id == rule.id) => {
                    problems.push(format!("has the rule `{}` twice", rule.id));
                }
                Ok(rule) => rules.push(rule),
                Err(found) => {
                    let found = found.into_iter();
                    problems.extend(found.map(|problem| format!("rule {}: {problem}", place + 1)));
                }
            }
        }
        if problems.is_empty() { Ok(Self::new(rules)) } else { Err(problems.join("; ")) }
    }

    fn show(&self) -> String {
        let rules: Vec<String> = self.iter().map(show_rule).collect();
        format!("[{}]", rules.join(", "))
    }
}

/// The keys of a mapping, each taken once, and what is wrong with them.
struct Keys<'n> {
    entries: Vec<(&'n str, &'n Node)>,
    problems: Vec<String>,
}

impl<'n> Keys<'n> {
    fn of(node: &'n Node) -> Result<Self, Vec<String>> {
        let Content::Mapping(entries) = &node.value else {
            return Err(vec![format!("is {}; wanted are keys", node.value.describe())]);
        };
        let mut keys = Self { entries: Vec::new(), problems: Vec::new() };
        for (key, value) in entries {
            if keys.entries.iter().any(|(known, _)| *known == key.value) {
                keys.problems.push(format!("`{}` stands there twice", key.value));
            } else {
                keys.entries.push((&key.value, value));
            }
        }
        Ok(keys)
    }

    fn node(&mut self, key: &str) -> Option<&'n Node> {
        let place = self.entries.iter().position(|(known, _)| *known == key)?;
        Some(self.entries.remove(place).1)
    }

    fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(known, _)| *known == key)
    }

    /// The value of a key, or what is said instead of it.
    fn read<T>(
        &mut self,
        key: &str,
        otherwise: Option<T>,
        read: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        let Some(node) = self.node(key) else {
            if otherwise.is_none() {
                self.problems.push(format!("`{key}` is missing"));
            }
            return otherwise;
        };
        match read(node) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.problems.push(format!("`{key}` {problem}"));
                None
            }
        }
    }

    fn length(&mut self, key: &str, otherwise: Option<Micros>, least: Micros) -> Option<Micros> {
        self.read(key, otherwise, |node| Micros::read(node, &(least..=YEAR)))
    }

    fn value(&mut self, key: &str) -> Option<f64> {
        self.read(key, None, read_value)
    }

    /// The bound that is given, of the three that there are.
    fn bound(&mut self) -> Option<Bound> {
        const NAMES: [&str; 3] = ["at_least", "above", "below"];
        let given: Vec<&str> = NAMES.into_iter().filter(|name| self.has(name)).collect();
        let [name] = given.as_slice() else {
            self.problems.push("wanted is one of `at_least`, `above` and `below`".to_owned());
            return None;
        };
        let value = self.value(name)?;
        Some(match *name {
            "at_least" => Bound::AtLeast(value),
            "above" => Bound::Above(value),
            _ => Bound::Below(value),
        })
    }

    /// Nothing must be left.
    fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<String>> {
        for (key, _) in &self.entries {
            self.problems.push(format!("`{key}` is no key of it"));
        }
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(self.problems),
        }
    }
}

fn read_value(node: &Node) -> Result<f64, String> {
    f64::read(node, &(-VALUE_MAX..=VALUE_MAX))
}

fn read_rule(node: &Node) -> Result<Rule, Vec<String>> {
    let mut keys = Keys::of(node)?;
    let id = keys.read("id", None, read_id);
    let title = keys.read("title", None, read_title);
    let when = read_when(&mut keys);
    let severity = keys.read("severity", None, read_grades);
    let fire_after = keys.length("fire_after", Some(ZERO), ZERO);
    let clear_after = keys.length("clear_after", Some(Micros::from_minutes(10)), ZERO);
    let expire_after = keys.length("expire_after", Some(ZERO), ZERO);
    let remind_after = keys.length("remind_after", Some(ZERO), ZERO);
    let rule = || {
        Some(Rule {
            id: id?.into_boxed_str(),
            title: title?,
            when: when?,
            severity: severity?,
            fire_after: fire_after?,
            clear_after: clear_after?,
            expire_after: expire_after?,
            remind_after: remind_after?,
        })
    };
    let rule = rule();
    keys.finish(rule)
}

fn read_when(keys: &mut Keys<'_>) -> Option<When> {
    const KINDS: [&str; 3] = ["mode", "reading", "silence"];
    let given: Vec<&str> = KINDS.into_iter().filter(|kind| keys.has(kind)).collect();
    let [kind] = given.as_slice() else {
        keys.problems.push("wanted is one of `mode`, `reading` and `silence`".to_owned());
        return None;
    };
    match *kind {
        "mode" => {
            let mode = keys.read("mode", None, |node| named(node, &MODES, Mode::as_str));
            let engine = |node: &Node| named(node, &EngineRule::ALL, EngineRule::as_str).map(Some);
            let rule = keys.read("engine_rule", Some(None), engine);
            Some(When::Mode { mode: mode?, rule: rule? })
        }
        "reading" => {
            let indicator = |node: &Node| named(node, &Indicator::ALL, Indicator::as_str);
            let indicator = keys.read("reading", None, indicator);
            let bound = keys.bound();
            let until = keys.read("until", bound.map(Bound::limit), read_value);
            let (bound, until) = (bound?, until?);
            let is_apart = match bound {
                Bound::AtLeast(limit) | Bound::Above(limit) => until <= limit,
                Bound::Below(limit) => until >= limit,
            };
            if !is_apart {
                keys.problems.push(format!("`until` is beyond `{}`", bound.as_str()));
            }
            Some(When::Reading { indicator: indicator?, bound, until })
        }
        _ => {
            let after = keys.length("silence", None, MINUTE);
            let days = |node: &Node| u32::read(node, &(1..=31));
            let of_days = keys.read("of_days", Some(7), days);
            let days = keys.read("days", Some(7), days);
            if days > of_days {
                keys.problems.push("`days` is more than `of_days`".to_owned());
            }
            Some(When::Silence { after: after?, days: days?, of_days: of_days? })
        }
    }
}

const MODES: [Mode; 4] = [Mode::Reflex, Mode::Guardian, Mode::Pattern, Mode::Hypothesis];

/// A severity, or a table of them.
fn read_grades(node: &Node) -> Result<Vec<Grade>, String> {
    let Content::List(lines) = &node.value else {
        return Ok(vec![Grade { severity: Severity::read(node, &())?, when: None }]);
    };
    if lines.len() > GRADES_MAX {
        return Err(format!("has {} lines; at most {GRADES_MAX} are possible", lines.len()));
    }
    let mut grades = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let grade = read_grade(line);
        let problem = |found: Vec<String>| format!("line {}: {}", place + 1, found.join(", "));
        grades.push(grade.map_err(problem)?);
    }
    let unconditional = grades.iter().position(|grade| grade.when.is_none());
    if unconditional.is_none_or(|place| place + 1 != grades.len()) {
        return Err("wanted are lines of which the last, and no other, has no condition".to_owned());
    }
    Ok(grades)
}

fn read_grade(node: &Node) -> Result<Grade, Vec<String>> {
    let mut keys = Keys::of(node)?;
    let severity = keys.read("is", None, |node| Severity::read(node, &()));
    let measure = |node: &Node| named(node, &Measure::ALL, Measure::as_str);
    let when = match keys.has("of") {
        true => {
            let measure = keys.read("of", None, measure);
            let bound = keys.bound();
            measure.zip(bound).map(Some)
        }
        false => Some(None),
    };
    let grade = severity.zip(when).map(|(severity, when)| Grade { severity, when });
    keys.finish(grade)
}

fn read_id(node: &Node) -> Result<String, String> {
    let is_id = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        begins && text.len() <= 64 && text.bytes().all(plain)
    };
    match &node.value {
        Content::Text(text) if is_id(text) => Ok(text.clone()),
        other => Err(format!(
            "is {}; wanted are at most 64 lower-case letters, digits and underscores, a letter first",
            other.describe()
        )),
    }
}

fn read_title(node: &Node) -> Result<String, String> {
    match &node.value {
        Content::Text(text)
            if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) =>
        {
            Ok(text.clone())
        }
        other => Err(format!("is {}; wanted is a text of 1 to 255 bytes", other.describe())),
    }
}

/// One of `all`, by its name.
fn named<T: Copy>(node: &Node, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let found = match &node.value {
        Content::Text(text) => all.iter().copied().find(|one| name(*one) == text),
        _ => None,
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        format!("is {}; wanted is one of {}", node.value.describe(), names.join(", "))
    })
}

fn show_rule(rule: &Rule) -> String {
    let when = match &rule.when {
        When::Mode { mode, rule: None } => format!("mode: {}", mode.as_str()),
        When::Mode { mode, rule: Some(rule) } => {
            format!("mode: {}, engine_rule: {}", mode.as_str(), rule.as_str())
        }
        When::Reading { indicator, bound, until } => {
            format!("reading: {}, {}, until: {until}", indicator.as_str(), show_bound(*bound))
        }
        When::Silence { after, days, of_days } => {
            format!("silence: {}, days: {days}, of_days: {of_days}", after.show())
        }
    };
    let grades: Vec<String> = rule.severity.iter().map(show_grade).collect();
    format!(
        "{{id: {}, title: '{}', {when}, severity: [{}], fire_after: {}, clear_after: {}, \
         expire_after: {}, remind_after: {}}}",
        rule.id,
        rule.title.replace('\'', "''"),
        grades.join(", "),
        rule.fire_after.show(),
        rule.clear_after.show(),
        rule.expire_after.show(),
        rule.remind_after.show()
    )
}

fn show_bound(bound: Bound) -> String {
    format!("{}: {}", bound.as_str(), bound.limit())
}

fn show_grade(grade: &Grade) -> String {
    let is = grade.severity.as_str();
    match grade.when {
        None => format!("{{is: {is}}}"),
        Some((measure, bound)) => {
            format!("{{is: {is}, of: {}, {}}}", measure.as_str(), show_bound(bound))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Loaded, Policy};

    fn read(rules: &str) -> Result<Policy, String> {
        let loaded = Loaded::from_yaml(&format!("alerts: {{rules: {rules}}}"));
        loaded.map(|loaded| loaded.policy).map_err(|faults| faults.to_string())
    }

    #[test]
    fn rules_that_are_shown_read_back_as_themselves() {
        let own = "[{id: fast, title: \"it's fast\", reading: heart_rate, above: 150, until: 120, \
                    severity: critical, fire_after: 2m}, {id: quiet, title: Q, silence: 90m, days: 1, \
                    severity: low}, {id: odd, title: O, mode: hypothesis, engine_rule: high_hrv_high_hr, \
                    severity: [{is: high, of: hrv, at_least: 0.5}, {is: low}], remind_after: 1d}]";
        for policy in [Policy::default(), read(own).expect("valid")] {
            let shown = policy.alerts.rules.show();
            let back = read(&shown).expect("valid").alerts.rules;
            assert_eq!(back, policy.alerts.rules, "{shown}");
        }
    }

    #[test]
    fn rules_make_another_policy() {
        assert_ne!(read("[]").expect("valid").version, Policy::default().version);
    }

    #[test]
    fn all_that_is_wrong_with_rules_is_named() {
        let problems = read(
            "[{id: A, title: '', mode: calm, severity: bad, days: 3, after: 1},
              {id: x, title: X, reading: hrv, above: 30, until: 40, severity: [{is: low, of: hrv, below: 1}]},
              {id: y, title: Y, mode: reflex, silence: 1h, severity: low, fire_after: 5},
              7]",
        )
        .expect_err("much is wrong");
        for problem in [
            "rule 1: `id` is `A`",
            "rule 1: `title` is ``",
            "rule 1: `mode` is `calm`; wanted is one of reflex, guardian, pattern, hypothesis",
            "rule 1: `severity` is `bad`; wanted is one of low, medium, high, critical",
            "rule 1: `days` is no key of it",
            "rule 2: `until` is beyond `above`",
            "rule 2: `severity` wanted are lines of which the last, and no other, has no condition",
            "rule 3: wanted is one of `mode`, `reading` and `silence`",
            "rule 3: `fire_after` is `5`",
            "rule 4: is `7`; wanted are keys",
        ] {
            assert!(problems.contains(problem), "{problem} is not in {problems}");
        }
        let twice = "[{id: a, title: A, mode: reflex, severity: low}, \
                      {id: a, title: A, mode: guardian, severity: low}]";
        assert!(read(twice).expect_err("twice").contains("the rule `a` twice"));
    }
}
