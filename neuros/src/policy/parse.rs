//! From text to a policy, or to all that is wrong with the text at once.

use std::collections::BTreeMap;
use std::fmt;

use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use super::node::{Content, Node, line};
use super::{KEYS, Policy};

/// A policy together with where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// Where `version` came from.
    pub version_source: Source,
    /// Where each value came from, in the order of [`KEYS`].
    pub sources: Vec<Source>,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// The policy text, on this line, counted from 1.
    Line(u64),
}

/// One thing that is wrong with a policy text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1; `None` when a default is part of a contradiction.
    pub line: Option<u64>,
    /// The key, or nothing when the text is no YAML mapping.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// All that is wrong with a policy text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}` ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl Loaded {
    /// The built-in policy.
    pub fn built_in() -> Self {
        Self {
            policy: Policy::default(),
            version_source: Source::Default,
            sources: vec![Source::Default; KEYS.len()],
        }
    }

    /// Reads a policy: YAML in which every key not named keeps its default.
    ///
    /// # Errors
    ///
    /// Every fault at once: unknown keys, values of the wrong kind, unit or range, and values
    /// that contradict each other. Text that is no YAML has one fault.
    pub fn from_yaml(text: &str) -> Result<Self, Faults> {
        let root = parse_yaml(text)?;
        let mut reading = Reading {
            loaded: Self { policy: Policy::unnamed(), ..Self::built_in() },
            met: BTreeMap::new(),
            faults: Vec::new(),
        };
        match &root.value {
            Content::Null => {}
            Content::Mapping(entries) => {
                for (key, value) in entries {
                    reading.read_top(&key.value, line(key), value);
                }
            }
            other => {
                let problem =
                    format!("the policy is {}; wanted are sections with keys", other.describe());
                reading.fault(Some(line(&root)), "", problem);
            }
        }
        reading.finish()
    }

    /// The line on which `path` is set, if it is.
    fn line_of(&self, path: &str) -> Option<u64> {
        let index = KEYS.iter().position(|key| key.path == path)?;
        match self.sources.get(index)? {
            Source::Default => None,
            Source::Line(line) => Some(*line),
        }
    }
}

fn parse_yaml(text: &str) -> Result<Node, Faults> {
    // What the parser would refuse at once is let through, to be named beside the other faults.
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let message = error.without_snippet().to_string();
        Faults(vec![Fault {
            line: error.location().map(|location| location.line()),
            key: String::new(),
            problem: format!("cannot be read as YAML: {message}"),
        }])
    })
}

/// A policy text on the way.
struct Reading {
    loaded: Loaded,
    /// Where each key and section was first met.
    met: BTreeMap<String, u64>,
    faults: Vec<Fault>,
}

impl Reading {
    fn read_top(&mut self, name: &str, line_of_key: u64, node: &Node) {
        if self.is_repeated(name, line_of_key) {
            return;
        }
        if name == "version" {
            return self.read_version(node);
        }
        let is_section = KEYS.iter().any(|key| section_of(key.path) == Some(name));
        match &node.value {
            Content::Mapping(entries) if is_section => {
                for (key, value) in entries {
                    let path = format!("{name}.{}", key.value);
                    if !self.is_repeated(&path, line(key)) {
                        self.read_key(&path, line(key), value);
                    }
                }
            }
            // An empty section keeps its defaults.
            Content::Null if is_section => {}
            other if is_section => {
                let problem = format!("is {}; wanted are keys below it", other.describe());
                self.fault(Some(line_of_key), name, problem);
            }
            _ if name.contains('.') => {
                let problem = "cannot be written so; write the section, and the key below it";
                self.fault(Some(line_of_key), name, problem.to_owned());
            }
            _ => self.read_key(name, line_of_key, node),
        }
    }

    fn read_key(&mut self, path: &str, line_of_key: u64, node: &Node) {
        let Some(index) = KEYS.iter().position(|key| key.path == path) else {
            return self.fault(Some(line_of_key), path, unknown(path));
        };
        let Some(key) = KEYS.get(index) else { return };
        match (key.read)(&mut self.loaded.policy, node) {
            Ok(()) => {
                if let Some(source) = self.loaded.sources.get_mut(index) {
                    *source = Source::Line(line_of_key);
                }
            }
            Err(problem) => self.fault(Some(line_of_key), path, problem),
        }
    }

