//! Kafka as the tests' installer put it there, but for speed: with the whole compiler and more memory.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use anyhow::Context as _;
use rustix::process::Signal;

use super::process::{Process, tied_to_us};
use super::setup::{Installed, free_port};

pub(super) struct Kafka {
    pub(super) process: Process,
    pub(super) bootstrap: String,
}

impl Kafka {
    pub(super) fn start(
        installed: &Installed,
        folder: &Path,
        more: &[String],
    ) -> anyhow::Result<Self> {
        let folder = folder.join("kafka");
        let data = folder.join("data");
        std::fs::create_dir_all(&data)?;
        for entry in std::fs::read_dir(installed.kafka.join("formatted"))? {
            let entry = entry?;
            std::fs::copy(entry.path(), data.join(entry.file_name()))?;
        }
        let (port, controller) = (free_port()?, free_port()?);
        let mut text = include_str!("../../../tests/servers/server.properties").to_owned();
        let listener = format!("PLAINTEXT://127.0.0.1:{port}");
        writeln!(text, "controller.quorum.voters=1@127.0.0.1:{controller}")?;
        writeln!(text, "listeners={listener},CONTROLLER://127.0.0.1:{controller}")?;
        writeln!(text, "advertised.listeners={listener}")?;
        writeln!(text, "log.dirs={}", data.display())?;
        for setting in more {
            writeln!(text, "{setting}")?;
        }
        let properties = folder.join("server.properties");
        std::fs::write(&properties, text)?;
        let java = folder.join("java.args");
        std::fs::write(&java, fast(&installed.kafka.join("java.args"))?)?;
        let mut command = tied_to_us(&installed.setpriv, &installed.java, "KILL", &[]);
        command.arg(format!("@{}", java.display()));
        command.arg(format!("-Djava.io.tmpdir={}", folder.display()));
        command.arg("kafka.Kafka").arg(&properties);
        // The broker listens last of all.
        let is_ready = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        let process = Process::start("kafka", command, &folder, Signal::KILL, is_ready)?;
        Ok(Self { process, bootstrap: format!("127.0.0.1:{port}") })
    }
}

/// The tests' options without those that make a start quick and a run slow.
fn fast(arguments: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(arguments)
        .with_context(|| format!("{} cannot be read", arguments.display()))?;
    let kept = text
        .lines()
        .filter(|line| !line.starts_with("-XX:TieredStopAtLevel") && !line.starts_with("-Xmx"));
    Ok(kept.chain(["-Xmx512m"]).fold(String::new(), |text, line| text + line + "\n"))
}
