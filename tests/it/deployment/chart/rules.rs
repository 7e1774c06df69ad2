//! What no manifest of ours may do, whatever the values. Knows nothing of templates: only of what came out.

use std::collections::BTreeSet;

use biometric_bridge::settings::KEYS;
use serde_json::{Value, json};

use super::available;
use super::manifests::{VALUES, containers, list, manifests, name_of, pod_pointer, pods, text};

/// Variables that mean something to the program and are no settings of its own.
const OTHER_VARIABLES: [&str; 3] = ["BRIDGE_CONFIG", "RUST_BACKTRACE", "SSL_CERT_FILE"];

/// Kinds whose pods run until somebody ends them.
const LONG_RUNNING: [&str; 3] = ["DaemonSet", "Deployment", "StatefulSet"];

/// Variables that hold a secret.
pub(super) fn secret_variables() -> BTreeSet<String> {
    let secret = KEYS.iter().filter(|key| key.is_secret);
    let names = secret.flat_map(|key| {
        key.variable.map(ToOwned::to_owned).into_iter().chain([key.derived_variable()])
    });
    names.collect()
}

fn known_variables() -> BTreeSet<String> {
    let settings = KEYS.iter().flat_map(|key| {
        key.variable.map(ToOwned::to_owned).into_iter().chain([key.derived_variable()])
    });
    let files = secret_variables().into_iter().map(|name| format!("{name}_FILE"));
    settings.chain(files).chain(OTHER_VARIABLES.map(ToOwned::to_owned)).collect()
}

/// Everything that a rule is against, each as `Kind/name: what`.
fn violations(all: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for manifest in all {
        let mut say = |what: &str| found.push(format!("{}: {what}", name_of(manifest)));
        if text(manifest, "/kind") == "Secret" {
            say("a secret from plain values");
        }
        if has_password(manifest) {
            say("a password in a URL");
        }
    }
    for (manifest, pod) in pods(all) {
        let mut say = |what: &str| found.push(format!("{}: {what}", name_of(manifest)));
        of_pod(pod, &mut say);
        of_network(all, manifest, pod, &mut say);
        for container in containers(pod) {
            let name = text(container, "/name");
            let mut say = |what: &str| say(&format!("{name}: {what}"));
            of_container(pod, container, &mut say);
            of_variables(container, &mut say);
        }
        if LONG_RUNNING.contains(&text(manifest, "/kind")) {
            for container in list(pod, "/spec/containers") {
                let name = text(container, "/name");
                of_probes(container, &mut |what| say(&format!("{name}: {what}")));
            }
        }
    }
    found
}

/// Whether a text anywhere has a URL with a password.
fn has_password(value: &Value) -> bool {
    match value {
        Value::String(text) => text.split("://").skip(1).any(|rest| {
            let authority = rest.split(['/', '?', '#', ' ', '\n', '"', '\'']).next();
            authority.unwrap_or_default().contains('@')
        }),
        Value::Array(values) => values.iter().any(has_password),
        Value::Object(values) => values.values().any(has_password),
        _ => false,
    }
}

fn of_pod(pod: &Value, say: &mut dyn FnMut(&str)) {
    let spec = &pod["spec"];
    if spec["automountServiceAccountToken"] != json!(false) {
        say("a token for Kubernetes");
    }
    if spec["securityContext"]["runAsNonRoot"] != json!(true) {
        say("the pod may run as root");
    }
    if spec["securityContext"]["seccompProfile"]["type"] != json!("RuntimeDefault") {
        say("the pod has no seccomp profile");
    }
    for share in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[share] == json!(true) {
            say(&format!("{share} is shared"));
        }
    }
    if list(spec, "/volumes").iter().any(|volume| !volume["hostPath"].is_null()) {
        say("a disk of the node");
    }
}