    /// Whether `path` has been met before, which is a fault.
    fn is_repeated(&mut self, path: &str, line: u64) -> bool {
        let Some(first) = self.met.get(path).copied() else {
            self.met.insert(path.to_owned(), line);
            return false;
        };
        self.fault(Some(line), path, format!("stands on line {first} already"));
        true
    }

    fn read_version(&mut self, node: &Node) {
        self.loaded.version_source = Source::Line(line(node));
        match &node.value {
            Content::Text(version) if is_version(version) => {
                self.loaded.policy.version.clone_from(version);
            }
            Content::Whole(version) if (0..=i128::from(u64::MAX)).contains(version) => {
                self.loaded.policy.version = version.to_string();
            }
            other => {
                let problem = format!(
                    "is {}; wanted is a text of 1 to 64 printable ASCII characters",
                    other.describe()
                );
                self.fault(Some(line(node)), "version", problem);
            }
        }
    }

    fn fault(&mut self, line: Option<u64>, key: &str, problem: String) {
        self.faults.push(Fault { line, key: key.to_owned(), problem });
    }

    fn finish(mut self) -> Result<Loaded, Faults> {
        for (key, problem) in self.loaded.policy.contradictions() {
            self.fault(self.loaded.line_of(key), key, problem);
        }
        if !self.faults.is_empty() {
            self.faults.sort_by_key(|fault| fault.line);
            return Err(Faults(self.faults));
        }
        let policy = &mut self.loaded.policy;
        if policy.version.is_empty() {
            policy.version = policy.content_version();
        }
        Ok(self.loaded)
    }
}

fn section_of(path: &str) -> Option<&str> {
    path.split_once('.').map(|(section, _)| section)
}

fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What to say of a key that does not exist: the nearest key or section that does.
fn unknown(path: &str) -> String {
    let sections = KEYS.iter().filter_map(|key| section_of(key.path));
    let known = KEYS.iter().map(|key| key.path).chain(sections);
    let distance = |known| strsim::damerau_levenshtein(&path.to_lowercase(), known);
    match known.map(|known| (distance(known), known)).min() {
        Some((distance, near)) if distance <= 3 => {
            format!("is no key of the policy; did you mean `{near}`?")
        }
        _ => "is no key of the policy".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let Err(Faults(faults)) = Loaded::from_yaml(text) else { return Vec::new() };
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_policy_written_out_reads_back_as_itself() {
        for text in
            ["", "version: mine\nreflex:\n  drop_ms: 31\novernight:\n  event_types: [a, b]\n"]
        {
            let policy = Loaded::from_yaml(text).expect("valid").policy;
            let back = Loaded::from_yaml(&policy.to_yaml()).expect("valid").policy;
            assert!(back == policy, "{}", policy.to_yaml());
        }
    }

    #[test]
    fn an_empty_text_is_the_built_in_policy() {
        for text in ["", "# nothing", "{}", "reflex:"] {
            let loaded = Loaded::from_yaml(text).expect("valid");
            assert_eq!(loaded.policy, Policy::default(), "{text}");
            assert_eq!(loaded.sources, Loaded::built_in().sources);
        }
    }

    #[test]
    fn what_is_given_replaces_the_default_and_knows_its_line() {
        let loaded = Loaded::from_yaml("reflex:\n  drop_ms: 30\nhistory: 7\n").expect("valid");
        assert_eq!(loaded.policy.reflex.drop_ms.to_bits(), 30.0_f64.to_bits());
        assert_eq!(loaded.policy.history, 7);
        assert_eq!(loaded.line_of("reflex.drop_ms"), Some(2));
        assert_eq!(loaded.line_of("history"), Some(3));
        assert_eq!(loaded.line_of("reflex.drop_pct"), None);
    }

    #[test]
    fn all_faults_are_named_at_once_each_with_key_and_line() {
        let text = "reflex:
  drop_ms: 25ms
  heart_rat: 95
return: {after_calm: 10}
quality: {min_confidence: .nan}
history: -1
baseline: 7
overnight: {event_types: sleep}
activity: {event_types: [a, a]}
pattern: {hour_min: 40}
mode_ttl: {reflex: 400d}
borderline: {min: 1.5}
history: 3
version: ''
";
        let expected = [
            "line 2: `reflex.drop_ms` is `25ms`; wanted is a number from 0 to 300",
            "line 3: `reflex.heart_rat` is no key of the policy; did you mean `reflex.heart_rate`?",
            "line 4: `return.after_calm` is `10`; wanted is a duration with its unit (d, h, m, s or ms) from 0s to 366d",
            "line 5: `quality.min_confidence` is `.nan`; wanted is a number from 0 to 1",
            "line 6: `history` is `-1`; wanted is a whole number from 0 to 200",
            "line 7: `baseline` is `7`; wanted are keys below it",
            "line 8: `overnight.event_types` is `sleep`; wanted is a list of at most 64 event types, each a text",
            "line 9: `activity.event_types` names `a` twice",
            "line 10: `pattern.hour_min` is more than `pattern.hour_days`: the rule could never fire",
            "line 11: `mode_ttl.reflex` is `400d`; wanted is a duration with its unit (d, h, m, s or ms) from 0s to 366d",
            "line 12: `borderline.min` is `1.5`; wanted is a whole number from 1 to 3",
            "line 13: `history` stands on line 6 already",
            "line 14: `version` is ``; wanted is a text of 1 to 64 printable ASCII characters",
        ];
        assert_eq!(faults(text), expected);
    }

    #[test]
    fn values_of_another_kind_and_misspelt_sections_are_told_apart() {
        let text = "history: 5.0
reflex: {drop_ms: '25'}
Reflex: {}
clok: {}
guardian.hrv: 25
activity: {event_types: [\"a\\u0001\"]}
";
        let expected = [
            "line 1: `history` is `5.0`; wanted is a whole number from 0 to 200",
            "line 2: `reflex.drop_ms` is the text `25`; wanted is a number from 0 to 300",
            "line 3: `Reflex` is no key of the policy; did you mean `reflex`?",
            "line 4: `clok` is no key of the policy; did you mean `clock`?",
            "line 5: `guardian.hrv` cannot be written so; write the section, and the key below it",
        ];
        let found = faults(text);
        assert_eq!(found[..5], expected);
        assert!(found[5].contains("without control characters"), "{found:?}");
    }

    #[test]
    fn a_contradiction_with_a_default_names_the_key_that_was_set() {
        let found = faults("baseline: {window_days: 3}");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("`baseline.min_days` is more than"), "{found:?}");
    }

    #[test]
    fn what_is_no_yaml_mapping_is_one_fault() {
        for text in ["[1]", "text", "a: [", "? [1]\n: 2\n", "a: 1\n---\nb: 2\n", "\u{0}"] {
            assert_eq!(faults(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn only_values_make_the_version() {
        let version = |text| Loaded::from_yaml(text).expect("valid").policy.version;
        assert_eq!(version("reflex: {drop_ms: 25}  # as ever"), Policy::default().version);
        assert_eq!(
            version("overnight: {event_types: [b, a]}"),
            version("overnight: {event_types: [a, b]}")
        );
        assert_eq!(version("reflex: {min: -0.0}"), version("reflex: {min: 0}"));
        assert_ne!(version("reflex: {drop_ms: 26}"), Policy::default().version);
        assert_eq!(version("version: 2026-11\nreflex: {drop_ms: 26}"), "2026-11");
    }

    #[test]
    fn a_policy_that_is_shown_reads_back_as_itself() {
        let policy = Loaded::from_yaml(
            "mode_ttl: {reflex: 90s}\nactivity: {event_types: [\"it's a\\u200bb: #\"]}",
        )
        .expect("valid")
        .policy;
        let shown = KEYS.iter().map(|key| match key.path.split_once('.') {
            Some((section, name)) => format!("{section}: {{{name}: {}}}\n", key.show(&policy)),
            None => format!("{}: {}\n", key.path, key.show(&policy)),
        });
        for (key, text) in KEYS.iter().zip(shown) {
            let reread = Loaded::from_yaml(&text).expect("valid").policy;
            assert_eq!(key.show(&reread), key.show(&policy), "{}", key.path);
        }
    }
}
