//! The rules of the compose file, beyond what its schema says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::image::is_pinned;
use crate::deployment::{drain, each_is_noticed};
use crate::support::{read, root};

const PROFILES: [&str; 2] = ["core", "observability"];

/// Parts that cannot say whether they are well, each with the reason.
const NO_HEALTH_CHECK: [(&str, &str); 3] = [
    ("topics", "it ends when its work is done"),
    ("migrate", "it ends when its work is done"),
    ("otel", "its image has the collector alone; Prometheus sees whether it answers"),
];

/// Who may be reached from other machines: nginx, which is what it is for.
const OPEN: &str = "nginx";

/// Where health data lie: reached by the bridge and its jobs, and by nobody else.
const STORES: [&str; 3] = ["kafka", "postgres", "redis"];

/// Variables of the bridge that are none of its settings, with the reason.
const NO_SETTING: [(&str, &str); 1] =
    [("SSL_CERT_FILE", "whom the bridge trusts where no setting names an authority")];

/// The compose file with anchors and merges carried out.
pub(super) fn parse(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("compose.yaml: {error}"))
}

pub(super) fn compose() -> Value {
    parse(&read(&root().join("docker/compose.yaml")))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// One part, and the file that it is in.
struct Part<'v> {
    name: &'v str,
    its: &'v Value,
    all: &'v Value,
}

