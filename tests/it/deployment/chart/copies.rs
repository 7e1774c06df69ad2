//! What the chart carries of the rest of the project is what the rest of the project says.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::available;
use super::manifests::{chart, list, manifests, text};
use crate::support::{files, read, root, stderr};

/// Says which copies are old, in the project whose root is `root`.
fn check(root: &Path) -> Output {
    let script = root.join("charts/update.sh");
    Command::new(script).arg("--check").output().expect("the script starts")
}

#[test]
fn the_copies_are_what_they_are_copies_of() {
    let checked = check(root());
    assert!(checked.status.success(), "{}", stderr(&checked));
}

#[test]
fn an_old_copy_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path();
    std::fs::create_dir_all(place.join("docs")).expect("a folder");
    let copy = |from: &str, to: &str| {
        let (from, to) = (root().join(from), place.join(to));
        let status = Command::new("cp").arg("-r").arg(from).arg(to).status();
        assert!(status.expect("cp starts").success());
    };
    copy("charts", "charts");
    copy("config", "config");
    copy("docs/security.md", "docs/security.md");
    assert!(check(place).status.success());
    let carried = place.join("charts/biometric-bridge/files");
    let old = |changed: &str, text: &str, told: &str| {
        let path = place.join(changed);
        let before = std::fs::read(&path).ok();
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("written");
        let checked = check(place);
        let problem = stderr(&checked);
        assert!(!checked.status.success() && problem.contains(told), "{changed}: {problem}");
        match before {
            Some(before) => std::fs::write(&path, before).expect("written"),
            None => std::fs::remove_file(&path).expect("removed"),
        }
    };
    old("config/alerts.yaml", "groups: []\n", "files/alerts.yaml is old");
    old("config/neuros.yaml", "history: 40\n", "files/neuros.yaml is old");
    old("config/dashboards/new.json", "{}\n", "files/dashboards/new.json is old");
    let security = read(&place.join("docs/security.md"));
    let fewer = security.replace("GRANT USAGE ON ALL SEQUENCES", "GRANT SELECT ON ALL SEQUENCES");
    old("docs/security.md", &fewer, "files/grants.sql is old");
    old("docs/security.md", "# Security\n", "docs/security.md has no grants");
    std::fs::write(carried.join("more.sql"), "-- ours alone\n").expect("written");
    assert!(stderr(&check(place)).contains("files/more.sql is old"));
}

#[test]
fn the_alerts_and_dashboards_that_are_installed_are_ours() {
    if !available() {
        return;
    }
    let all = manifests("production");
    let rules: Vec<&Value> =
        all.iter().filter(|manifest| text(manifest, "/kind") == "PrometheusRule").collect();
    let ours: Value =
        serde_saphyr::from_str(&read(&root().join("config/alerts.yaml"))).expect("YAML");
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0]["spec"], ours);
    assert!(!list(&ours, "/groups/0/rules").is_empty());
    let installed: Vec<&Value> = all
        .iter()
        .filter(|manifest| manifest["metadata"]["labels"]["grafana_dashboard"] == "1")
        .collect();
    let dashboards = files("charts/biometric-bridge/files", ".json");
    assert_eq!(installed.len(), dashboards.len());
    for path in &dashboards {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let shown = |map: &&Value| {
            map["data"][name].as_str().is_some_and(|map| map.trim() == read(path).trim())
        };
        assert_eq!(installed.iter().copied().filter(shown).count(), 1, "{name}");
    }
}

#[test]
fn the_chart_is_for_this_release() {
    let chart: Value = serde_saphyr::from_str(&read(&chart().join("Chart.yaml"))).expect("YAML");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
