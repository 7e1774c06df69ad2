//! What no manifest of ours may do, whatever the values. Knows nothing of templates: only of what came out.

use std::collections::BTreeSet;

use biometric_bridge::settings::{KEYS, Key};
use serde_json::{Value, json};

use super::available;
use super::manifests::{VALUES, containers, list, manifests, name_of, pod_pointer, pods, text};

/// Variables that mean something to the program and are no settings of its own.
const OTHER_VARIABLES: [&str; 3] = ["BRIDGE_CONFIG", "RUST_BACKTRACE", "SSL_CERT_FILE"];

/// Variables that hold a secret and are no settings of its own: what a collector asks for.
const OTHER_SECRETS: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"];

/// Kinds whose pods run until somebody ends them.
const LONG_RUNNING: [&str; 3] = ["DaemonSet", "Deployment", "StatefulSet"];

fn variables_of(key: &Key) -> impl Iterator<Item = String> {
    key.variable.map(ToOwned::to_owned).into_iter().chain([key.derived_variable()])
}

/// Variables that hold a secret.
pub(super) fn secret_variables() -> BTreeSet<String> {
    let settings = KEYS.iter().filter(|key| key.is_secret).flat_map(variables_of);
    settings.chain(OTHER_SECRETS.map(ToOwned::to_owned)).collect()
}

fn known_variables() -> BTreeSet<String> {
    let settings = KEYS.iter().flat_map(variables_of);
    let files = KEYS.iter().filter(|key| key.is_secret).flat_map(variables_of);
    let files = files.map(|name| format!("{name}_FILE"));
    let others = OTHER_VARIABLES.into_iter().chain(OTHER_SECRETS).map(ToOwned::to_owned);
    settings.chain(files).chain(others).collect()
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
        if text(manifest, "/kind") == "NetworkPolicy" {
            of_policy(manifest, &mut say);
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

/// Whether each rule of a policy names somebody, and ports.
fn of_policy(policy: &Value, say: &mut dyn FnMut(&str)) {
    for (rules, peers) in [("/spec/ingress", "/from"), ("/spec/egress", "/to")] {
        for rule in list(policy, rules) {
            if list(rule, peers).is_empty() || list(rule, peers).contains(&json!({})) {
                say(&format!("a rule without {peers} allows everybody"));
            }
            if list(rule, "/ports").is_empty() {
                say("a rule without ports allows every one");
            }
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
    let is_early = events.contains("pre-install");
    let covers = |policy: &&Value| {
        let kinds = list(policy, "/spec/policyTypes");
        let (there, at) = hook(policy);
        let in_time = if is_early { there == events && at < weight } else { there.is_empty() };
        let labels = &pod["metadata"]["labels"];
        let selector = policy["spec"]["podSelector"]["matchLabels"].as_object();
        let selects = selector
            .is_some_and(|wanted| wanted.iter().all(|(name, value)| &labels[name] == value));
        kinds.contains(&json!("Ingress")) && kinds.contains(&json!("Egress")) && in_time && selects
    };
    let policies = all.iter().filter(|other| text(other, "/kind") == "NetworkPolicy");
    let covering: Vec<&Value> = policies.filter(covers).collect();
    if covering.is_empty() {
        say("no network policy is about it");
    }
    let allows_nothing =
        |policy: &&Value| policy["spec"]["ingress"].is_null() && policy["spec"]["egress"].is_null();
    if !is_early && !covering.iter().any(allows_nothing) {
        say("no network policy forbids it everything");
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
fn planted(all: &[Value], kind: &str, pointer: &str, value: Value) -> Vec<String> {
    let mut all = all.to_vec();
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

/// Of which kind's first, where below its pod, what is put there, and what must be told.
const PLANTED: &str = r#"
Deployment | /spec/automountServiceAccountToken | true | a token for Kubernetes
Job | /spec/securityContext/runAsNonRoot | false | the pod may run as root
Pod | /spec/securityContext/seccompProfile | null | the pod has no seccomp profile
Deployment | /spec/hostNetwork | true | hostNetwork is shared
Pod | /spec/hostPID | true | hostPID is shared
Deployment | /spec/volumes/- | {"hostPath": {"path": "/"}} | a disk of the node
Deployment | /spec/containers/0/securityContext/runAsNonRoot | null | it may run as root
Deployment | /spec/containers/0/securityContext/runAsUser | 0 | it runs as root
Pod | /spec/securityContext/runAsUser | 0 | it runs as root
Job | /spec/initContainers/0/securityContext/readOnlyRootFilesystem | false | can be written to
Deployment | /spec/containers/0/securityContext/allowPrivilegeEscalation | null | may become privileged
Pod | /spec/containers/1/securityContext/privileged | true | may become privileged
Deployment | /spec/containers/0/securityContext/seccompProfile | null | it has no seccomp profile
Deployment | /spec/containers/0/securityContext/capabilities/drop | ["NET_RAW"] | it has capabilities
Deployment | /spec/containers/0/securityContext/capabilities/add | ["NET_ADMIN"] | it has capabilities
Deployment | /spec/containers/0/resources/limits/memory | null | it has no limits of memory
Job | /spec/containers/0/resources/requests | null | it has no requests of cpu
Deployment | /spec/containers/0/image | "registry/bridge:latest" | its image is not pinned
Deployment | /spec/containers/0/image | "registry:5000/bridge" | its image is not pinned
Job | /spec/containers/0/image | "registry/psql@sha256:0123" | its image is not pinned
Deployment | /spec/containers/0/env/- | {"name": "BRIDGE__STORE__UURL"} | no setting has the variable
Deployment | /spec/containers/0/env/- | {"name": "OPENAI_API_KEY", "value": "x"} | a secret in the plain variable
Deployment | /spec/containers/0/env/- | {"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "k=x"} | a secret in the plain variable
Job | /spec/containers/0/env | [{"name": "BRIDGE__STORE__URL", "value": "x"}] | a secret in the plain variable
Deployment | /spec/containers/0/env/- | {"name": "BRIDGE__KAFKA__GROUP_INSTANCE_ID"} | the next pod does not have
Deployment | /spec/containers/0/startupProbe | null | its startupProbe does not ask /health
Deployment | /spec/containers/0/livenessProbe/httpGet/path | "/ready" | its livenessProbe does not ask /health
Deployment | /spec/containers/0/readinessProbe/httpGet | null | its readinessProbe does not ask /ready
Deployment | /metadata/labels/app.kubernetes.io~1instance | "x" | no network policy is about it
Job | /metadata/labels/app.kubernetes.io~1component | "x" | no network policy is about it
NetworkPolicy | /kind | "None" | no network policy forbids it everything
NetworkPolicy | /spec/egress | [{"ports": [{"port": 443}]}] | a rule without /to allows everybody
NetworkPolicy | /spec/ingress | [{"from": [{}], "ports": [{"port": 443}]}] | a rule without /from allows everybody
NetworkPolicy | /spec/egress | [{"to": [{"podSelector": {}}]}] | a rule without ports allows every one
ConfigMap | /data/bridge.yaml | "store: {url: 'postgresql://a:b@c/d'}" | a password in a URL
ConfigMap | /kind | "Secret" | a secret from plain values
"#;

#[test]
fn each_rule_notices_what_it_is_against() {
    if !available() {
        return;
    }
    let all = manifests("everything");
    for line in PLANTED.trim().lines() {
        let [kind, pointer, value, told] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("four columns: {line}")
        };
        let value = serde_json::from_str(value).expect("JSON");
        let found = planted(&all, kind, pointer, value);
        assert!(found.iter().any(|said| said.contains(told)), "{line}: {found:?}");
    }
}
