//! The parts of the compose file by real servers on this machine, with the secrets that `docker/trial.sh` makes, the files that are
//! mounted and the command lines as they stand there. Only places and ports are others.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::compose::compose;
use crate::servers::{Bridge, Program, Server as _, Servers, folder, kcat, tool};
use crate::support::{bridge, read, root, stderr, stdout};

/// What a trial has in its folder of secrets; made once for all tests.
pub(in crate::deployment) fn secrets() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let place = folder().join("trial");
        let made = || {
            let mut command = Command::new(root().join("docker/trial.sh"));
            let output = command.arg(&place).output().expect("it starts");
            assert!(output.status.success(), "{}", stderr(&output));
        };
        made();
        let keys = read(&place.join("bridge_keys"));
        made();
        assert_eq!(read(&place.join("bridge_keys")), keys, "what is there stays");
        let mode = std::fs::metadata(&place).expect("a folder").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "it keeps others out");
        // Containers are given each file by itself; here PostgreSQL, who is somebody else, has to come through.
        let through = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(&place, through).expect("permitted");
        place
    })
}

/// A port that is free now.
pub(in crate::deployment) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("an address").port()
}

/// Waits until somebody listens.
pub(in crate::deployment) fn wait_port(port: u16, program: &Program) {
    for _ in 0..1_200 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return;
        }
        assert!(program.runs(), "{}", program.complaints());
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nobody listens in time:\n{}", program.complaints());
}

/// Where everything of the compose file is on this machine.
struct Here {
    folder: PathBuf,
    compose: Value,
    kafka: u16,
    controller: u16,
    postgres: u16,
    redis: u16,
}

impl Here {
    fn new() -> Self {
        let folder = folder().join("composed");
        std::fs::create_dir(&folder).expect("there can be a folder");
        let [kafka, controller, postgres, redis] = std::array::from_fn(|_| free_port());
        Self { folder, compose: compose(), kafka, controller, postgres, redis }
    }

    /// A text of a container as it is here.
    fn placed(&self, text: &str) -> String {
        let at = |port: u16| format!("127.0.0.1:{port}");
        let secrets = format!("{}/", secrets().display());
        text.replace("/run/secrets/", &secrets)
            .replace("kafka:9093", &at(self.kafka))
            .replace("kafka:9094", &at(self.controller))
            .replace("postgres:5432", &at(self.postgres))
            .replace("redis:6379", &at(self.redis))
    }

