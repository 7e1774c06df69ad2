//! PostgreSQL, with a database for each test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::Signal;
use uuid::Uuid;

use super::disk::Disk;
use super::installed;
use super::process::{Process, Recipe, Server, tied_to_us};
use super::scratch::{Folder, Port};

/// Quick, and right as long as the machine stays up.
const NOT_DURABLE: [&str; 3] = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"];

/// Nothing outside the folder: no socket in a common place, no shared memory that stays after a kill.
const SETTINGS: [&str; 5] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "dynamic_shared_memory_type=mmap",
    "max_connections=200",
    // Tests ask when a row was committed.
    "track_commit_timestamp=on",
];

/// A PostgreSQL server.
pub(crate) struct Postgres {
    process: Process,
    port: Port,
    /// What its data lies on, if that can be full; goes after the process.
    disk: Option<Disk>,
}

impl Postgres {
    /// Starts a server of the test's own. `durable`: what it has committed survives the machine, as it does in
    /// operation; without, it is quicker.
    pub(crate) fn start(durable: bool) -> Self {
        Self::try_start(durable).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Starts a durable server whose disk can be full; where mounting is not permitted, says so and
    /// gives one with the common disk.
    pub(crate) fn start_on_small_disk() -> Self {
        let disk = Disk::mount().unwrap_or_else(|reason| panic!("{reason}"));
        Self::start_on(true, disk).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Starts a durable server on what a physical backup holds, which stays as it is.
    pub(crate) fn start_from(backup: &Path) -> Self {
        let bring = |data: &Path, _: &[String]| {
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(backup.join(".")).arg(data);
            ran(copy)?;
            let Some(Unprivileged { user, group }) = Unprivileged::find()? else { return Ok(()) };
            let mut own = Command::new("chown");
            own.args(["-R", &format!("{user}:{group}")]).arg(data);
            ran(own)
        };
        Self::start_with(true, None, bring).unwrap_or_else(|reason| panic!("{reason}"))
    }

    pub(super) fn try_start(durable: bool) -> Result<Self, String> {
        Self::start_on(durable, None)
    }

    fn start_on(durable: bool, disk: Option<Disk>) -> Result<Self, String> {
        Self::start_with(durable, disk, initialise)
    }

    /// `bring` fills its folder, as whom the server runs as.
    fn start_with(
        durable: bool,
        disk: Option<Disk>,
        bring: impl Fn(&Path, &[String]) -> Result<(), String>,
    ) -> Result<Self, String> {
        let told = |error| format!("PostgreSQL does not start: {error}");
        let folder = Folder::new("postgres").map_err(told)?;
        let port = Port::new().map_err(told)?;
        let user = Unprivileged::find()?;
        let data = disk.as_ref().map_or(folder.path(), Disk::path).join("data");
        std::fs::create_dir(&data).map_err(told)?;
        if let Some(Unprivileged { user, group }) = user {
            chown(&data, Some(user), Some(group)).map_err(told)?;
        }
        let user = user.map(|user| user.options()).unwrap_or_default();
        bring(&data, &user)?;
        let number = port.number.to_string();
        let asked = number.clone();
        let command = move || {
            // Told to quit, it removes its shared memory; the watcher kills it if it does not.
            let mut command = tied_to_us(&program("postgres"), "QUIT", &user);
            command.arg("-D").arg(&data).args(["-p", &number]);
            let quick = NOT_DURABLE.iter().filter(|_| !durable);
            SETTINGS.iter().chain(quick).for_each(|setting| {
                command.args(["-c", setting]);
            });
            command
        };
        let is_ready = move || {
            let mut command = Command::new(program("pg_isready"));
            command.args(["-q", "-h", "127.0.0.1", "-p", &asked, "-U", "postgres"]);
            command.status().is_ok_and(|status| status.success())
        };
        let recipe = Recipe {
            name: "PostgreSQL",
            command: Box::new(command),
            is_ready: Box::new(is_ready),
            stop: Signal::INT,
            end: Signal::QUIT,
        };
        Ok(Self { process: Process::new(recipe, folder)?, port, disk })
    }

    /// Creates a database that nobody else uses, and gives its URL.
    pub(crate) fn database(&self) -> String {
        let name = format!("test_{}", Uuid::new_v4().simple());
        self.psql(&self.url("postgres"), &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Makes a copy of a database that nobody uses now, and gives its URL.
    pub(crate) fn copy(&self, url: &str) -> String {
        let (name, copy) = (name_of(url), format!("test_{}", Uuid::new_v4().simple()));
        let sql = format!("CREATE DATABASE {copy} TEMPLATE {name}");
        self.psql(&self.url("postgres"), &sql);
        self.url(&copy)
    }

    /// Removes a database.
    pub(crate) fn remove(&self, url: &str) {
        self.psql(&self.url("postgres"), &format!("DROP DATABASE {} (FORCE)", name_of(url)));
    }

    /// Its own disk, if it has one.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// The URL of a database of this server that another server had under that URL.
    pub(crate) fn same(&self, url: &str) -> String {
        self.url(name_of(url))
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port.number
    }

    /// Runs SQL with psql and gives what it printed: rows as lines, columns split by `|`.
    pub(crate) fn psql(&self, url: &str, sql: &str) -> String {
        self.try_psql(url, sql).unwrap_or_else(|complaint| panic!("psql: {complaint}"))
    }

    /// The same, or what psql complains of.
    pub(crate) fn try_psql(&self, url: &str, sql: &str) -> Result<String, String> {
        let mut command = Command::new(program("psql"));
        command.args(["-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]);
        let output = command.output().expect("psql runs");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// A session that stays open, for what must be held meanwhile.
    pub(crate) fn session(&self, url: &str) -> Session {
        let mut command = Command::new(program("psql"));
        command.args(["-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", url]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("psql runs");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Session { child, input, output }
    }

    /// What pg_dump prints of a database.
    pub(crate) fn dump(&self, url: &str, options: &[&str]) -> String {
        let output = Command::new(program("pg_dump")).args(options).arg(url).output();
        let output = output.expect("pg_dump runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs what `dump` printed in another database.
    pub(crate) fn restore(&self, url: &str, dump: &str) {
        let mut command = Command::new(program("psql"));
        command.args(["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", url]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("psql runs");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(dump.as_bytes()).expect("psql reads");
        drop(input);
        assert!(child.wait().expect("psql ends").success(), "the dump is restored");
    }

    /// All that the server has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port.number)
    }
}

/// A session of psql; ends when it is dropped, and what it has not committed is undone.
pub(crate) struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    /// Runs SQL that prints nothing, and waits until it is done.
    pub(crate) fn run(&mut self, sql: &str) {
        writeln!(self.input, "{sql};\n\\echo done").expect("psql reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("psql answers");
        assert_eq!(line.trim(), "done");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server for Postgres {
    fn process(&self) -> &Process {
        &self.process
    }
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn program(name: &str) -> PathBuf {
    installed("postgres").join(name)
}

fn ran(mut command: Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} does not start: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn initialise(data: &Path, user: &[String]) -> Result<(), String> {
    let mut command = tied_to_us(&program("initdb"), "KILL", user);
    command.args(["-U", "postgres", "-A", "trust", "--locale=C.UTF-8", "-E", "UTF8", "--no-sync"]);
    command.arg("-D").arg(data).current_dir(data);
    ran(command)
}

/// Whom PostgreSQL runs as when the tests run as root, which it refuses.
#[derive(Clone, Copy)]
struct Unprivileged {
    user: u32,
    group: u32,
}

impl Unprivileged {
    /// Nobody else when the tests are not root.
    fn find() -> Result<Option<Self>, String> {
        let us = std::fs::metadata("/proc/self").map_err(|error| format!("/proc: {error}"))?;
        if us.uid() != 0 {
            return Ok(None);
        }
        let ask = |option: &str| {
            let output = Command::new("id").args([option, "postgres"]).output().ok()?;
            String::from_utf8_lossy(&output.stdout).trim().parse().ok()
        };
        match (ask("-u"), ask("-g")) {
            (Some(user), Some(group)) => Ok(Some(Self { user, group })),
            _ => {
                Err("PostgreSQL refuses to run as root, and there is no user `postgres`".to_owned())
            }
        }
    }

    fn options(self) -> Vec<String> {
        let (user, group) = (self.user, self.group);
        vec![format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]
    }
}
