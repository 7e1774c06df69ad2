//! What helm makes of the chart, as data.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{as_text, run};
use crate::support::{root, stderr, stdout};

/// The files of values with which the chart is checked.
pub(super) const VALUES: [&str; 3] = ["minimal", "production", "everything"];

pub(super) fn chart() -> PathBuf {
    root().join("charts/biometric-bridge")
}

pub(super) fn values(name: &str) -> PathBuf {
    chart().join(format!("ci/{name}.yaml"))
}

/// The manifests as text.
pub(super) fn rendered(name: &str) -> String {
    rendered_with(name, &[])
}

/// The same with more files of values over it.
fn rendered_with(name: &str, more: &[&Path]) -> String {
    let (chart, values) = (chart(), values(name));
    let mut arguments = vec!["template", "bridge", as_text(&chart), "-n", "biometric"];
    for file in [values.as_path()].into_iter().chain(more.iter().copied()) {
        arguments.extend(["-f", as_text(file)]);
    }
    let output = run("helm", &arguments);
    assert!(output.status.success(), "{name}: {}", stderr(&output));
    stdout(&output).to_owned()
}

/// The manifests.
pub(super) fn manifests(name: &str) -> Vec<Value> {
    documents(&rendered(name))
}

/// The same with more files of values over it.
pub(super) fn manifests_with(name: &str, more: &[&Path]) -> Vec<Value> {
    documents(&rendered_with(name, more))
}

fn documents(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n").map(|document| document.trim_start_matches("---\n"));
    let parsed = documents.map(|document| {
        serde_saphyr::from_str::<Value>(document)
            .unwrap_or_else(|error| panic!("{error}: {document}"))
    });
    parsed.filter(|document| !document.is_null()).collect()
}

/// A text at a JSON pointer, or nothing.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A list at a JSON pointer, or none of it.
pub(super) fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `Kind/name`.
pub(super) fn name_of(manifest: &Value) -> String {
    format!("{}/{}", text(manifest, "/kind"), text(manifest, "/metadata/name"))
}

/// Of a manifest that leads to pods where their template is: the pod itself, or below it.
pub(super) fn pod_pointer(manifest: &Value) -> Option<&'static str> {
    match text(manifest, "/kind") {
        "Pod" => Some(""),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ if manifest.pointer("/spec/template/spec/containers").is_some() => Some("/spec/template"),
        _ => None,
    }
}

/// Every pod, beside the manifest that leads to it.
pub(super) fn pods(all: &[Value]) -> Vec<(&Value, &Value)> {
    let of = |manifest| Some((manifest, Value::pointer(manifest, pod_pointer(manifest)?)?));
    all.iter().filter_map(of).collect()
}

/// Its containers, those that run before the others included.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "/spec/initContainers").iter().chain(list(pod, "/spec/containers"))
}

/// What a ConfigMap holds under a key.
pub(super) fn config<'m>(all: &'m [Value], name: &str, key: &str) -> Option<&'m str> {
    let mut maps = all.iter().filter(|manifest| text(manifest, "/kind") == "ConfigMap");
    let map = maps.find(|map| text(map, "/metadata/name") == name)?;
    map["data"][key].as_str()
}
