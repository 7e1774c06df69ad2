//! Who watches in the compose file: Prometheus and Alertmanager with their files by the real programs, and Grafana's places.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::compose::compose;
use super::trial::{free_port, secrets, wait_port};
use crate::deployment::nginx::gate::{available, bridge_behind};
use crate::servers::{Bridge, Program, Server as _, Servers, folder, tool};
use crate::service::http::issuer::SigningKey;
use crate::service::http::tls::{issue, show};
use crate::support::{read, root, stderr, stdout};

/// Prometheus as the compose file starts it, in front of this bridge; only places and ports are others, and it asks every second.
struct Prometheus {
    program: Program,
    port: u16,
}

impl Prometheus {
    fn of(bridge: &Bridge) -> Self {
        let place = folder().join(format!("prometheus-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&place).expect("there can be a folder");
        let (port, nobody) = (free_port(), free_port());
        let mut text = read(&root().join("docker/prometheus/prometheus.yml"));
        for (there, here) in [
            ("/run/secrets/", format!("{}/", secrets().display())),
            (
                "/etc/prometheus/rules/*.yaml",
                root().join("config/alerts.yaml").display().to_string(),
            ),
            // Its certificate is for this name, too.
            ("bridge:8002", format!("localhost:{}", bridge.address().port())),
            ("127.0.0.1:9090", format!("127.0.0.1:{port}")),
            ("alertmanager:9093", format!("127.0.0.1:{nobody}")),
            ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
        ] {
            assert!(text.contains(there), "prometheus.yml says {there} no more");
            text = text.replace(there, &here);
        }
        let configuration = place.join("prometheus.yml");
        std::fs::write(&configuration, text).expect("written");
        let compose = compose();
        let command = compose["services"]["prometheus"]["command"].as_array().expect("a command");
        let placed = command.iter().map(|argument| {
            let argument = argument.as_str().expect("a text");
            argument
                .replace("/etc/prometheus/prometheus.yml", configuration.to_str().expect("a path"))
                .replace("=/prometheus", &format!("={}", place.join("data").display()))
        });
        let mut arguments: Vec<String> = placed.collect();
        arguments.push(format!("--web.listen-address=127.0.0.1:{port}"));
        let program = Program::start("Prometheus", tool("prometheus"), &arguments, &[]);
        wait_port(port, &program);
        Self { program, port }
    }

    fn ask(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        // It listens a little before it answers.
        let mut answers = (0..300).filter_map(|_| {
            let answer = ureq::get(&url).call();
            if answer.is_err() {
                std::thread::sleep(Duration::from_millis(100));
            }
            answer.ok()
        });
        let mut answer = answers.next().unwrap_or_else(|| panic!("{url}: no answer"));
        serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON")
    }

    /// What it makes of its bridge, once it has asked it.
    fn target(&self) -> (String, String) {
        for _ in 0..300 {
            let answer = self.ask("targets?scrapePool=biometric-bridge");
            let targets = answer["data"]["activeTargets"].as_array().expect("targets").iter();
            let mut ours = targets.filter(|target| target["labels"]["job"] == "biometric-bridge");
            let (health, error) = ours.next().map_or((&Value::Null, &Value::Null), |target| {
                (&target["health"], &target["lastError"])
            });
            if matches!(health.as_str(), Some("up" | "down")) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                return (text(health), text(error));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it never asked:\n{}", self.program.complaints());
    }
}

#[test]
fn prometheus_asks_the_bridge_by_its_certificate_and_knows_our_rules() {
    if !(available() && Servers::available_with(&["prometheus"])) {
        return;
    }
    let mut office = bridge_behind(&SigningKey::elliptic("e"));
    let bridge = office.open();
    let prometheus = Prometheus::of(&bridge);
    assert_eq!(prometheus.target(), ("up".to_owned(), String::new()));
    let rules = prometheus.ask("rules");
    let groups = rules["data"]["groups"].as_array().expect("groups");
    assert!(!groups.is_empty(), "{rules}");
    prometheus.program.stop();
    bridge.end();
    // Somebody else in its place is not believed.
    show(&mut office, &issue("localhost"));
    let stranger = office.open();
    let prometheus = Prometheus::of(&stranger);
    let (health, error) = prometheus.target();
    assert!(health == "down" && error.contains("certificate"), "{health}: {error}");
    prometheus.program.stop();
    stranger.end();
}

#[test]
fn alertmanager_takes_its_file() {
    if !Servers::available_with(&["amtool"]) {
        return;
    }
    let check = |file: &Path| {
        Command::new(tool("amtool")).arg("check-config").arg(file).output().expect("amtool runs")
    };
    let file = root().join("docker/alertmanager/alertmanager.yml");
    let taken = check(&file);
    assert!(taken.status.success(), "{}{}", stdout(&taken), stderr(&taken));
    let folder = tempfile::tempdir().expect("a folder");
    let planted = folder.path().join("alertmanager.yml");
    std::fs::write(&planted, read(&file).replace("  receiver: operators", "  receiver: nobody"))
        .expect("written");
    assert!(!check(&planted).status.success(), "a receiver that nobody is");
}

#[test]
fn grafana_finds_metrics_and_dashboards_where_the_compose_file_has_them() {
    let compose = compose();
    let parse = |file: &str| -> Value {
        let text = read(&root().join("docker/grafana/provisioning").join(file));
        serde_saphyr::from_str(&text).expect("YAML")
    };
    let sources = parse("datasources/prometheus.yaml");
    let source = &sources["datasources"][0];
    assert_eq!(
        (&source["uid"], &source["url"]),
        (&"prometheus".into(), &"http://prometheus:9090".into())
    );
    let networks = |service: &str| compose["services"][service]["networks"].to_string();
    assert_eq!(networks("prometheus"), networks("grafana"), "they reach each other");
    let providers = parse("dashboards/bridge.yaml");
    let path = providers["providers"][0]["options"]["path"].as_str().expect("a path");
    let mounts = compose["services"]["grafana"]["volumes"].to_string();
    assert!(mounts.contains(&format!("../config/dashboards:{path}:ro")), "{mounts}");
}
