//! The example clients as programs: one in Python, and one in TypeScript that enters by a token, as on a server, or by
//! a ticket, as in a browser.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use uuid::Uuid;

use crate::servers::{Program, examples_node_modules, examples_python, folder, node};
use crate::service::sockets::client::Known;
use crate::support::root;

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Python,
    Node,
    Browser,
}

/// The example in TypeScript as JavaScript, compiled once by its own compiler, which must find nothing.
static COMPILED: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = folder().join("example-typescript");
    std::fs::create_dir(&place).expect("there can be a folder");
    // Beside the sources npm would lay what they need; here it lies elsewhere.
    let example = root().join("examples/typescript");
    for name in ["package.json", "tsconfig.json", "src"] {
        std::os::unix::fs::symlink(example.join(name), place.join(name)).expect("linked");
    }
    std::os::unix::fs::symlink(examples_node_modules(), place.join("node_modules"))
        .expect("linked");
    let mut command = Command::new(node());
    command.arg("node_modules/typescript/bin/tsc").args(["--strict", "--preserveSymlinks"]);
    let output = command.current_dir(&place).output().expect("the compiler runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    place.join("dist/node.js")
});

/// What a client is started with.
pub(super) struct Given<'g> {
    pub(super) bridge: &'g str,
    pub(super) token_file: &'g Path,
    pub(super) users: &'g [&'g str],
}

impl Kind {
    /// The program that runs it, with its first arguments.
    fn program(self) -> (&'static Path, Vec<String>) {
        let script = match self {
            Self::Python => root().join("examples/python/bridge_client.py"),
            Self::Node | Self::Browser => COMPILED.clone(),
        };
        let runner = if self == Self::Python { examples_python() } else { node() };
        (runner, vec![script.to_str().expect("a path").to_owned()])
    }

    /// Starts it, with all that is stored and in lines of JSON; its positions are in a file of its own.
    pub(super) fn start(self, given: &Given<'_>) -> Program {
        self.start_with(given, &["--all", "--json"]).0
    }

    /// The same with other options; gives the file, too.
    pub(super) fn start_with(self, given: &Given<'_>, options: &[&str]) -> (Program, PathBuf) {
        let (program, mut arguments) = self.program();
        let positions = folder().join(format!("{}.positions", Uuid::new_v4().simple()));
        let said = [
            "--bridge",
            given.bridge,
            "--token-file",
            given.token_file.to_str().expect("a path"),
            "--positions",
            positions.to_str().expect("a path"),
        ];
        let ticket: &[&str] = if self == Self::Browser { &["--ticket"] } else { &[] };
        let all = [&said[..], ticket, options, given.users].concat();
        arguments.extend(all.into_iter().map(str::to_owned));
        (Program::start("an example", program, &arguments, &PYTHON), positions)
    }

    /// What it says of itself.
    pub(super) fn help(self) -> String {
        let (program, arguments) = self.program();
        let output = Command::new(program).args(arguments).arg("--help").output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

/// Python leaves nothing beside the sources.
pub(super) const PYTHON: [(&str, &str); 1] = [("PYTHONDONTWRITEBYTECODE", "1")];

/// A file with a token.
pub(super) fn token_file(token: &str) -> PathBuf {
    let file = folder().join(format!("{}.token", Uuid::new_v4().simple()));
    renew(&file, token);
    file
}

/// Puts another token into the file, at once.
pub(super) fn renew(file: &Path, token: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, token).expect("written");
    std::fs::rename(&new, file).expect("renamed");
}

pub(super) fn messages(lines: &[String]) -> impl Iterator<Item = Value> {
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON"))
}

/// How many different mode changes and alerts are in these lines.
pub(super) fn count(lines: &[String]) -> usize {
    let ids =
        messages(lines).filter_map(|message| message["message_id"].as_str().map(str::to_owned));
    ids.collect::<BTreeSet<String>>().len()
}

/// What somebody knows who has read these lines.
pub(super) fn known(lines: &[String]) -> Known {
    let mut known = Known::default();
    messages(lines).for_each(|message| known.take(message));
    known
}

/// How many snapshots are in these lines; among them may be what the bridge says of itself.
pub(super) fn snapshots(lines: &[String]) -> usize {
    messages(lines).filter(|message| message["type"] == "snapshot").count()
}
