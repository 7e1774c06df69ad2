//! The program takes what the chart gives it: the settings file, the variables and the files of each container of ours, as
//! they would be in the cluster, laid down in a folder.

use std::collections::BTreeMap;
use std::path::Path;

use biometric_bridge::settings::{Faults, Inputs, Loaded};
use serde_json::{Value, json};

use super::manifests::{
    VALUES, chart, config, containers, list, manifests, name_of, pods, text, values,
};
use super::{as_text, available};
use crate::deployment::drain;
use crate::support::{read, root, run, stderr, stdout};

/// Where the chart mounts things.
const FOLDERS: [&str; 4] =
    ["/run/biometric-bridge", "/etc/biometric-bridge", "/app/config", "/var/lib/biometric-bridge"];

/// What a secret would hold, by the folder and file that it is mounted as.
fn secret(path: &str) -> String {
    let text = match path {
        "database/url" => "postgresql://bridge:secret@postgres/bridge?sslmode=verify-full",
        "key-store/url" => "postgresql://keys:secret@keys/keys",
        "redis/url" => "rediss://:secret@redis:6379",
        _ => "secret",
    };
    text.to_owned()
}

/// A text in which what is mounted lies below `folder`, which stands for the root of a container.
pub(super) fn moved(text: &str, folder: &Path) -> String {
    FOLDERS.iter().fold(text.to_owned(), |text, place| {
        text.replace(place, &format!("{}{place}", folder.display()))
    })
}

