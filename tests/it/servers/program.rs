//! A program that is none of ours beside a test, such as an example: started, killed and started again like a server,
//! and what it prints is kept.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

use super::process::{Process, Recipe, Server, tied_to_us};
use super::scratch::Folder;

/// How often a wait looks again, and how often at most.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS_MAX: u32 = 1_800;

/// A program.
pub(crate) struct Program {
    process: Process,
    output: PathBuf,
}

impl Program {
    /// Starts a program with these arguments, in a folder of its own and with this environment alone.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, &str)],
    ) -> Self {
        let folder = Folder::new("program").expect("there can be a folder");
        let output = folder.path().join("output");
        std::fs::write(&output, "").expect("written");
        let (file, program, arguments) = (output.clone(), program.to_owned(), arguments.to_vec());
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let command = move || {
            // What it prints is apart from what it complains of, and stays when it is started again.
            let mut command = tied_to_us(Path::new("sh"), "KILL", &[]);
            command.args(["-c", "exec \"$@\" >> \"$0\""]).arg(&file).arg(&program).args(&arguments);
            command.env_clear().envs(environment.clone());
            command
        };
        let recipe = Recipe {
            name,
            command: Box::new(command),
            is_ready: Box::new(|| true),
            stop: Signal::TERM,
            end: Signal::KILL,
        };
        let process = Process::new(recipe, folder).unwrap_or_else(|reason| panic!("{reason}"));
        Self { process, output }
    }

    /// What it has printed so far, as whole lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = std::fs::read(&self.output).expect("its output is there");
        let text = String::from_utf8(text).expect("text");
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect()
    }

    /// What it has complained of.
    pub(crate) fn complaints(&self) -> String {
        self.process.log()
    }

    /// Waits until what it has printed is as wanted, and gives it.
    pub(crate) fn wait_lines(
        &self,
        wanted: &str,
        is_so: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        for _ in 0..LOOKS_MAX {
            let lines = self.lines();
            if is_so(&lines) {
                return lines;
            }
            let ended = self.ended();
            assert_eq!(ended, None, "it has ended before {wanted}:\n{}", self.complaints());
            std::thread::sleep(LOOK);
        }
        let (count, last) = (self.lines().len(), self.lines().pop());
        panic!("not {wanted} in time: {count} lines, {last:?}\n{}", self.complaints());
    }

    /// Waits until it has ended by itself; says how.
    pub(crate) fn wait_ended(&self) -> ExitStatus {
        for _ in 0..LOOKS_MAX {
            if let Some(status) = self.ended() {
                return status;
            }
            std::thread::sleep(LOOK);
        }
        panic!("it does not end in time:\n{}", self.complaints());
    }
}

impl Server for Program {
    fn process(&self) -> &Process {
        &self.process
    }
}
