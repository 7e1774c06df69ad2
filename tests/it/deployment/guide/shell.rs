//! A shell that runs the guide's commands one after the other, as somebody at a terminal does: what one sets, the
//! next one finds.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use uuid::Uuid;

use super::page::{self, is_as_shown};
use crate::servers::{folder, guide_programs};
use crate::support::root;

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A shell in a folder of its own, in which the guide's paths lead to the project's files.
pub(super) struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    folder: PathBuf,
    end: String,
}

impl Shell {
    /// Starts one with the environment that `tell` gives it, and what finds programs beside.
    pub(super) fn start(tell: impl FnOnce(&mut Command)) -> Self {
        let folder = folder().join(format!("guide-{}", Uuid::new_v4().simple()));
        let programs = folder.join("bin");
        std::fs::create_dir_all(&programs).expect("there can be a folder");
        for name in ["config", "docs", "docker", "charts"] {
            symlink(root().join(name), folder.join(name)).expect("linked");
        }
        let program = programs.join("biometric-bridge");
        // What is started in the background ends with the shell, and that with us.
        let text = format!(
            "#!/bin/sh\nexec setpriv --pdeathsig KILL -- {} \"$@\"\n",
            env!("CARGO_BIN_EXE_biometric-bridge")
        );
        std::fs::write(&program, text).expect("written");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("set");
        let mut command = Command::new("setpriv");
        tell(command.env_clear());
        command.args(["--pdeathsig", "KILL", "--", "bash", "-s"]).current_dir(&folder);
        command.env("PATH", path(&programs)).env("HOME", &folder).env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = crate::servers::spawn(command).expect("bash runs");
        let mut input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (line, lines) = channel();
        std::thread::spawn(move || {
            let said = output.split(b'\n').map_while(Result::ok);
            said.map(|it| String::from_utf8_lossy(&it).into_owned())
                .try_for_each(|it| line.send(it))
        });
        writeln!(input, "set -u -o pipefail").expect("bash reads");
        Self { child, input, lines, folder, end: Uuid::new_v4().simple().to_string() }
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a command of the guide, which must end and print as the guide says.
    pub(super) fn run(&mut self, command: &page::Command) -> Vec<String> {
        let (said, exit_code) = self.ends(&command.text);
        let (place, text, all) = (&command.place, &command.text, said.join("\n"));
        assert_eq!(exit_code, command.exit_code, "{place}: exit code of `{text}`:\n{all}");
        if !command.output.is_empty() {
            let shown: Vec<&str> = command.output.iter().map(String::as_str).collect();
            let lines: Vec<&str> = said.iter().map(String::as_str).collect();
            let shown_text = shown.join("\n");
            assert!(
                is_as_shown(&shown, &lines),
                "{place}: `{text}` printed\n{all}\nand the guide shows\n{shown_text}"
            );
        }
        said
    }

    /// Runs all commands of the blocks that are marked so.
    pub(super) fn run_marked(&mut self, mark: &str) {
        let blocks = page::blocks();
        let marked: Vec<_> = blocks.iter().filter(|block| block.is(mark)).collect();
        assert!(!marked.is_empty(), "the guide has no block `{mark}`");
        for command in marked.iter().flat_map(|block| &block.commands) {
            self.run(command);
        }
    }

    /// Runs a command to its end: what it printed, in lines, and its exit code.
    pub(super) fn ends(&mut self, text: &str) -> (Vec<String>, i32) {
        let end = &self.end;
        let script = format!("{{ {text}\n}} 2>&1 < /dev/null\nprintf '\\n%s %s\\n' {end} \"$?\"\n");
        self.input.write_all(script.as_bytes()).expect("bash reads");
        let mut said = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("`{text}` does not end: {said:#?}"));
            if let Some(code) = line.strip_prefix(end.as_str()) {
                let code = code.trim().parse().expect("an exit code");
                // Of an output that ended with a line's end an empty line is left.
                if said.last().is_some_and(String::is_empty) {
                    said.pop();
                }
                return (said, code);
            }
            said.push(line);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may have ended already; what it started ends with it.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Our program, those that were installed for the tests, and all others.
fn path(programs: &Path) -> OsString {
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all = [programs].into_iter().chain(guide_programs()).map(Path::to_owned);
    let all = all.chain(std::env::split_paths(&others));
    std::env::join_paths(all).expect("folders of programs")
}