/// Lays down below `folder` what a container has mounted, with `secret` for what is in Secrets, and gives its variables.
pub(super) fn lay_down(
    all: &[Value],
    pod: &Value,
    container: &Value,
    folder: &Path,
    secret: &dyn Fn(&str) -> String,
) -> BTreeMap<String, String> {
    let write = |path: &str, text: &str| {
        let path = moved(path, folder);
        std::fs::create_dir_all(Path::new(&path).parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("written");
    };
    let mounts = list(container, "/volumeMounts");
    let mounted = |volume: &str| mounts.iter().find(|mount| text(mount, "/name") == volume);
    for volume in list(pod, "/spec/volumes") {
        let Some(mount) = mounted(text(volume, "/name")) else { continue };
        let place = text(mount, "/mountPath");
        let held = |map: &str, item: &Value| {
            let held = config(all, map, text(item, "/key")).expect("the ConfigMap is there");
            moved(held, folder)
        };
        for source in list(volume, "/projected/sources") {
            for item in list(source, "/secret/items") {
                let path = text(item, "/path");
                write(&format!("{place}/{path}"), &secret(path));
            }
            for item in list(source, "/configMap/items") {
                let held = held(text(source, "/configMap/name"), item);
                write(&format!("{place}/{}", text(item, "/path")), &held);
            }
        }
        let items = list(volume, "/configMap/items");
        for item in items {
            assert_eq!(text(mount, "/subPath"), text(item, "/path"), "one file is mounted");
            write(place, &held(text(volume, "/configMap/name"), item));
        }
        // Its keys are the operator's own: those that the settings name.
        if items.is_empty() && !volume["configMap"].is_null() {
            for file in ["kafka.crt", "vault.crt", "collector.crt", "bundle.crt"] {
                write(&format!("{place}/{file}"), "-");
            }
        }
    }
    let variables = list(container, "/env").iter().map(|variable| {
        let value = variable["value"].as_str();
        let value = value.map_or_else(|| "from-a-secret".to_owned(), |value| moved(value, folder));
        (text(variable, "/name").to_owned(), value)
    });
    variables.collect()
}

/// The settings of a container, read as in the cluster.
fn loaded(all: &[Value], pod: &Value, container: &Value, folder: &Path) -> (Loaded, Faults) {
    let variables = lay_down(all, pod, container, folder, &secret);
    Loaded::despite_faults(&Inputs::of_environment(variables))
}

/// What is wrong with the settings of each container of the program, with where.
fn faults(all: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for (manifest, pod) in pods(all) {
        let ours = |container: &&Value| text(container, "/image").contains("/biometric-bridge");
        for container in containers(pod).filter(ours) {
            let folder = tempfile::tempdir().expect("a folder");
            let (_, Faults(mut faults)) = loaded(all, pod, container, folder.path());
            if text(manifest, "/kind") == "Job" {
                // As commands do that nobody can ask over the network.
                faults.retain(|fault| !fault.is_within(&["http", "auth"]));
            }
            let place = format!("{}, {}", name_of(manifest), text(container, "/name"));
            found.extend(faults.iter().map(|fault| format!("{place}: {fault}")));
        }
    }
    found
}

#[test]
fn the_program_takes_the_settings_of_every_container() {
    if !available() {
        return;
    }
    for name in VALUES {
        assert_eq!(faults(&manifests(name)), [""; 0], "{name}");
    }
    let mut broken = manifests("minimal");
    for manifest in &mut broken {
        if let Some(Value::String(file)) = manifest.pointer_mut("/data/bridge.yaml") {
            *file = file.replace("bootstrap_servers", "bootstrap_server");
        }
        if let Some(Value::Array(items)) =
            manifest.pointer_mut("/spec/template/spec/volumes/1/projected/sources")
        {
            items.remove(0);
        }
    }
    let found = faults(&broken).join("\n");
    for told in ["bootstrap_server", "POSTGRES_URL_FILE", "Job/", "Deployment/", "Pod/"] {
        assert!(found.contains(told), "{told} is not told: {found}");
    }
}

#[test]
fn a_job_is_given_no_more_than_it_needs() {
    if !available() {
        return;
    }
    let all = manifests("everything");
    let secrets = |name: &str| {
        let pods = pods(&all);
        let (_, pod) = pods.iter().find(|(from, _)| name_of(from) == name).expect("the Job");
        let volumes = list(pod, "/spec/volumes").iter();
        let sources = volumes.flat_map(|volume| list(volume, "/projected/sources"));
        let names =
            sources.map(|source| text(source, "/secret/name")).filter(|name| !name.is_empty());
        names.collect::<Vec<_>>()
    };
    assert_eq!(secrets("Job/bridge-migration"), ["bridge-database-owner", "bridge-key-store"]);
    assert_eq!(secrets("Job/bridge-topics"), ["bridge-kafka", "bridge-kafka-client"]);
}

#[test]
fn the_policy_that_is_mounted_is_one() {
    if !available() {
        return;
    }
    let built_in = read(&root().join("config/neuros.yaml"));
    for name in VALUES {
        let all = manifests(name);
        let map = if name == "everything" { "bridge" } else { "bridge-biometric-bridge" };
        let policy = config(&all, map, "neuros.yaml").expect("a policy");
        assert_eq!(policy.trim() == built_in.trim(), name != "everything", "{name}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("neuros.yaml");
        std::fs::write(&path, policy).expect("written");
        let checked = run(&["policy", "check", path.to_str().expect("UTF-8")], "");
        assert!(checked.status.success(), "{name}: {}", stderr(&checked));
    }
}

/// By how many seconds a pod is given longer to end than its drain may take.
fn spare_seconds(all: &[Value]) -> i64 {
    let pods = pods(all);
    let deployment = pods.iter().find(|(from, _)| text(from, "/kind") == "Deployment");
    let (_, pod) = deployment.expect("there is one");
    let container = &list(pod, "/spec/containers")[0];
    let folder = tempfile::tempdir().expect("a folder");
    let (loaded, _) = loaded(all, pod, container, folder.path());
    let drain = drain::of(&loaded.settings);
    let waits = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64().expect("set");
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_i64().expect("set");
    grace - waits - i64::try_from(drain.as_secs()).expect("it ends")
}

#[test]
fn a_pod_is_given_longer_to_end_than_the_drain_may_take() {
    if !available() {
        return;
    }
    assert_eq!(spare_seconds(&manifests("minimal")), 5, "where the chart computes it");
    for name in VALUES {
        let mut all = manifests(name);
        let spare = spare_seconds(&all);
        assert!(spare > 0, "{name}: {spare} s");
        for manifest in &mut all {
            let variables = manifest.pointer_mut("/spec/template/spec/containers/0/env");
            if let Some(Value::Array(variables)) = variables {
                variables.push(json!({"name": "BRIDGE__SHUTDOWN__DEADLINE", "value": "10m"}));
            }
        }
        assert!(spare_seconds(&all) < 0, "{name}: a longer deadline is noticed");
    }
}

#[test]
fn another_setting_or_policy_is_another_pod() {
    if !available() {
        return;
    }
    let marks = |more: &str| {
        let (chart, values) = (chart(), values("minimal"));
        let flags = ["template", "x", as_text(&chart), "-f", as_text(&values), "--set", more];
        let output = super::run("helm", &flags);
        let lines = stdout(&output).lines().map(str::trim);
        let marks = lines.filter(|line| line.starts_with("checksum/")).map(ToOwned::to_owned);
        marks.collect::<Vec<_>>()
    };
    let before = marks("replicaCount=1");
    assert_eq!(before.len(), 2);
    assert_eq!(marks("replicaCount=2"), before, "what no process reads moves none");
    for (changed, which) in [("config.workers=3", 0), ("policy.text=history: 40", 1)] {
        let after = marks(changed);
        assert_ne!(after[which], before[which], "{changed}");
        assert_eq!(after[1 - which], before[1 - which], "{changed}");
    }
}