impl Part<'_> {
    fn says(&self, what: &str) -> String {
        format!("{}: {what}", self.name)
    }

    /// How it is kept from doing harm.
    fn hardening(&self) -> Vec<String> {
        let its = self.its;
        let user = its["user"].as_str().unwrap_or("0");
        let limits = &its["deploy"]["resources"]["limits"];
        let has_limits = ["cpus", "memory", "pids"].iter().all(|what| !limits[*what].is_null());
        let is_nobody = user.split(':').next().and_then(|id| id.parse().ok()).unwrap_or(0_u32) > 0;
        let logs = &its["logging"]["options"];
        [
            (its["read_only"] == true, "its root can be written to"),
            (texts(&its["cap_drop"]) == ["ALL"], "it keeps capabilities"),
            (its["cap_add"].is_null(), "it is given capabilities"),
            (its["privileged"].is_null() && its["pid"].is_null(), "it is more than a container"),
            (its["network_mode"].is_null(), "it is in the network of the machine"),
            (texts(&its["security_opt"]) == ["no-new-privileges:true"], "it may gain privileges"),
            (is_nobody, "its user is not named by number, or is root"),
            (has_limits, "it has no limit of cores, memory or processes"),
            (logs["max-size"].is_string() && logs["max-file"].is_string(), "its log has no end"),
            (its["restart"].is_string(), "nobody says whether it starts again"),
        ]
        .into_iter()
        .filter(|(holds, _)| !holds)
        .map(|(_, what)| self.says(what))
        .collect()
    }

    /// What it is, and whether it is well.
    fn identity(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let image = self.its["image"].as_str().unwrap_or_default();
        let is_ours = image.starts_with("${BRIDGE_IMAGE:-biometric-bridge:")
            && self.its["build"]["dockerfile"] == "docker/Dockerfile";
        if !is_ours && !is_pinned(image) {
            faults.push(self.says(&format!("its image {image} is not pinned")));
        }
        let profiles = texts(&self.its["profiles"]);
        if profiles.len() != 1 || !PROFILES.contains(&profiles[0]) {
            faults.push(self.says("it is in no profile, or in several"));
        }
        let is_checked = !self.its["healthcheck"]["test"].is_null();
        let exception = NO_HEALTH_CHECK.iter().any(|(name, _)| *name == self.name);
        if is_checked == exception {
            faults.push(self.says("whether it is well is not asked, or need not be"));
        }
        faults
    }

    /// On whom it waits.
    fn dependencies(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, how) in self.its["depends_on"].as_object().into_iter().flatten() {
            let other = &self.all["services"][name];
            if other["profiles"] != self.its["profiles"] {
                faults.push(self.says(&format!("{name} is not in its profile")));
            }
            let is_known = match how["condition"].as_str() {
                Some("service_healthy") => !other["healthcheck"]["test"].is_null(),
                Some("service_completed_successfully") => other["restart"]
                    .as_str()
                    .is_some_and(|restart| restart.starts_with("on-failure")),
                _ => false,
            };
            if !is_known {
                faults.push(self.says(&format!("that {name} is ready is not waited for")));
            }
        }
        faults
    }

    /// What it is given: secrets as files and nothing else.
    fn secrets(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let given: BTreeSet<&str> = texts(&self.its["secrets"]).into_iter().collect();
        for name in given.difference(&names(&self.all["secrets"])) {
            faults.push(self.says(&format!("there is no secret {name}")));
        }
        for (name, value) in self.its["environment"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            let is_file = value.is_empty() || value.starts_with("/run/secrets/");
            let sounds = ["PASSWORD", "SECRET", "TOKEN", "CREDENTIAL", "API_KEY", "PRIVATE"];
            let user_in_url = value.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
            if user_in_url || (sounds.iter().any(|word| name.contains(word)) && !is_file) {
                faults.push(self.says(&format!("{name} holds a secret")));
            }
        }
        let mut used = secrets_in(&self.its.to_string());
        for mount in texts(&self.its["volumes"]) {
            let source = mount.split(':').next().unwrap_or_default();
            let path = root().join("docker").join(source);
            let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
            if path.is_dir() && source.starts_with("./") {
                let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
                used.extend(entries.flat_map(|entry| secrets_in(&read(entry.path()))));
            } else if source.starts_with("./") {
                used.extend(secrets_in(&read(path)));
            }
        }
        // In the URL of the database.
        if given.contains("postgres_url") {
            used.insert("ca".to_owned());
        }
        let given: BTreeSet<String> = given.into_iter().map(str::to_owned).collect();
        faults.extend(
            used.difference(&given).map(|name| self.says(&format!("it lacks the secret {name}"))),
        );
        faults.extend(
            given
                .difference(&used)
                .map(|name| self.says(&format!("it has no use for the secret {name}"))),
        );
        faults
    }

    /// What of this machine it sees.
    fn mounts(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for mount in texts(&self.its["volumes"]) {
            let mut fields = mount.split(':');
            let source = fields.next().unwrap_or_default();
            let is_read_only = fields.nth(1) == Some("ro");
            if !source.starts_with('.') {
                if !names(&self.all["volumes"]).contains(source) {
                    faults.push(self.says(&format!("there is no volume {source}")));
                }
            } else if !root().join("docker").join(source).exists() {
                faults.push(self.says(&format!("there is no {source} to be mounted")));
            } else if !is_read_only {
                faults.push(self.says(&format!("it may change {source}")));
            }
        }
        faults
    }

    /// Who reaches it.
    fn doors(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for port in texts(&self.its["ports"]) {
            if self.name != OPEN && !port.starts_with("127.0.0.1:") {
                faults.push(self.says(&format!("other machines reach {port}")));
            }
        }
        let networks = texts(&self.its["networks"]);
        if networks.is_empty()
            || networks.iter().any(|name| !names(&self.all["networks"]).contains(name))
        {
            faults.push(self.says("it is in no network of ours"));
        }
        if STORES.contains(&self.name) && (networks != ["data"] || !self.its["ports"].is_null()) {
            faults.push(self.says("others than the bridge reach it"));
        }
        let is_bridges = self.its["build"].is_object();
        if !is_bridges && !STORES.contains(&self.name) && networks.contains(&"data") {
            faults.push(self.says("it reaches where health data lie"));
        }
        faults
    }
}

/// The secrets whose files a text names.
fn secrets_in(text: &str) -> BTreeSet<String> {
    let parts = text.split("/run/secrets/").skip(1);
    let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    parts.map(|part| part.chars().take_while(|letter| is_name(*letter)).collect()).collect()
}