fn of_container(pod: &Value, container: &Value, say: &mut dyn FnMut(&str)) {
    let context = &container["securityContext"];
    if context["runAsNonRoot"] != json!(true) {
        say("it may run as root");
    }
    for user in [&context["runAsUser"], &pod["spec"]["securityContext"]["runAsUser"]] {
        if user == &json!(0) {
            say("it runs as root");
        }
    }
    if context["readOnlyRootFilesystem"] != json!(true) {
        say("its root file system can be written to");
    }
    if context["allowPrivilegeEscalation"] != json!(false) || context["privileged"] == json!(true) {
        say("it may become privileged");
    }
    if context["seccompProfile"]["type"] != json!("RuntimeDefault") {
        say("it has no seccomp profile");
    }
    let dropped = list(context, "/capabilities/drop").contains(&json!("ALL"));
    if !dropped || !list(context, "/capabilities/add").is_empty() {
        say("it has capabilities");
    }
    for (bound, resource) in
        [("limits", "cpu"), ("limits", "memory"), ("requests", "cpu"), ("requests", "memory")]
    {
        if container["resources"][bound][resource].is_null() {
            say(&format!("it has no {bound} of {resource}"));
        }
    }
    if !is_pinned(text(container, "/image")) {
        say("its image is not pinned");
    }
}

/// Whether an image is named with a tag that is not `latest`, or a digest.
fn is_pinned(image: &str) -> bool {
    if let Some((_, digest)) = image.split_once('@') {
        return digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64);
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest")
}

fn of_variables(container: &Value, say: &mut dyn FnMut(&str)) {
    let (known, secret) = (known_variables(), secret_variables());
    for variable in list(container, "/env") {
        let name = text(variable, "/name");
        if !known.contains(name) {
            say(&format!("no setting has the variable {name}"));
        }
        if secret.contains(name) && variable["valueFrom"]["secretKeyRef"].is_null() {
            say(&format!("a secret in the plain variable {name}"));
        }
        if name == "BRIDGE__KAFKA__GROUP_INSTANCE_ID" {
            say("a name in the group that the next pod does not have");
        }
    }
}

fn of_probes(container: &Value, say: &mut dyn FnMut(&str)) {
    for (probe, path) in
        [("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")]
    {
        if container[probe]["httpGet"]["path"] != json!(path) {
            say(&format!("its {probe} does not ask {path}"));
        }
    }
}

/// Whether everything is forbidden to the pod that no policy allows, also before the release is there.
fn of_network(all: &[Value], manifest: &Value, pod: &Value, say: &mut dyn FnMut(&str)) {
    let hook = |manifest: &Value| {
        let annotations = &manifest["metadata"]["annotations"];
        let weight = annotations["helm.sh/hook-weight"].as_str().unwrap_or("0");
        let events = annotations["helm.sh/hook"].as_str().unwrap_or_default().to_owned();
        (events, weight.parse::<i32>().expect("a weight"))
    };
    let (events, weight) = hook(manifest);
    let covers = |policy: &Value| {
        let kinds = list(policy, "/spec/policyTypes");
        let (there, at) = hook(policy);
        let in_time =
            there.is_empty() && !events.contains("pre-install") || there == events && at < weight;
        let labels = &pod["metadata"]["labels"];
        let selector = policy["spec"]["podSelector"]["matchLabels"].as_object();
        let selects = selector
            .is_some_and(|wanted| wanted.iter().all(|(name, value)| &labels[name] == value));
        kinds.contains(&json!("Ingress")) && kinds.contains(&json!("Egress")) && in_time && selects
    };
    let mut policies = all.iter().filter(|other| text(other, "/kind") == "NetworkPolicy");
    if !policies.any(covers) {
        say("no network policy is about it");
    }
}

#[test]
fn every_pod_keeps_to_the_rules() {
    if !available() {
        return;
    }
    for name in VALUES {
        let all = manifests(name);
        assert_eq!(violations(&all), [""; 0], "{name}");
        let kinds: BTreeSet<&str> =
            pods(&all).iter().map(|(from, _)| text(from, "/kind")).collect();
        assert_eq!(kinds, BTreeSet::from(["Deployment", "Job", "Pod"]), "{name}");
    }
}

/// A change of the pod of `kind`, at a JSON pointer below the pod.
fn planted(kind: &str, pointer: &str, value: Value) -> Vec<String> {
    let mut all = manifests("everything");
    let mut found = all.iter_mut().filter(|manifest| text(manifest, "/kind") == kind);
    let manifest = found.next().expect("there is one");
    let pod = pod_pointer(manifest).unwrap_or_default();
    let (place, name) = pointer.rsplit_once('/').expect("a pointer");
    let place = manifest.pointer_mut(&format!("{pod}{place}")).expect("a place");
    match place {
        Value::Array(values) => values.push(value),
        place => place[name.replace("~1", "/").as_str()] = value,
    }
    violations(&all)
}

