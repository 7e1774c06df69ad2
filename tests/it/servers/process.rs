//! A server as a child process: started, stopped, killed, paused, and started again on the same folder and port.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::installed;
use super::scratch::Folder;

/// How often a wait looks again.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a server may take to start or stop: far beyond what it needs, for machines with much else to do.
const PAUSES_MAX: u32 = 6_000;

/// Lines of a server's log that a failed start shows.
const LOG_LINES: usize = 15;

/// What tests do to a server of their own.
pub(crate) trait Server {
    /// The process behind it.
    fn process(&self) -> &Process;

    /// Stops it in order, and waits until it has stopped.
    fn stop(&self) {
        let _how = self.process().stop();
    }

    /// Kills it and all its children (SIGKILL), as a power cut would, and waits until they are gone.
    fn kill(&self) {
        self.process().kill();
    }

    /// Ends it at once without regard for its data, and waits until it has ended.
    fn crash(&self) {
        self.process().crash();
    }

    /// Whether it runs: no test has ended it, and neither has it itself.
    fn runs(&self) -> bool {
        !self.process().has_ended()
    }

    /// Whether it is halted (SIGSTOP).
    fn is_halted(&self) -> bool {
        self.process().is_halted()
    }

    /// How it ended by itself; `None` while it runs, and after a test has ended it.
    fn ended(&self) -> Option<ExitStatus> {
        self.process().ended()
    }

    /// Starts it again, on the same folder and port, and waits until it is ready.
    fn start_again(&self) {
        self.process().start().unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Halts it (SIGSTOP): connections stay open, nothing answers.
    fn pause(&self) {
        self.process().pause();
    }

    /// Lets it go on (SIGCONT).
    fn resume(&self) {
        self.process().resume();
    }
}

/// How to run a server.
pub(super) struct Recipe {
    pub(super) name: &'static str,
    pub(super) command: Box<dyn Fn() -> Command + Send + Sync>,
    pub(super) is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// What stops it in order.
    pub(super) stop: Signal,
    /// What ends it without regard for its data, but so that nothing stays outside its folder.
    pub(super) end: Signal,
}

/// A server process with its folder; both end when it is dropped.
pub(crate) struct Process {
    recipe: Recipe,
    child: Mutex<Option<Child>>,
    folder: Folder,
}

impl Process {
    /// Starts the server and waits until it is ready.
    pub(super) fn new(recipe: Recipe, folder: Folder) -> Result<Self, String> {
        let process = Self { recipe, child: Mutex::new(None), folder };
        process.start()?;
        Ok(process)
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<(), String> {
        let name = self.recipe.name;
        let mut place = self.child();
        assert!(place.is_none(), "{name} runs already");
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        let told = |error: io::Error| format!("{name} does not start: {error}");
        let log = log.map_err(told)?;
        let mut command = (self.recipe.command)();
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(told)?).stderr(log);
        let mut child = spawn(command).map_err(told)?;
        for _ in 0..PAUSES_MAX {
            if let Some(status) = child.try_wait().map_err(told)? {
                return Err(format!("{name} does not start ({status}):\n{}", self.last_words()));
            }
            if (self.recipe.is_ready)() {
                *place = Some(child);
                return Ok(());
            }
            sleep(PAUSE);
        }
        *place = Some(child);
        Err(format!("{name} is not ready in time:\n{}", self.last_words()))
    }

    /// Stops it in order; says how it ended.
    pub(super) fn stop(&self) -> ExitStatus {
        let name = self.recipe.name;
        let mut child = self.child().take().unwrap_or_else(|| panic!("{name} does not run"));
        send(id(&child), self.recipe.stop);
        let status = ends(&mut child, PAUSES_MAX);
        status.unwrap_or_else(|| panic!("{name} does not stop:\n{}", self.last_words()))
    }

