//! What every measurement needs: the servers, a folder, and words on the terminal while it takes its time.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use tempfile::TempDir;

use super::database::Database;
use super::kafka::Kafka;
use super::postgres::Postgres;

/// Where the tests' installer has put things.
pub(super) struct Installed {
    pub(super) java: PathBuf,
    pub(super) kafka: PathBuf,
    pub(super) postgres: PathBuf,
    pub(super) setpriv: PathBuf,
}

impl Installed {
    fn find() -> anyhow::Result<Self> {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        let cache = std::env::var_os("BRIDGE_SERVERS").filter(|folder| !folder.is_empty());
        let cache =
            cache.map_or_else(|| home.join(".cache/biometric-bridge-servers"), PathBuf::from);
        let list = std::fs::read_to_string(cache.join("found")).unwrap_or_default();
        let found: BTreeMap<&str, &str> =
            list.lines().filter_map(|line| line.split_once('=')).collect();
        let place = |name: &str| {
            let place = found.get(name).map(PathBuf::from);
            place.with_context(|| format!("{name} is missing: `make servers` installs it"))
        };
        Ok(Self {
            java: place("java")?,
            kafka: place("kafka")?,
            postgres: place("postgres")?,
            setpriv: place("setpriv")?,
        })
    }
}

/// A token, and the file that lets it in.
pub(super) struct Token {
    pub(super) bearer: String,
    pub(super) file: String,
}

/// Settings of the servers, each `name=value`; of two with one name the last holds.
#[derive(Default)]
pub(super) struct ServerSettings {
    pub(super) kafka: Vec<String>,
    pub(super) postgres: Vec<String>,
}

/// The servers of this run, and its folder; all go with it.
pub(super) struct Setup {
    pub(super) kafka: Kafka,
    pub(super) postgres: Postgres,
    pub(super) service: PathBuf,
    pub(super) installed: Installed,
    pub(super) key_file: PathBuf,
    folder: TempDir,
}

impl Setup {
    /// `more` are settings of the servers beside their own.
    pub(super) fn start(service: &Path, more: &ServerSettings) -> anyhow::Result<Self> {
        let installed = Installed::find()?;
        let folder = tempfile::Builder::new().prefix("biometric-bridge-bench-").tempdir()?;
        // PostgreSQL runs as another user, who has to come through.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        say("starting Kafka and PostgreSQL")?;
        let kafka = Kafka::start(&installed, folder.path(), &more.kafka)?;
        let postgres = Postgres::start(&installed, folder.path(), &more.postgres)?;
        let service = std::fs::canonicalize(service)
            .with_context(|| format!("{} is missing: `make build` makes it", service.display()))?;
        let key_file = folder.path().join("keys.txt");
        let mut command = Command::new(&service);
        command.args(["keys", "generate", "--output"]).arg(&key_file);
        let made = command.output()?;
        anyhow::ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok(Self { kafka, postgres, service, installed, key_file, folder })
    }

    /// Makes an empty database, and gives its URL.
    pub(super) fn new_database(&self, name: &str) -> anyhow::Result<String> {
        Database::create(&self.postgres.url("postgres"), name)?;
        Ok(self.postgres.url(name))
    }

    /// A token of an operator.
    pub(super) fn token(&self) -> anyhow::Result<Token> {
        let made =
            Command::new(&self.service).args(["tokens", "new", "bench", "operator"]).output()?;
        anyhow::ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let said = String::from_utf8(made.stdout)?;
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        let [_, bearer, _, line, ..] = lines.as_slice() else { anyhow::bail!("no token was made") };
        let file = self.folder().join("tokens");
        std::fs::write(&file, format!("{line}\n"))?;
        let file = file.to_str().context("no path")?.to_owned();
        Ok(Token { bearer: (*bearer).to_owned(), file })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A port that nobody listens on just now.
pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Says what is going on, apart from the table.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr(), "{text}")?)
}