#[test]
fn each_rule_notices_what_it_is_against() {
    if !available() {
        return;
    }
    let container = "/spec/containers/0";
    let context = "/spec/containers/0/securityContext";
    let variable = |name: &str| json!({"name": name, "value": "x"});
    let changes = [
        ("Deployment", "/spec/automountServiceAccountToken".to_owned(), json!(true), "a token"),
        (
            "Job",
            "/spec/securityContext/runAsNonRoot".to_owned(),
            json!(false),
            "the pod may run as root",
        ),
        ("Pod", "/spec/securityContext/seccompProfile".to_owned(), Value::Null, "no seccomp"),
        ("Deployment", "/spec/hostNetwork".to_owned(), json!(true), "hostNetwork is shared"),
        (
            "Deployment",
            "/spec/volumes/-".to_owned(),
            json!({"hostPath": {"path": "/"}}),
            "a disk of the node",
        ),
        ("Deployment", format!("{context}/runAsNonRoot"), Value::Null, "it may run as root"),
        ("Deployment", format!("{context}/runAsUser"), json!(0), "it runs as root"),
        (
            "Job",
            "/spec/initContainers/0/securityContext/readOnlyRootFilesystem".to_owned(),
            json!(false),
            "can be written to",
        ),
        (
            "Deployment",
            format!("{context}/allowPrivilegeEscalation"),
            Value::Null,
            "may become privileged",
        ),
        ("Pod", format!("{context}/privileged"), json!(true), "may become privileged"),
        ("Deployment", format!("{context}/seccompProfile"), Value::Null, "it has no seccomp"),
        ("Deployment", format!("{context}/capabilities/drop"), json!(["NET_RAW"]), "capabilities"),
        ("Deployment", format!("{context}/capabilities/add"), json!(["NET_ADMIN"]), "capabilities"),
        (
            "Deployment",
            format!("{container}/resources/limits/memory"),
            Value::Null,
            "no limits of memory",
        ),
        ("Job", format!("{container}/resources/requests"), Value::Null, "no requests of cpu"),
        ("Deployment", format!("{container}/image"), json!("bridge:latest"), "not pinned"),
        ("Deployment", format!("{container}/image"), json!("host:5000/bridge"), "not pinned"),
        (
            "Deployment",
            format!("{container}/env/-"),
            variable("BRIDGE__STORE__UURL"),
            "no setting has",
        ),
        (
            "Deployment",
            format!("{container}/env/-"),
            variable("OPENAI_API_KEY"),
            "a secret in the plain",
        ),
        (
            "Job",
            format!("{container}/env"),
            json!([variable("BRIDGE__STORE__URL")]),
            "a secret in the plain",
        ),
        (
            "Deployment",
            format!("{container}/env/-"),
            variable("BRIDGE__KAFKA__GROUP_INSTANCE_ID"),
            "the next pod",
        ),
        ("Deployment", format!("{container}/startupProbe"), Value::Null, "its startupProbe"),
        (
            "Deployment",
            format!("{container}/livenessProbe/httpGet/path"),
            json!("/ready"),
            "its livenessProbe",
        ),
        (
            "Deployment",
            "/metadata/labels/app.kubernetes.io~1instance".to_owned(),
            json!("x"),
            "no network policy",
        ),
        (
            "Job",
            "/metadata/labels/app.kubernetes.io~1component".to_owned(),
            json!("x"),
            "no network policy",
        ),
        (
            "ConfigMap",
            "/data/bridge.yaml".to_owned(),
            json!("store: {url: 'postgresql://a:b@c/d'}"),
            "a password",
        ),
        ("ConfigMap", "/kind".to_owned(), json!("Secret"), "a secret from plain values"),
    ];
    for (kind, pointer, value, told) in changes {
        let found = planted(kind, &pointer, value.clone());
        let hit = found.iter().any(|line| line.contains(told));
        assert!(hit, "{kind}{pointer}: {value} is not told as {told:?}: {found:?}");
    }
}