    /// Tells it to end as somebody at a terminal does.
    pub(super) fn interrupt(&self) {
        let child = self.child();
        let child = child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.recipe.name));
        send(id(child), Signal::INT);
    }

    /// Whether it runs no longer, by itself or because a test ended it.
    pub(super) fn has_ended(&self) -> bool {
        self.child().is_none() || self.ended().is_some()
    }

    /// How it ended by itself.
    fn ended(&self) -> Option<ExitStatus> {
        self.child().as_mut()?.try_wait().ok().flatten()
    }

    fn is_halted(&self) -> bool {
        let child = self.child();
        let state = child.as_ref().and_then(|child| status(&id(child).to_string()));
        state.is_some_and(|(state, _)| state == "T")
    }

    fn crash(&self) {
        let name = self.recipe.name;
        let mut child = self.child().take().unwrap_or_else(|| panic!("{name} does not run"));
        send(id(&child), self.recipe.end);
        if ends(&mut child, PAUSES_MAX).is_none() {
            kill_all(&mut child);
        }
    }

    fn kill(&self) {
        let name = self.recipe.name;
        let mut child = self.child().take().unwrap_or_else(|| panic!("{name} does not run"));
        kill_all(&mut child);
    }

    /// How often these bytes stand in its memory.
    pub(crate) fn memory_holds(&self, wanted: &[u8]) -> usize {
        let child = self.child();
        let child = child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.recipe.name));
        super::memory::count(&id(child).to_string(), wanted)
    }

    fn pause(&self) {
        let child = self.child();
        let child = child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.recipe.name));
        // The parent first: then no new child escapes.
        send(id(child), Signal::STOP);
        children(id(child)).into_iter().for_each(|child| send(child, Signal::STOP));
    }

    fn resume(&self) {
        let child = self.child();
        let child = child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.recipe.name));
        children(id(child)).into_iter().for_each(|child| send(child, Signal::CONT));
        send(id(child), Signal::CONT);
    }

    /// All that it has said.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of the log.
    pub(super) fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child().is_some() {
            self.resume();
            if let Some(mut child) = self.child().take() {
                send(id(&child), self.recipe.end);
                if ends(&mut child, 250).is_none() {
                    kill_all(&mut child);
                }
            }
        }
    }
}

/// A command that runs `program`, and that the kernel ends with `end` when the test process ends.
pub(super) fn tied_to_us(program: &Path, end: &str, user: &[String]) -> Command {
    let mut command = Command::new(installed("setpriv"));
    command.args(["--pdeathsig", end]).args(user).arg("--").arg(program);
    // What ends the test process by its group (Ctrl-C) leaves the servers to the kernel, which says it their way.
    command.process_group(0);
    command
}

/// Starts a process from a thread that lives as long as the test process does. The kernel ends a child
/// with the *thread* that started it, and a test's thread ends with its test.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    type Wish = (Command, mpsc::Sender<io::Result<Child>>);
    static STARTER: LazyLock<mpsc::Sender<Wish>> = LazyLock::new(|| {
        let (wish, wishes) = mpsc::channel::<Wish>();
        std::thread::spawn(move || {
            for (mut command, answer) in wishes {
                // Nobody waits for the answer only when the test has failed meanwhile.
                answer.send(command.spawn()).ok();
            }
        });
        wish
    });
    let (answer, answers) = mpsc::channel();
    STARTER.send((command, answer)).expect("the starting thread lives");
    answers.recv().expect("the starting thread answers")
}

fn id(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Sends a signal; a process that has ended meanwhile needs none.
fn send(process: Pid, signal: Signal) {
    kill_process(process, signal).ok();
}

/// Waits until the child has ended, or so many pauses; says how it ended.
fn ends(child: &mut Child, pauses: u32) -> Option<ExitStatus> {
    for _ in 0..pauses {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        sleep(PAUSE);
    }
    None
}

fn kill_all(child: &mut Child) {
    // Halted, it starts no more children while they are counted.
    send(id(child), Signal::STOP);
    let children = children(id(child));
    send(id(child), Signal::KILL);
    children.iter().for_each(|child| send(*child, Signal::KILL));
    assert!(ends(child, PAUSES_MAX).is_some(), "a killed process ends");
    let mut pauses = 0..PAUSES_MAX;
    while children.iter().any(|child| runs(*child)) && pauses.next().is_some() {
        sleep(PAUSE);
    }
}

/// State and parent of a process, while it is there.
fn status(process: &str) -> Option<(String, String)> {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program stands in brackets and may hold anything.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}

/// Whether a process is there and more than a zombie, which whoever inherited it may leave for a while.
fn runs(process: Pid) -> bool {
    status(&process.to_string()).is_some_and(|(state, _)| !["Z", "X"].contains(&state.as_str()))
}

/// The children of a process. PostgreSQL's leave its process group, so only `/proc` tells.
fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| status(name).is_some_and(|(_, its)| its == parent))
        .filter_map(|name| Pid::from_raw(name.parse().ok()?))
        .collect()
}
