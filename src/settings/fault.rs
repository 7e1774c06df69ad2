//! What can be wrong with settings, and where values come from. A fault never quotes a secret.

use std::fmt;
use std::path::PathBuf;

use super::table::KEYS;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// The settings file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, counted from 1, when it is known.
        line: Option<u64>,
    },
    /// An environment variable.
    Variable(String),
    /// A file that an environment variable names.
    SecretFile {
        /// The variable.
        variable: String,
        /// The file.
        path: PathBuf,
    },
    /// The command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |path: &PathBuf| crate::telemetry::escaped(&path.to_string_lossy());
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", escaped(path)),
            Self::File { path, line: None } => f.write_str(&escaped(path)),
            Self::Variable(name) => f.write_str(name),
            Self::SecretFile { variable, path } => {
                write!(f, "{variable} ({})", escaped(path))
            }
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was said; `None` when a default is part of it.
    pub source: Option<Source>,
    /// The key, or nothing when it is about a file as a whole.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Fault {
    /// Whether it is about one of these sections or keys, the file as a whole, or what was just typed.
    pub fn concerns(&self, places: &[&str]) -> bool {
        self.key.is_empty() || self.source == Some(Source::Flag) || self.is_within(places)
    }

    /// Whether it is about one of these sections or keys.
    pub fn is_within(&self, places: &[&str]) -> bool {
        let is_within = |place: &&str| {
            let rest = self.key.strip_prefix(*place);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        places.iter().any(is_within)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}` ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

/// All that is wrong with the settings: the file's faults by line, then the environment's by name,
/// the command line's in order, and values that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(faults) = self;
        match faults.len() {
            1 => f.write_str("the settings are not valid (1 fault):")?,
            more => write!(f, "the settings are not valid ({more} faults):")?,
        }
        faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// A key's name as a message shows it. What looks like no key may be a misplaced secret.
pub(super) fn name_of(path: &str) -> String {
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if (1..=100).contains(&path.len()) && path.bytes().all(is_key) {
        path.to_owned()
    } else {
        "(a name that is not shown)".to_owned()
    }
}

/// What to say of a key that does not exist: the nearest key or section that does, spelled by `spell`.
pub(super) fn unknown(path: &str, spell: impl Fn(&str) -> String) -> String {
    if path == "development" {
        return "is set by the flag --development only".to_owned();
    }
    let wanted = path.to_lowercase();
    let known = KEYS.iter().flat_map(|key| ancestors(key.path));
    let distance = |known: &str| {
        // A comparison costs the product of the lengths.
        let far = wanted.len().abs_diff(known.len()) > 3;
        if far { usize::MAX } else { strsim::damerau_levenshtein(&wanted, known) }
    };
    match known.map(|known| (distance(known), known)).min() {
        Some((distance, near)) if distance <= 3 => {
            format!("is no setting; did you mean `{}`?", spell(near))
        }
        _ => match same_name(&wanted) {
            Some(near) => format!("is no setting; did you mean `{}`?", spell(near)),
            None => "is no setting; `biometric-bridge config defaults` lists all".to_owned(),
        },
    }
}

/// A key and the sections that it stands in.
fn ancestors(path: &'static str) -> impl Iterator<Item = &'static str> {
    let sections = path.match_indices('.').filter_map(|(end, _)| path.get(..end));
    sections.chain([path])
}

/// The one key of another section with the same last name.
fn same_name(path: &str) -> Option<&'static str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let wanted = last(path);
    let mut found = KEYS.iter().map(|key| key.path).filter(|path| last(path) == wanted);
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str) -> String {
        unknown(path, ToOwned::to_owned)
    }

    #[test]
    fn the_nearest_key_or_section_is_suggested() {
        for (path, near) in [
            ("kafka.groupid", "kafka.group_id"),
            ("kafka.topic.events", "kafka.topics.events"),
            ("Redis", "redis"),
            ("kafka.topcis", "kafka.topics"),
            ("database.compress_after", "store.compress_after"),
        ] {
            assert_eq!(said(path), format!("is no setting; did you mean `{near}`?"), "{path}");
        }
        assert!(!said("something.else.entirely").contains("did you mean"));
    }

    #[test]
    fn a_fault_concerns_its_section_and_one_of_the_whole_file_or_of_a_flag_everybody() {
        let fault = |source: Source, key: &str| Fault {
            source: Some(source),
            key: key.to_owned(),
            problem: String::new(),
        };
        let variable = || Source::Variable("X".to_owned());
        assert!(fault(variable(), "kafka.topics.events").concerns(&["http", "kafka"]));
        assert!(!fault(variable(), "store.url").concerns(&["http", "kafka"]));
        assert!(fault(variable(), "").concerns(&["http"]));
        assert!(fault(Source::Flag, "store.url").concerns(&["http"]));
    }

    #[test]
    fn a_name_that_may_be_a_misplaced_secret_is_not_shown() {
        assert_eq!(name_of("kafka.group_id"), "kafka.group_id");
        for name in ["postgresql://u:hunter2@h/db", "", "a\nb", &"x".repeat(101)] {
            assert_eq!(name_of(name), "(a name that is not shown)");
        }
    }
}