    /// Writes a file that a container has.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("a path").to_owned()
    }

    fn mounted(&self, path: &str) -> String {
        self.placed(&read(&root().join("docker").join(path)))
    }

    fn texts(&self, service: &str, what: &str) -> Vec<String> {
        let list = self.compose["services"][service][what].as_array().expect("a list");
        list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
    }

    fn kafka(&self) -> Program {
        let properties = self
            .mounted("kafka/server.properties")
            .replace("://:9093", &format!("://127.0.0.1:{}", self.kafka))
            .replace("://:9094", &format!("://127.0.0.1:{}", self.controller))
            .replace("/var/lib/kafka/data", self.folder.join("kafka").to_str().expect("a path"));
        let properties = self.write("server.properties", &properties);
        let java = format!("@{}", tool("kafka").join("java.args").display());
        let said = format!(
            "-Dlog4j2.configurationFile={}/docker/kafka/log4j2.properties",
            root().display()
        );
        let format = [
            "kafka.tools.StorageTool",
            "format",
            "-t",
            "MkU3OEVBNTcwNTJENDM2Qk",
            "-c",
            &properties,
        ];
        let formatted =
            Command::new(tool("java")).arg(&java).args(format).output().expect("java runs");
        assert!(formatted.status.success(), "{}{}", stdout(&formatted), stderr(&formatted));
        let arguments = [java, said, "kafka.Kafka".to_owned(), properties];
        let broker = Program::start("Kafka", tool("java"), &arguments, &[]);
        wait_port(self.kafka, &broker);
        broker
    }

    fn redis(&self) -> Program {
        let port = format!("tls-port {}", self.redis);
        let configuration = self.mounted("redis/redis.conf").replace("tls-port 6379", &port);
        let configuration = self.write("redis.conf", &configuration);
        let server = Program::start("Redis", tool("redis-server"), &[configuration], &[]);
        wait_port(self.redis, &server);
        server
    }

    /// The server with the settings of the compose file's command, and the role that `role.sh` makes.
    fn postgres(&self) -> Program {
        let ours = self.folder.join("postgres");
        std::fs::create_dir(&ours).expect("a folder");
        let owned = |path: &Path| {
            let user = if is_root() { "postgres" } else { "" };
            let status = Command::new("chown").arg(format!("{user}:")).arg(path).status();
            assert!(user.is_empty() || status.is_ok_and(|status| status.success()));
        };
        owned(&ours);
        let key = ours.join("server.key");
        std::fs::copy(secrets().join("postgres_key"), &key).expect("copied");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("permitted");
        owned(&key);
        let access = self.write("pg_hba.conf", &self.mounted("postgres/pg_hba.conf"));
        let data = ours.join("data");
        let data = data.to_str().expect("a path");
        let password = secrets().join("postgres_password");
        let initdb = tool("postgres").join("initdb");
        let given =
            self.compose["services"]["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].as_str();
        let mut arguments = as_postgres(&initdb);
        arguments
            .extend(["-U", "postgres", "-E", "UTF8", "--no-sync", "-D", data].map(str::to_owned));
        arguments.extend(given.expect("options").split(' ').map(str::to_owned));
        arguments.push(format!("--pwfile={}", password.display()));
        let made = Command::new(&arguments[0]).args(&arguments[1..]).current_dir(&ours).output();
        let made = made.expect("initdb runs");
        assert!(made.status.success(), "{}", stderr(&made));

        let mut arguments = as_postgres(&tool("postgres").join("postgres"));
        let [program, settings @ ..] = &self.texts("postgres", "command")[..] else {
            panic!("a command")
        };
        assert_eq!(program, "postgres");
        arguments.extend(settings.iter().map(|setting| {
            self.placed(setting)
                .replace("/etc/postgresql/bridge/pg_hba.conf", &access)
                .replace("/run/postgresql/server.key", key.to_str().expect("a path"))
                .replace("shared_buffers=512MB", "shared_buffers=16MB")
        }));
        let (port, sockets) = (self.postgres, ours.display());
        for setting in [
            format!("port={port}"),
            format!("unix_socket_directories={sockets}"),
            "listen_addresses=127.0.0.1".to_owned(),
            "dynamic_shared_memory_type=mmap".to_owned(),
            "fsync=off".to_owned(),
        ] {
            arguments.extend(["-c".to_owned(), setting]);
        }
        arguments.extend(["-D".to_owned(), data.to_owned()]);
        let server = Program::start("PostgreSQL", Path::new(&arguments[0]), &arguments[1..], &[]);
        wait_port(port, &server);
        // It listens a little before it answers.
        let is_ready = || {
            let mut command = Command::new(tool("postgres").join("pg_isready"));
            command.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            command.status().is_ok_and(|status| status.success())
        };
        let mut looks = 0..1_200;
        while !is_ready() {
            assert!(looks.next().is_some(), "{}", server.complaints());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.make_role(&ours);
        server
    }

    /// As the image does when its database is made: over its socket, with the administrator's password.
    fn make_role(&self, sockets: &Path) {
        let script = self.write("role.sh", &self.mounted("postgres/role.sh"));
        let password = read(&secrets().join("postgres_password"));
        let told = |command: &mut Command| {
            command.env("PATH", format!("{}:/usr/bin:/bin", tool("postgres").display()));
            command.env("PGHOST", sockets).env("PGPORT", self.postgres.to_string());
            command
                .env("PGPASSWORD", &password)
                .envs([("POSTGRES_USER", "postgres"), ("POSTGRES_DB", "bridge")]);
            let output = command.output().expect("it starts");
            assert!(output.status.success(), "{}", stderr(&output));
        };
        let create = ["-q", "-U", "postgres", "-d", "postgres", "-c", "CREATE DATABASE bridge"];
        told(Command::new(tool("postgres").join("psql")).args(create));
        told(Command::new("sh").arg(script));
    }

    /// The bridge's variables, each as it is here.
    fn environment(&self) -> Vec<(String, String)> {
        let variables =
            self.compose["services"]["bridge"]["environment"].as_object().expect("variables");
        let value = |name: &str, value: &Value| {
            let value = self.placed(&by_default(value.as_str().expect("a text")));
            // URLs stand in files.
            if name.ends_with("_URL_FILE") {
                self.write(name, &self.placed(&read(Path::new(&value))))
            } else {
                value
            }
        };
        variables.iter().map(|(name, its)| (name.clone(), value(name, its))).collect()
    }
}

/// A value of the compose file when nobody sets its variables: `${NAME:-value}`.
fn by_default(value: &str) -> String {
    let Some(inside) = value.strip_prefix("${").and_then(|value| value.strip_suffix('}')) else {
        return value.to_owned();
    };
    inside.split_once(":-").expect("a default").1.to_owned()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How PostgreSQL is started, which refuses to be root.
fn as_postgres(program: &Path) -> Vec<String> {
    let program = program.to_str().expect("a path").to_owned();
    if !is_root() {
        return vec![program];
    }
    let user = ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=QUIT", "--"];
    let setpriv = tool("setpriv").to_str().expect("a path").to_owned();
    [setpriv].into_iter().chain(user.map(str::to_owned)).chain([program]).collect()
}

/// Runs the job of the compose file with this name.
fn job(here: &Here, name: &str, environment: &[(String, String)]) {
    let command = here.texts(name, "command");
    let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    let output = told(&arguments, environment);
    assert!(output.status.success(), "{name}: {}", stderr(&output));
}

fn told(arguments: &[&str], environment: &[(String, String)]) -> std::process::Output {
    let mut command = bridge(arguments);
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    command.output().expect("the program starts")
}

#[test]
fn the_parts_of_the_compose_file_work_together_and_each_lets_in_only_whom_it_knows() {
    if !(Servers::available() && Servers::available_with(&["openssl"])) {
        return;
    }
    let here = Here::new();
    let (broker, database, cache) = (here.kafka(), here.postgres(), here.redis());
    let environment = here.environment();
    job(&here, "topics", &environment);
    job(&here, "migrate", &environment);
    let service = Bridge::start(&[], &environment);
    service.wait_ready();
    let sent = told(&["send", "--user", "ada", "--metric", "hrv=44"], &environment);
    assert!(sent.status.success(), "{}", stderr(&sent));
    service.wait_metric("biometric_events_processed_total", |count| count >= 1.0);
    // Since it has taken the state.
    service.wait_part("redis", true);
    for warning in ["unencrypted", "plaintext"] {
        assert!(!service.log().contains(warning), "{}", service.log());
    }
    strangers_at_kafka(&here);
    strangers_at_postgres(&here);
    strangers_at_redis(&here);
    service.end();
    for server in [broker, cache, database] {
        server.stop();
    }
}

/// Without a certificate nobody is let in, and with one of somebody else nothing may be done.
fn strangers_at_kafka(here: &Here) {
    let at = format!("127.0.0.1:{}", here.kafka);
    let authority = format!("ssl.ca.location={}/ca", secrets().display());
    let ask = |further: &[String]| {
        let mut command = Command::new(kcat());
        command.args(["-L", "-m", "5", "-b", &at, "-X", "security.protocol=ssl", "-X", &authority]);
        further.iter().for_each(|setting| {
            command.args(["-X", setting]);
        });
        command.output().expect("kcat runs")
    };
    let as_service = |service: &str| {
        [("certificate", "certificate"), ("key", "key")].map(|(what, file)| {
            format!("ssl.{what}.location={}/{service}_{file}", secrets().display())
        })
    };
    let unknown = ask(&[]);
    assert!(!unknown.status.success(), "{}", stdout(&unknown));
    let bridge = ask(&as_service("bridge"));
    assert!(
        stdout(&bridge).contains("topic \"biometric.events\""),
        "{}{}",
        stdout(&bridge),
        stderr(&bridge)
    );
    let other = ask(&as_service("redis"));
    assert!(!stdout(&other).contains("biometric.events"), "{}", stdout(&other));
}

fn strangers_at_postgres(here: &Here) {
    let password = read(&secrets().join("postgres_bridge_password"));
    let ask = |place: String| {
        let mut command = Command::new(tool("postgres").join("psql"));
        command.args([
            "-X",
            "-A",
            "-t",
            "-w",
            "-d",
            &place,
            "-c",
            "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        ]);
        let output = command.output().expect("psql runs");
        if output.status.success() {
            Ok(stdout(&output).trim().to_owned())
        } else {
            Err(stderr(&output).to_owned())
        }
    };
    let at = format!("127.0.0.1:{}/bridge", here.postgres);
    let known = format!("postgresql://bridge:{password}@{at}");
    let authority = format!("sslrootcert={}/ca", secrets().display());
    assert_eq!(ask(format!("{known}?sslmode=verify-full&{authority}")).as_deref(), Ok("TLSv1.3"));
    let clear = ask(format!("{known}?sslmode=disable")).expect_err("in the clear");
    assert!(clear.contains("no encryption"), "{clear}");
    let older = ask(format!("{known}?sslmode=require&ssl_max_protocol_version=TLSv1.2"))
        .expect_err("TLS 1.2");
    assert!(older.contains("protocol"), "{older}");
    let guessed =
        ask(format!("postgresql://bridge:guess@{at}?sslmode=require")).expect_err("a guess");
    assert!(guessed.contains("password authentication failed"), "{guessed}");
}

/// The container's own health check passes, and whoever says no name may do nothing else.
fn strangers_at_redis(here: &Here) {
    let test =
        here.compose["services"]["redis"]["healthcheck"]["test"][1].as_str().expect("a command");
    let check = here.placed(test).replace("redis-cli ", &format!("redis-cli -p {} ", here.redis));
    let run = |script: &str| Command::new("sh").args(["-c", script]).output().expect("sh runs");
    let healthy = run(&check);
    assert!(healthy.status.success(), "{check}: {}", stderr(&healthy));
    let read = check.replace(" ping | grep -q PONG", " get neuros:state:ada");
    assert_ne!(read, check);
    let refused = run(&read);
    assert!(stdout(&refused).contains("NOPERM"), "{}{}", stdout(&refused), stderr(&refused));
    let clear = run(&read.replace("--tls ", ""));
    assert!(!stdout(&clear).contains("NOPERM"), "in the clear nothing is said: {}", stdout(&clear));
}
