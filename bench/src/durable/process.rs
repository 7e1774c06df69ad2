//! A server or service as a child process, which ends with this one, however this one ends.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::clock;

/// How long a start or an end may take: far beyond what it needs.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
const LOG_LINES: usize = 20;

pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    stop: Signal,
}

impl Process {
    /// Starts a program and waits until it is ready. `command` is one of [`tied_to_us`].
    pub(super) fn start(
        name: &'static str,
        mut command: Command,
        folder: &Path,
        stop: Signal,
        is_ready: impl Fn() -> bool,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command.current_dir(folder).stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{name} does not start"))?;
        let mut process = Self { name, child, log, stop };
        let deadline = clock::now() + PATIENCE;
        while !is_ready() {
            process.must_run()?;
            if clock::now() > deadline {
                bail!("{name} is not ready in time:\n{}", process.last_words());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(process)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a word.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Halts it: connections stay open, nothing answers.
    pub(super) fn halt(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    /// Lets it go on.
    pub(super) fn go_on(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    /// An error when it has ended.
    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended ({status}):\n{}", self.name, self.last_words()),
            None => Ok(()),
        }
    }

    /// All that it has said.
    pub(super) fn said(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(LOG_LINES))
            .copied()
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already needs no signal.
        kill_process(Pid::from_child(&self.child), self.stop).ok();
        let deadline = clock::now() + PATIENCE / 4;
        while matches!(self.child.try_wait(), Ok(None)) {
            if clock::now() > deadline {
                self.child.kill().ok();
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// A command that runs `program`, and that the kernel ends with `end` when this process ends.
pub(super) fn tied_to_us(setpriv: &Path, program: &Path, end: &str, user: &[String]) -> Command {
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", end]).args(user).arg("--").arg(program);
    // Ctrl-C ends this process, and the kernel the servers.
    command.process_group(0);
    command
}
