//! The four layers, read one over the other, and all that is wrong with them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::coherence::{Notice, contradictions, notices};
use super::declaration::{Key, PREFIX, derived_variable};
use super::fault::{Fault, Faults, Source, name_of, unknown};
use super::node::{Content, Node, line, parse};
use super::setting::Wrong;
use super::table::{KEYS, Settings};

/// Bytes of a settings file, at most: the complete one has ten thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a file with a secret, at most.
const SECRET_BYTES_MAX: u64 = 1 << 16;
/// Where a settings file is looked for when none is named.
const FILES: [&str; 2] = ["config/bridge.yaml", "/app/config/bridge.yaml"];
/// Where a policy is looked for when none is named.
const POLICIES: [&str; 2] = ["config/neuros.yaml", "/app/config/neuros.yaml"];
/// The variable that names the settings file.
const FILE_VARIABLE: &str = "BRIDGE_CONFIG";

/// What settings are read from.
#[derive(Clone, Default)]
pub struct Inputs {
    /// The settings file that the command line names.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// Keys and values from the command line, the last one wins.
    pub overrides: Vec<(String, String)>,
    /// Whether the command line says `--development`.
    pub development: bool,
}

impl Inputs {
    /// The environment alone, such as `std::env::vars_os()`.
    pub fn of_environment<N: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { environment: variables.collect(), ..Self::default() }
    }
}

/// Settings together with where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Where each value came from, in the order of [`KEYS`].
    pub sources: Vec<Source>,
    /// The settings file, if there is one.
    pub file: Option<PathBuf>,
    /// What to tell the operator at start.
    pub notices: Vec<Notice>,
}

impl Loaded {
    /// Reads the layers: defaults, file, environment, command line.
    ///
    /// # Errors
    ///
    /// Every fault of every layer at once, also of values that a later layer replaces, and values
    /// in force that contradict each other.
    pub fn from_layers(inputs: &Inputs) -> Result<Self, Faults> {
        match Self::despite_faults(inputs) {
            (loaded, Faults(faults)) if faults.is_empty() => Ok(loaded),
            (_, faults) => Err(faults),
        }
    }

    /// Reads the layers as far as they can be read, with all that is wrong. Of a key that has a fault
    /// the value means nothing.
    pub fn despite_faults(inputs: &Inputs) -> (Self, Faults) {
        let settings = Settings { development: inputs.development, ..Settings::default() };
        let mut reading = Reading {
            loaded: Self {
                settings,
                sources: vec![Source::Default; KEYS.len()],
                file: None,
                notices: Vec::new(),
            },
            faulty: BTreeSet::new(),
            faults: Vec::new(),
        };
        reading.loaded.file = settings_file(inputs);
        if let Some(path) = reading.loaded.file.clone() {
            reading.read_file(&path);
        }
        reading.read_environment(&inputs.environment);
        for (path, value) in &inputs.overrides {
            reading.read_override(path, value);
        }
        reading.finish()
    }

    /// Where the value of `path` came from.
    fn source_of(&self, path: &str) -> Option<&Source> {
        let index = KEYS.iter().position(|key| key.path == path)?;
        self.sources.get(index)
    }
}

/// The settings file: the one that is named, else the first that is there.
fn settings_file(inputs: &Inputs) -> Option<PathBuf> {
    let variable = || inputs.environment.get(OsStr::new(FILE_VARIABLE));
    let named = || variable().filter(|path| !path.is_empty()).map(PathBuf::from);
    inputs.file.clone().or_else(named).or_else(|| first_there(FILES))
}

fn first_there(paths: [&str; 2]) -> Option<PathBuf> {
    paths.into_iter().map(PathBuf::from).find(|path| path.exists())
}