/// Variables that the bridge knows, and whether each is good for it.
fn known_variables() -> BTreeMap<String, &'static str> {
    let settings = biometric_bridge::settings::KEYS.iter().flat_map(|key| {
        let names = [key.variable.map(str::to_owned), Some(key.derived_variable())];
        let files =
            names.clone().map(|name| name.filter(|_| key.is_secret).map(|name| name + "_FILE"));
        names.into_iter().chain(files).flatten().map(|name| (name, key.path))
    });
    settings.chain(NO_SETTING.map(|(name, reason)| (name.to_owned(), reason))).collect()
}

/// What is said of the bridge alone.
fn of_the_bridge(all: &Value) -> Vec<String> {
    let known = known_variables();
    let mut faults = Vec::new();
    for name in ["topics", "migrate", "bridge"] {
        let environment = &all["services"][name]["environment"];
        for variable in names(environment) {
            if !known.contains_key(variable) {
                faults.push(format!("{name}: {variable} is no setting"));
            }
            if variable.contains("ALLOW_PLAINTEXT") {
                faults.push(format!("{name}: {variable} lets health data go in the clear"));
            }
        }
    }
    let bridge = &all["services"]["bridge"];
    let grace = bridge["stop_grace_period"].as_str().unwrap_or("0s");
    let seconds: u64 = grace.trim_end_matches('s').parse().unwrap_or(0);
    if Duration::from_secs(seconds) <= drain::with(&bridge["environment"]) {
        faults.push(format!("bridge: {grace} is not longer than the drain may take"));
    }
    faults
}

/// What is wrong with the compose file.
fn faults(text: &str) -> Vec<String> {
    let all = parse(text);
    let mut faults = Vec::new();
    for (name, its) in all["services"].as_object().expect("services") {
        let part = Part { name, its, all: &all };
        faults.extend(part.hardening());
        faults.extend(part.identity());
        faults.extend(part.dependencies());
        faults.extend(part.secrets());
        faults.extend(part.mounts());
        faults.extend(part.doors());
    }
    for network in ["data", "watch"] {
        if all["networks"][network]["internal"] != true {
            faults.push(format!("the network {network} has a way out"));
        }
    }
    for (name, secret) in all["secrets"].as_object().expect("secrets") {
        if secret["file"] != format!("${{BRIDGE_SECRETS:-./secrets}}/{name}") {
            faults.push(format!("the secret {name} is no file of the folder of secrets"));
        }
    }
    faults.extend(of_the_bridge(&all));
    faults
}

#[test]
fn the_compose_file_obeys_its_rules_and_each_rule_notices_what_it_is_for() {
    let text = read(&root().join("docker/compose.yaml"));
    each_is_noticed(&text, faults, &PLANTS);
}

