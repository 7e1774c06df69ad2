//! The containers of the chart, one after the other as in a cluster: each is given its files, variables and arguments, and does
//! its work with real servers.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use uuid::Uuid;

use super::available;
use super::manifests::{containers, list, manifests_with, name_of, pods, text};
use super::settings::{lay_down, moved};
use crate::servers::{Bridge, Servers, installed};
use crate::support::{read, root, run, stderr, stdout};

/// One installation of the chart, and what is in its Secrets.
struct Trial {
    all: Vec<Value>,
    folder: tempfile::TempDir,
    key_file: String,
    redis: String,
    owner: String,
    service: String,
}

impl Trial {
    /// What is in the Secret of `path`, for the pods that `from` leads to.
    fn secret(&self, from: &str, path: &str) -> String {
        match path {
            "database/url" if from.starts_with("Job/") => self.owner.clone(),
            "database/url" => self.service.clone(),
            "redis/url" => self.redis.clone(),
            "keys/keys.txt" => self.key_file.clone(),
            other => panic!("{from} is given {other}"),
        }
    }

    /// Variables and arguments of a container.
    fn container(&self, from: &str, name: &str) -> (Vec<(String, String)>, Vec<String>) {
        let pods = pods(&self.all);
        let (_, pod) = pods.iter().find(|(manifest, _)| name_of(manifest) == from).expect(from);
        let container = containers(pod).find(|container| text(container, "/name") == name);
        let container = container.expect(name);
        let folder = self.folder.path().join(name);
        let secret = |path: &str| self.secret(from, path);
        let variables = lay_down(&self.all, pod, container, &folder, &secret);
        let words = [list(container, "/command"), list(container, "/args")].concat();
        let words = words.iter().map(|word| moved(word.as_str().expect("text"), &folder));
        (variables.into_iter().collect(), words.collect())
    }

    /// Runs a container of the program to its end.
    fn run(&self, from: &str, name: &str, more: &[(&str, &str)]) -> Output {
        let (variables, arguments) = self.container(from, name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_biometric-bridge"));
        command.args(arguments).env_clear().envs(variables).envs(more.iter().copied());
        command.output().expect("the program starts")
    }
}

/// Values for servers on this machine, with topics and roles of the trial's own.
fn local_values(servers: &Servers, role: &str) -> Value {
    let topic = |ending: &str| format!("{role}.{ending}");
    let topics: Value = ["events", "by_user", "dead_letters", "alerts", "transitions", "audit"]
        .into_iter()
        .map(|name| (name.to_owned(), json!(topic(name))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({
        "tls": { "existingSecret": "" },
        "redis": { "existingSecret": "bridge-redis" },
        "kafka": { "bootstrapServers": [servers.kafka.bootstrap()] },
        "config": {
            "security": { "allow_plaintext": ["websocket"] },
            "kafka": { "security_protocol": "plaintext", "group_id": role, "topics": topics },
        },
        "networkPolicy": { "enabled": false },
        "migration": {
            "database": { "existingSecret": "bridge-owner" },
            "grants": {
                "enabled": true, "serviceRole": format!("{role}_service"),
                "auditorRole": format!("{role}_auditor"),
            },
        },
        "topics": { "create": { "enabled": true, "replicationFactor": 1, "minInsyncReplicas": 1 } },
        "test": { "url": "http://localhost:8002/ready" },
    })
}

fn trial(servers: &Servers) -> Trial {
    let role = format!("t{}", Uuid::new_v4().simple());
    let folder = tempfile::tempdir().expect("a folder");
    let values = folder.path().join("values.yaml");
    std::fs::write(&values, local_values(servers, &role).to_string()).expect("written");
    let key_file = folder.path().join("keys.txt");
    let made = run(&["keys", "init", "--output", key_file.to_str().expect("UTF-8")], "");
    assert!(made.status.success(), "{}", stderr(&made));
    let database = servers.postgres.database();
    let page = read(&root().join("docs/security.md"));
    let (_, roles) = page.split_once("```sql\n").expect("the roles");
    let (roles, _) = roles.split_once("```").expect("an end");
    servers.postgres.psql(&database, &roles.replace("bridge_", &format!("{role}_")));
    let by = |name: &str| database.replacen("postgres@", &format!("{role}_{name}@"), 1);
    Trial {
        all: manifests_with("minimal", &[&values]),
        key_file: read(&key_file),
        redis: servers.redis.url(),
        owner: by("owner"),
        service: by("service"),
        folder,
    }
}

#[test]
fn every_container_does_its_work() {
    if !available() || !Servers::available() {
        return;
    }
    let servers = Servers::shared();
    let trial = trial(servers);
    let done = |output: Output, told: &str| {
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert!(output.status.success() && said.contains(told), "{told}: {said}");
    };
    let migration = "Job/bridge-biometric-bridge-migration";
    done(trial.run(migration, "migrate", &[]), "applied");
    let refused = servers.postgres.try_psql(&trial.service, "SELECT count(*) FROM users");
    assert!(refused.is_err(), "the service has no rights yet");
    let (_, words) = trial.container(migration, "grant");
    let (program, arguments) = words.split_first().expect("a command");
    let psql = installed("postgres").join("psql");
    let path = format!("{}:/usr/bin:/bin", psql.parent().unwrap_or(Path::new("/")).display());
    let granted = Command::new(program).args(arguments).env_clear().env("PATH", path).output();
    done(granted.expect("sh starts"), "");
    done(trial.run("Job/bridge-biometric-bridge-topics", "topics", &[]), "made");
    let deployment = "Deployment/bridge-biometric-bridge";
    let (variables, arguments) = trial.container(deployment, "biometric-bridge");
    assert_eq!(arguments, ["run"]);
    let bridge = Bridge::start(&[], &variables);
    bridge.wait_ready();
    let address = bridge.address().to_string();
    let pod = "Pod/bridge-biometric-bridge-test";
    let (variables, arguments) = trial.container(pod, "healthcheck");
    let arguments = arguments.iter().map(|word| word.replace("localhost:8002", &address));
    let mut healthcheck = Command::new(env!("CARGO_BIN_EXE_biometric-bridge"));
    let asked = healthcheck.args(arguments).env_clear().envs(variables).output();
    done(asked.expect("the program starts"), "/ready: ready");
    done(trial.run(pod, "doctor", &[("HTTP_BIND", &address)]), "a bridge listens there already");
    bridge.end();
    let kept = servers.postgres.try_psql(&trial.service, "DELETE FROM phi_access_log");
    assert!(kept.expect_err("it is kept").contains("permission denied"));
}
