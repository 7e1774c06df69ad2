//! What `.dockerignore` lets into the image's build: all that the program is made of, and no secret.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::{read, root};

/// Our libraries, as the compiler calls them.
const LIBRARIES: [&str; 5] = ["actors", "biometric_bridge", "entities", "migration", "neuros"];

/// The build's context: what is sent to the engine.
pub(super) struct Context {
    /// In order, the last that matches decides; whether it brings back, and what.
    patterns: Vec<(bool, String)>,
}

impl Context {
    pub(super) fn read() -> Self {
        Self::of(&read(&root().join(".dockerignore")))
    }

    fn of(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let patterns = lines.map(|line| match line.strip_prefix('!') {
            Some(pattern) => (true, pattern.to_owned()),
            None => (false, line.to_owned()),
        });
        Self { patterns: patterns.collect() }
    }

    /// Whether a path is sent, if it is there.
    pub(super) fn lets_in(&self, path: &str) -> bool {
        let last = self.patterns.iter().rfind(|(_, pattern)| matches(pattern, path));
        last.is_none_or(|(brings_back, _)| *brings_back)
    }

    /// Whether a path is there, and sent.
    pub(super) fn has(&self, path: &str) -> bool {
        root().join(path).exists() && self.lets_in(path)
    }
}

/// Whether a pattern is of this path or of a folder above it; of the forms that `.dockerignore` has here.
fn matches(pattern: &str, path: &str) -> bool {
    let parts = || path.split('/');
    match pattern.strip_prefix("**/") {
        Some(ending) if ending.starts_with("*.") => path.ends_with(&ending[1..]),
        Some(name) => parts().any(|part| part == name),
        None if pattern == "*" => true,
        None => {
            path == pattern || path.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('/'))
        }
    }
}

/// The files of this repository that our libraries are made of, as cargo wrote them down for the last builds.
fn made_of() -> BTreeSet<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_biometric-bridge"));
    let builds = program.parent().expect("a folder").join("deps");
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(builds).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let member = name.strip_suffix(".d").and_then(|name| name.rsplit_once('-'));
        let Some((member, _)) = member.filter(|(member, _)| LIBRARIES.contains(member)) else {
            continue;
        };
        let text = read(&entry.path());
        // Only what libraries are made of: tests of theirs read more.
        let library = format!("/lib{member}-");
        for line in text
            .lines()
            .filter(|line| line.split(": ").next().is_some_and(|made| made.contains(&library)))
        {
            let (_, sources) = line.split_once(": ").unwrap_or_default();
            for path in sources.split_whitespace() {
                // What was built once from a file that is no more is of no interest.
                let whole = root().join(path);
                // Lints read what they are told there, and make nothing of it.
                let is_source = whole.exists() && !path.ends_with("clippy.toml");
                if let (true, Ok(path)) = (is_source, whole.strip_prefix(root())) {
                    files.insert(path.to_string_lossy().into_owned());
                }
            }
        }
    }
    files
}

#[test]
fn all_that_the_program_is_made_of_is_sent_to_the_build() {
    let mut ours = made_of();
    ours.insert("src/main.rs".to_owned());
    let has = |file: &str| ours.contains(file);
    assert!(
        ours.len() > 200 && has("src/lib.rs") && has("neuros/src/step.rs"),
        "{} files",
        ours.len()
    );
    let context = Context::read();
    let away = |context: &Context| -> Vec<String> {
        ours.iter().filter(|path| !context.lets_in(path)).cloned().collect()
    };
    assert_eq!(away(&context), Vec::<String>::new());
    let ignores = read(&root().join(".dockerignore"));
    let without = Context::of(&ignores.replace("!tests/data/people\n", ""));
    assert!(away(&without).iter().any(|path| path.starts_with("tests/data/people")), "it looks");
    // And every manifest of the workspace.
    for member in ["", "neuros/", "actors/", "entities/", "migration/", "bench/", "bench/engine/"] {
        assert!(context.has(&format!("{member}Cargo.toml")), "{member}");
    }
}

#[test]
fn no_secret_and_no_history_is_sent_to_the_build() {
    let context = Context::read();
    for path in [
        ".git/config",
        "docker/secrets/bridge_keys",
        "docker/compose.yaml",
        "target/debug/biometric-bridge",
        "neuros/target/x",
        "keys.txt",
        "src/server.key",
        "config/tls.pem",
        ".env",
    ] {
        assert!(!context.lets_in(path), "{path}");
    }
}

#[test]
fn the_dependencies_are_built_from_manifests_without_a_line_of_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let status = Command::new(root().join("docker/manifests.sh")).arg(folder.path()).status();
    assert!(status.expect("it runs").success());
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--locked", "--offline", "--format-version", "1", "--no-deps"]);
    let output = command.current_dir(folder.path()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let targets = |output: &[u8]| -> Vec<(String, String)> {
        let metadata: serde_json::Value = serde_json::from_slice(output).expect("JSON");
        let packages = metadata["packages"].as_array().expect("packages").iter();
        let targets = packages.flat_map(|package| package["targets"].as_array().expect("targets"));
        let named =
            targets.map(|target| (target["kind"][0].to_string(), target["name"].to_string()));
        let mut named: Vec<_> = named.filter(|(kind, _)| kind != "\"test\"").collect();
        named.sort();
        named
    };
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--locked", "--offline", "--format-version", "1", "--no-deps"]);
    let whole = command.current_dir(root()).output().expect("cargo runs");
    assert_eq!(targets(&output.stdout), targets(&whole.stdout), "the same programs and libraries");
    let empty = std::fs::read_to_string(folder.path().join("src/lib.rs")).expect("a library");
    assert_eq!(empty, "//! Empty.\n");
}
