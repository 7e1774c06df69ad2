//! PostgreSQL that keeps what it has committed, with memory as a small machine in operation has it.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use super::process::{Process, tied_to_us};
use super::setup::{Installed, free_port};

/// Everything that durability rests on is on, as it is by default; said, so that it is certain.
const SETTINGS: [&str; 11] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "min_wal_size=2GB",
    "wal_compression=lz4",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "dynamic_shared_memory_type=mmap",
    "max_connections=100",
];

pub(super) struct Postgres {
    pub(super) process: Process,
    port: u16,
}

impl Postgres {
    pub(super) fn start(
        installed: &Installed,
        folder: &Path,
        more: &[String],
    ) -> anyhow::Result<Self> {
        let folder = folder.join("postgres");
        let data = folder.join("data");
        std::fs::create_dir_all(&data)?;
        let user = unprivileged(&data)?;
        let program = |name| installed.postgres.join(name);
        let mut command = tied_to_us(&installed.setpriv, &program("initdb"), "KILL", &user);
        command.args(["-U", "postgres", "-A", "trust", "--locale=C.UTF-8", "-E", "UTF8"]);
        let made = command.arg("-D").arg(&data).current_dir(&data).output()?;
        if !made.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        }
        let port = free_port()?;
        let mut command = tied_to_us(&installed.setpriv, &program("postgres"), "QUIT", &user);
        command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in SETTINGS.into_iter().chain(more.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        let is_ready = || {
            let mut command = Command::new(program("pg_isready"));
            command.args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()]);
            command.status().is_ok_and(|status| status.success())
        };
        let process = Process::start("postgres", command, &folder, Signal::INT, is_ready)?;
        Ok(Self { process, port })
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

/// How to become the user `postgres`, to whom `data` is given; PostgreSQL refuses to run as root.
fn unprivileged(data: &Path) -> anyhow::Result<Vec<String>> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(Vec::new());
    }
    let ask = |option: &str| -> anyhow::Result<u32> {
        let output = Command::new("id").args([option, "postgres"]).output()?;
        let id = String::from_utf8_lossy(&output.stdout).trim().parse();
        id.context("PostgreSQL refuses to run as root, and there is no user `postgres`")
    };
    let (user, group) = (ask("-u")?, ask("-g")?);
    chown(data, Some(user), Some(group))?;
    Ok(vec![format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()])
}