/// A file's text, if it has no more than `bytes_max`.
fn text_of(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let problem = format!("it has more than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Settings on the way.
struct Reading {
    loaded: Loaded,
    /// Keys that have a fault already.
    faulty: BTreeSet<String>,
    faults: Vec<Fault>,
}

impl Reading {
    fn fault(&mut self, source: Option<Source>, key: &str, problem: impl Into<String>) {
        self.faulty.insert(key.to_owned());
        self.faults.push(Fault { source, key: key.to_owned(), problem: problem.into() });
    }

    fn read_file(&mut self, path: &Path) {
        let place = |line| Source::File { path: path.to_owned(), line };
        let text = match text_of(path, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(error) => {
                let problem = format!(
                    "cannot be read: {error}; mend it, or name another with --config or \
                     {FILE_VARIABLE}"
                );
                return self.fault(Some(place(None)), "", problem);
            }
        };
        let root = match parse(&text, place) {
            Ok(root) => root,
            Err(fault) => return self.faults.push(fault),
        };
        let before = self.faults.len();
        let mut met = BTreeMap::new();
        self.read_section("", &root, line(&root), &mut |line| place(Some(line)), &mut met);
        // A key that is repeated is named where it stands, not where it is noticed.
        if let Some(own) = self.faults.get_mut(before..) {
            own.sort_by_key(|fault| match fault.source {
                Some(Source::File { line, .. }) => line,
                _ => None,
            });
        }
    }

    /// Reads the keys below `section`, which is empty for the file itself.
    fn read_section(
        &mut self,
        section: &str,
        node: &Node,
        line_of_key: u64,
        place: &mut dyn FnMut(u64) -> Source,
        met: &mut BTreeMap<String, u64>,
    ) {
        let entries = match &node.value {
            // An empty section keeps its defaults.
            Content::Null => return,
            Content::Mapping(entries) => entries,
            other if section.is_empty() => {
                let problem = format!("holds {}; wanted are sections with keys", other.kind());
                return self.fault(Some(place(line_of_key)), "", problem);
            }
            other => {
                let problem = format!("is {}; wanted are keys below it", other.kind());
                return self.fault(Some(place(line_of_key)), section, problem);
            }
        };
        for (name, value) in entries {
            let line_of_key = line(name);
            let name = name.value.as_str();
            let path =
                if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            if name.contains('.') && name_of(name) == name {
                let problem = "cannot be written so; write the section, and the key below it";
                self.fault(Some(place(line_of_key)), &path, problem);
            } else if let Some(first) = met.insert(path.clone(), line_of_key) {
                let problem = format!("stands on line {first} already; keep one");
                self.fault(Some(place(line_of_key)), &name_of(&path), problem);
            } else if is_section(&path) {
                self.read_section(&path, value, line_of_key, place, met);
            } else {
                self.read_key(&path, &value.value, place(line_of_key), ToOwned::to_owned);
            }
        }
    }

    /// Reads the value of one key; `spell` is how this layer writes a key.
    fn read_key(
        &mut self,
        path: &str,
        given: &Content,
        source: Source,
        spell: impl Fn(&str) -> String,
    ) {
        let Some((index, key)) = KEYS.iter().enumerate().find(|(_, key)| key.path == path) else {
            return self.fault(Some(source), &name_of(path), unknown(path, spell));
        };
        match (key.read)(&mut self.loaded.settings, given) {
            Ok(()) => {
                if let Some(place) = self.loaded.sources.get_mut(index) {
                    *place = source;
                }
            }
            Err(wrong) => self.fault(Some(source), path, problem_of(key, given, wrong)),
        }
    }

    fn read_environment(&mut self, environment: &BTreeMap<OsString, OsString>) {
        let set: BTreeMap<&str, &OsStr> = environment
            .iter()
            // Compose files and charts set what is absent to nothing.
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| Some((name.to_str()?, value.as_os_str())))
            .collect();
        let mut known = BTreeSet::new();
        for key in KEYS {
            let names = names_of(key);
            known.extend(names.iter().map(|(name, _)| name.clone()));
            let mut given = names.iter().filter(|(name, _)| set.contains_key(name.as_str()));
            let Some((name, is_file)) = given.next() else { continue };
            if let Some((other, _)) = given.next() {
                let problem = format!("is set by {name} and by {other}; keep one of them");
                self.fault(Some(Source::Variable(name.clone())), key.path, problem);
                continue;
            }
            let value = set.get(name.as_str()).copied().unwrap_or_default();
            self.read_variable(key, name, *is_file, value);
        }
        for name in set.keys().filter(|name| name.starts_with(PREFIX)) {
            if !known.contains(*name) {
                let rest = name.trim_start_matches(PREFIX);
                let path = rest.replace("__", ".").to_lowercase();
                let problem = unknown(&path, derived_variable);
                self.fault(Some(Source::Variable(name_of(name))), &name_of(&path), problem);
            }
        }
    }

    fn read_variable(&mut self, key: &Key, name: &str, is_file: bool, value: &OsStr) {
        let source = Source::Variable(name.to_owned());
        if is_file {
            let path = PathBuf::from(value);
            let source = Source::SecretFile { variable: name.to_owned(), path: path.clone() };
            match text_of(&path, SECRET_BYTES_MAX) {
                Ok(text) if text.trim().is_empty() => {
                    self.fault(Some(source), key.path, "stands in a file that is empty");
                }
                Ok(text) => {
                    let given = Content::Text(text.trim().to_owned());
                    self.read_key(key.path, &given, source, ToOwned::to_owned);
                }
                Err(error) => {
                    let problem = format!("stands in a file that cannot be read: {error}");
                    self.fault(Some(source), key.path, problem);
                }
            }
            return;
        }
        match value.to_str() {
            Some(text) => {
                self.read_key(key.path, &Content::Text(text.to_owned()), source, ToOwned::to_owned);
            }
            None => self.fault(Some(source), key.path, "is not UTF-8"),
        }
    }

    fn read_override(&mut self, path: &str, value: &str) {
        if is_section(path) {
            let problem = "is a section; name a key below it";
            return self.fault(Some(Source::Flag), path, problem);
        }
        self.read_key(path, &Content::Text(value.to_owned()), Source::Flag, ToOwned::to_owned);
    }

    fn finish(mut self) -> (Loaded, Faults) {
        let policy = &mut self.loaded.settings.policy.file;
        if policy.is_none() {
            *policy = first_there(POLICIES);
            // Saying nothing with `null` asks for the default, which is to look.
            let index = KEYS.iter().position(|key| key.path == "policy.file");
            if let Some(source) = index.and_then(|index| self.loaded.sources.get_mut(index)) {
                *source = Source::Default;
            }
        }
        for contradiction in contradictions(&self.loaded.settings) {
            // What does not fit may come from a value that could not be read, which is told already.
            let is_told = contradiction.keys.iter().any(|key| self.faulty.contains(*key));
            if let (Some(key), false) = (contradiction.keys.first(), is_told) {
                // Of the values that do not fit the first that somebody has set.
                let mut sources =
                    contradiction.keys.iter().filter_map(|key| self.loaded.source_of(key));
                let source = sources.find(|source| **source != Source::Default);
                let fault = Fault {
                    source: source.cloned(),
                    key: (*key).to_owned(),
                    problem: contradiction.problem,
                };
                self.faults.push(fault);
            }
        }
        self.loaded.notices = notices(&self.loaded.settings);
        (self.loaded, Faults(self.faults))
    }
}

/// The variables that set `key`, and whether each names a file instead.
fn names_of(key: &Key) -> Vec<(String, bool)> {
    let own = key.variable.map(ToOwned::to_owned).into_iter().chain([key.derived_variable()]);
    let both = |name: String| {
        let file = key.is_secret.then(|| (format!("{name}_FILE"), true));
        [(name, false)].into_iter().chain(file)
    };
    own.flat_map(both).collect()
}

/// Whether keys stand below `path`.
fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

fn problem_of(key: &Key, given: &Content, wrong: Wrong) -> String {
    match wrong {
        Wrong::Because(problem) => problem,
        Wrong::Kind if key.is_secret => {
            format!("cannot be used (it is not shown); wanted is {}", key.wanted())
        }
        Wrong::Kind => format!("is {}; wanted is {}", given.describe(), key.wanted()),
    }
}

#[cfg(test)]
mod tests;
