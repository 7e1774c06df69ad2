//! The dashboards of `config/dashboards`: they are what their script makes, and what Grafana could not tell us here, for
//! it cannot be had, rules of our own do. Whether their expressions come to something is seen in `watched`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::runbook;
use crate::servers::{Servers, python};
use crate::support::{files, read, root};

/// Columns of a dashboard.
const COLUMNS: u64 = 24;
/// Labels and words that would say whose something is.
const WHOSE: [&str; 5] = ["user_id", "user=", "device", "{{user", "subject"];

/// Each dashboard, with the name of its file.
pub(super) fn dashboards() -> Vec<(String, Value)> {
    let parsed = |path: &Path| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, serde_json::from_str(&read(path)).expect("JSON"))
    };
    files("config/dashboards", ".json").iter().map(|path| parsed(path)).collect()
}

/// The panels that show something.
pub(super) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    panels.filter(|panel| panel["type"] != "row")
}

/// The expressions of a panel.
pub(super) fn expressions(panel: &Value) -> impl Iterator<Item = &str> {
    let targets = panel["targets"].as_array().into_iter().flatten();
    targets.filter_map(|target| target["expr"].as_str())
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// What is wrong with a dashboard; `name` is its file's.
fn faults(name: &str, dashboard: &Value, anchors: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut find = |is_so: bool, what: String| {
        if is_so {
            faults.push(what);
        }
    };
    find(text(dashboard, "uid") != format!("biometric-{name}"), "its uid changes".to_owned());
    find(!dashboard["id"].is_null(), "it has the id of somebody's Grafana".to_owned());
    find(text(dashboard, "title").is_empty(), "it has no title".to_owned());
    find(dashboard["schemaVersion"].as_u64() < Some(36), "it has an old form".to_owned());
    let variables = dashboard["templating"]["list"].as_array().into_iter().flatten();
    let variables: Vec<&str> = variables.map(|variable| text(variable, "name")).collect();
    find(variables.first() != Some(&"datasource"), "it has no source to choose".to_owned());
    let all: Vec<&Value> = dashboard["panels"].as_array().into_iter().flatten().collect();
    find(all.is_empty(), "it is empty".to_owned());
    let ids: BTreeSet<Option<u64>> = all.iter().map(|panel| panel["id"].as_u64()).collect();
    find(ids.len() < all.len() || ids.contains(&None), "ids of panels are not unique".to_owned());
    let titles: BTreeSet<&str> = all.iter().map(|panel| text(panel, "title").trim()).collect();
    find(titles.len() < all.len(), "two panels have one title".to_owned());
    find(titles.contains(""), "a panel has no title".to_owned());
    for (place, panel) in all.iter().enumerate() {
        let title = text(panel, "title");
        let (x, y, w, h) = area(panel);
        find(w == 0 || h == 0 || x + w > COLUMNS, format!("{title}: it lies outside"));
        let overlaps = all[..place].iter().any(|other| {
            let (ox, oy, ow, oh) = area(other);
            x < ox + ow && ox < x + w && y < oy + oh && oy < y + h
        });
        find(overlaps, format!("{title}: it lies on another"));
    }
    for panel in panels(dashboard) {
        let title = text(panel, "title");
        for fault in panel_faults(panel, &variables, anchors) {
            find(true, format!("{title}: {fault}"));
        }
    }
    faults
}

/// Left, top, width and height of a panel.
fn area(panel: &Value) -> (u64, u64, u64, u64) {
    let side = |name| panel["gridPos"][name].as_u64().unwrap_or(0);
    (side("x"), side("y"), side("w"), side("h"))
}

fn panel_faults(panel: &Value, variables: &[&str], anchors: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut find = |is_so: bool, what: &str| {
        if is_so {
            faults.push(what.to_owned());
        }
    };
    let defaults = &panel["fieldConfig"]["defaults"];
    find(!text(panel, "description").ends_with('.'), "nothing says what it shows");
    find(text(defaults, "unit").is_empty(), "it has no unit");
    let steps = defaults["thresholds"]["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let values: Vec<Option<f64>> = steps.iter().map(|step| step["value"].as_f64()).collect();
    find(values.first() != Some(&None), "its thresholds have no beginning");
    find(!values.is_sorted_by(|a, b| a < b), "its thresholds are not in order");
    find(panel["datasource"]["uid"] != "${datasource}", "its source cannot be chosen");
    find(expressions(panel).next().is_none(), "it asks for nothing");
    let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let letters: BTreeSet<&str> = targets.iter().map(|target| text(target, "refId")).collect();
    find(letters.len() < targets.len() || letters.contains(""), "two targets have one letter");
    for target in targets {
        let (asked, legend) = (text(target, "expr"), text(target, "legendFormat"));
        find(asked.is_empty(), "a target asks for nothing");
        find(legend.is_empty(), "series have no name");
        find(target["datasource"]["uid"] != "${datasource}", "a target's source cannot be chosen");
        let words = [asked, legend].concat();
        find(WHOSE.iter().any(|whose| words.contains(whose)), "it asks whose something is");
        for (at, _) in asked.match_indices('$') {
            let name: String =
                asked[at + 1..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let known = name.starts_with("__") || variables.contains(&name.as_str());
            find(!known, "it has a variable that is not there");
        }
    }
    for link in panel["links"].as_array().into_iter().flatten() {
        let section = text(link, "url").strip_prefix("${runbook}#").unwrap_or_default();
        find(!anchors.iter().any(|anchor| anchor == section), "its link leads nowhere");
    }
    faults
}

#[test]
fn the_dashboards_are_what_their_script_makes() {
    if !Servers::available() {
        return;
    }
    let script = root().join("config/dashboards/make.py");
    let output = Command::new(python()).arg(script).arg("--check").output();
    let output = output.expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn grafana_could_show_each_dashboard() {
    let anchors = runbook::anchors(&runbook::text());
    let dashboards = dashboards();
    let names: Vec<&str> = dashboards.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["modes", "operations", "slo"]);
    for (name, dashboard) in &dashboards {
        let faults = faults(name, dashboard, &anchors);
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}

#[test]
fn the_guides_three_panels_are_there_under_their_titles() {
    let dashboards = dashboards();
    let all: Vec<&Value> = dashboards.iter().flat_map(|(_, dashboard)| panels(dashboard)).collect();
    for (title, metric) in [
        ("Events Processed", "rate(biometric_events_processed_total{"),
        ("Cognitive Mode Distribution", "cognitive_mode_current{"),
        ("Kafka Consumer Lag", "kafka_consumer_lag{"),
    ] {
        let panel = all.iter().find(|panel| panel["title"] == title);
        let panel = panel.unwrap_or_else(|| panic!("there is no {title}"));
        assert!(expressions(panel).any(|asked| asked.contains(metric)), "{title}: {panel}");
    }
}

#[test]
fn a_dashboard_with_a_fault_is_noticed() {
    let anchors = runbook::anchors(&runbook::text());
    let (name, whole) = dashboards().swap_remove(1);
    for (place, wrong, what) in [
        ("/uid", json!("biometric-other"), "its uid changes"),
        ("/id", json!(7), "it has the id"),
        ("/title", json!(""), "it has no title"),
        ("/panels", json!([]), "it is empty"),
        ("/templating/list/0/name", json!("other"), "it has no source"),
        ("/templating/list/1/name", json!("other"), "a variable that is not there"),
        ("/panels/1/id", json!(1), "ids of panels are not unique"),
        ("/panels/1/title", json!(" "), "a panel has no title"),
        ("/panels/1/title", whole["panels"][2]["title"].clone(), "two panels have one title"),
        ("/panels/1/gridPos/w", json!(9), "it lies on another"),
        ("/panels/1/gridPos/x", json!(22), "it lies outside"),
        ("/panels/1/description", json!(""), "nothing says what it shows"),
        ("/panels/1/fieldConfig/defaults/unit", json!(""), "it has no unit"),
        ("/panels/1/fieldConfig/defaults/thresholds/steps", json!([]), "have no beginning"),
        ("/panels/1/datasource/uid", json!("prometheus"), "its source cannot be chosen"),
        ("/panels/1/targets", json!([]), "it asks for nothing"),
        ("/panels/1/targets/0/legendFormat", json!(""), "series have no name"),
        ("/panels/1/targets/0/legendFormat", json!("{{user_id}}"), "it asks whose"),
        ("/panels/1/links/0/url", json!("${runbook}#nowhere"), "its link leads nowhere"),
    ] {
        let mut dashboard = whole.clone();
        *dashboard.pointer_mut(place).unwrap_or_else(|| panic!("there is no {place}")) = wrong;
        let faults = faults(&name, &dashboard, &anchors);
        assert!(faults.iter().any(|fault| fault.contains(what)), "{place}: {what}: {faults:?}");
    }
}