/// What is planted: what is replaced, by what, and what is said of it.
const PLANTS: [(&str, &str, &str); 35] = [
    ("  read_only: true", "  read_only: false", "its root can be written to"),
    ("  cap_drop: [ALL]", "  cap_drop: [NET_RAW]", "keeps capabilities"),
    ("    user: \"70:70\"", "    user: \"70:70\"\n    cap_add: [CHOWN]", "is given capabilities"),
    ("    user: \"70:70\"", "    user: \"70:70\"\n    privileged: true", "more than a container"),
    (
        "    user: \"70:70\"",
        "    user: \"70:70\"\n    network_mode: host",
        "network of the machine",
    ),
    ("no-new-privileges:true", "no-new-privileges:false", "may gain privileges"),
    ("    user: \"70:70\"", "    user: root", "not named by number, or is root"),
    ("    user: \"70:70\"", "    user: \"0:70\"", "not named by number, or is root"),
    ("{cpus: \"2.0\", memory: 2g, pids: 256}", "{cpus: \"2.0\", pids: 256}", "no limit of cores"),
    ("max-size: 10m, ", "", "its log has no end"),
    ("  restart: unless-stopped\n", "", "nobody says whether it starts again"),
    ("apache/kafka:4.3.1@sha256:", "apache/kafka:4.3.1@sha256:0", "is not pinned"),
    ("redis:8.2.9-alpine@", "redis:latest@", "is not pinned"),
    ("    profiles: [core]\n    image: redis", "    image: redis", "redis: it is in no profile"),
    (
        "      test: [\"CMD\", \"pg_isready\"",
        "      tests: [\"CMD\", \"pg_isready\"",
        "postgres: whether it is well",
    ),
    ("{condition: service_healthy}", "{condition: service_started}", "is not waited for"),
    (
        "topics: {condition: service_completed_successfully}",
        "topics: {condition: service_healthy}",
        "that topics is ready",
    ),
    (
        "      prometheus: {condition: service_healthy}",
        "      bridge: {condition: service_healthy}",
        "grafana: bridge is not in its profile",
    ),
    (
        "    secrets: [ca, kafka_keystore]",
        "    secrets: [ca, kafka_store]",
        "there is no secret kafka_store",
    ),
    (
        "    secrets: [ca, kafka_keystore]",
        "    secrets: [ca]",
        "kafka: it lacks the secret kafka_keystore",
    ),
    (
        "    secrets: [ca, kafka_keystore]",
        "    secrets: [ca, kafka_keystore, bridge_keys]",
        "no use for the secret bridge_keys",
    ),
    (
        "POSTGRES_PASSWORD_FILE: /run/secrets/postgres_password",
        "POSTGRES_PASSWORD: hunter2",
        "POSTGRES_PASSWORD holds a secret",
    ),
    (
        "REDIS_URL_FILE: /run/secrets/redis_url",
        "REDIS_URL: rediss://bridge:hunter2@redis:6379",
        "REDIS_URL holds a secret",
    ),
    ("./redis/redis.conf:/etc", "./redis/reddis.conf:/etc", "there is no ./redis/reddis.conf"),
    (
        "redis.conf:/etc/redis/redis.conf:ro",
        "redis.conf:/etc/redis/redis.conf",
        "it may change ./redis/redis.conf",
    ),
    ("- postgres-data:/var", "- postgres-date:/var", "there is no volume postgres-date"),
    ("\"127.0.0.1:${GRAFANA_PORT:-3000}:3000\"", "\"3000:3000\"", "other machines reach 3000:3000"),
    (
        "    networks: [data]\n    healthcheck:",
        "    networks: [data]\n    ports: [\"127.0.0.1:6379:6379\"]\n    healthcheck:",
        "redis: others than the bridge reach it",
    ),
    (
        "    networks: [edge]",
        "    networks: [edge, data]",
        "nginx: it reaches where health data lie",
    ),
    ("    networks: [edge]", "    networks: [egde]", "nginx: it is in no network of ours"),
    ("  data:\n    internal: true", "  data: {}", "the network data has a way out"),
    (
        "{file: \"${BRIDGE_SECRETS:-./secrets}/ca\"}",
        "{environment: CA}",
        "the secret ca is no file",
    ),
    (
        "  BRIDGE__KAFKA__CA_FILE:",
        "  BRIDGE__KAFKA__CA_PATH:",
        "BRIDGE__KAFKA__CA_PATH is no setting",
    ),
    ("  LOG_LEVEL:", "  BRIDGE__SECURITY__ALLOW_PLAINTEXT: kafka\n  LOG_LEVEL:", "go in the clear"),
    ("stop_grace_period: 50s", "stop_grace_period: 42s", "not longer than the drain may take"),
];

#[test]
fn the_trial_makes_every_secret_that_the_compose_file_names() {
    let secrets = super::trial::secrets();
    for name in names(&compose()["secrets"]) {
        assert!(secrets.join(name).is_file(), "{name}");
    }
}
