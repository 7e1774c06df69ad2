//! A halt of PostgreSQL with all its backends, which ends by itself, whatever becomes of this process.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::durable::clock;

pub(super) struct Halt {
    shell: Child,
    until: Instant,
}

impl Halt {
    /// Halts `server` and its children.
    pub(super) fn start(server: u32, length: Duration) -> anyhow::Result<Self> {
        let family = clock::children(server).into_iter().chain([server]);
        let family = family.fold(String::new(), |list, process| format!("{list} {process}"));
        // A shell, since it goes on when this process is killed: a halted server would stay for ever.
        let seconds = length.as_secs();
        let script = format!("kill -STOP {family}; sleep {seconds}; kill -CONT {family}");
        let shell = Command::new("sh").args(["-c", &script]).process_group(0).spawn();
        Ok(Self { shell: shell.context("there is no shell")?, until: clock::now() + length })
    }

    pub(super) fn is_on(&self) -> bool {
        // The shell may be a moment late.
        clock::now() < self.until + Duration::from_millis(500)
    }
}

impl Drop for Halt {
    /// Waits for its end: the server cannot be stopped before.
    fn drop(&mut self) {
        self.shell.wait().ok();
    }
}
