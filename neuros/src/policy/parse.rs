//! From text to a policy, or to all that is wrong with the text at once.

use std::fmt;

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
    serde_saphyr::from_str(text).map_err(|error| {
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
    faults: Vec<Fault>,
}

impl Reading {
    fn read_top(&mut self, name: &str, line_of_key: u64, node: &Node) {
        if name == "version" {
            return self.read_version(node);
        }
        let is_section = KEYS.iter().any(|key| section_of(key.path) == Some(name));
        match &node.value {
            Content::Mapping(entries) if is_section => {
                for (key, value) in entries {
                    self.read_key(&format!("{name}.{}", key.value), line(key), value);
                }
            }
            // An empty section keeps its defaults.
            Content::Null if is_section => {}
            other if is_section => {
                let problem = format!("is {}; wanted are keys below it", other.describe());
                self.fault(Some(line_of_key), name, problem);
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

/// What to say of a key that does not exist: the nearest one that does.
fn unknown(path: &str) -> String {
    let near = KEYS.iter().map(|key| (strsim::damerau_levenshtein(path, key.path), key.path)).min();
    match near {
        Some((distance, near)) if distance <= 3 => {
            format!("is no key of the policy; did you mean `{near}`?")
        }
        _ => "is no key of the policy".to_owned(),
    }
}
