//! The alerts of `config/alerts.yaml`: each says what is wrong and where to read on, and promtool sees it fire when it
//! should and not otherwise.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::promql::{metric, selectors};
use crate::servers::{promtool, watchers_are_there};
use crate::support::{files, read, root};

const TESTS: &str = "tests/data/alerts";
const ENDING: &str = ".test.yaml";
/// What a test says of where the rules are.
const RULES: &str = "../../../config/alerts.yaml";

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// An alert, or a series that is reckoned.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) alert: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) record: String,
    pub(super) expr: String,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    lasting: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Rule {
    /// A rule that asks this.
    pub(super) fn of(expr: &str) -> Self {
        Self { expr: expr.to_owned(), ..Self::default() }
    }
}

/// Every rule, alerts first.
pub(super) fn rules() -> (Vec<Rule>, Vec<Rule>) {
    let text = read(&root().join("config/alerts.yaml"));
    let file: File = serde_saphyr::from_str(&text).expect("rules");
    let rules = file.groups.into_iter().flat_map(|group| group.rules);
    rules.partition(|rule| rule.record.is_empty())
}

/// Runs promtool, which must be content.
fn checked(folder: &Path, arguments: &[&str]) {
    let output = told(folder, arguments);
    assert!(output.status.success(), "{}", said(&output));
}

fn told(folder: &Path, arguments: &[&str]) -> Output {
    promtool(folder, arguments).output().expect("promtool starts")
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr];
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

#[test]
fn each_alert_says_how_bad_it_is_what_is_wrong_and_where_to_read_on() {
    let (alerts, records) = rules();
    for Rule { alert, labels, annotations, .. } in &alerts {
        let severity = labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning")), "{alert}: {severity:?}");
        for name in ["summary", "description"] {
            let text = annotations.get(name).map_or("", |text| text.trim());
            assert!(text.ends_with(['.', ')']), "{alert}: {name} is no sentence: {text}");
        }
        // Labels that texts name are on the alert when it fires, as its cases show.
        let cases = read(&root().join(TESTS).join(format!("{alert}{ENDING}")));
        let fires: Vec<&str> = cases.lines().filter(|line| line.contains("'ALERTS{")).collect();
        for text in annotations.values() {
            for (_, behind) in text.match_indices("$labels.").map(|(at, _)| text.split_at(at + 8)) {
                let name = behind.split(' ').next().unwrap_or_default();
                let is_there = |line: &&str| line.contains(&format!(" {name}=\""));
                assert!(!fires.is_empty() && fires.iter().all(is_there), "{alert}: no {name}");
            }
        }
        let place = format!("docs/runbook.md#{}", alert.to_lowercase());
        assert_eq!(annotations.get("runbook_url"), Some(&place), "{alert}");
    }
    for (name, count) in alerts.iter().chain(&records).fold(BTreeMap::new(), |mut sum, rule| {
        *sum.entry([rule.alert.as_str(), rule.record.as_str()].concat()).or_insert(0) += 1;
        sum
    }) {
        assert_eq!(count, 1, "{name} is there twice");
    }
    for name in ["BiometricBridgeDown", "KafkaLagHigh", "CognitiveModeStuck"] {
        assert!(alerts.iter().any(|rule| rule.alert == name), "the guide's {name} is gone");
    }
}

#[test]
fn promtool_finds_no_fault_in_the_rules() {
    if watchers_are_there() {
        checked(root(), &["check", "rules", "config/alerts.yaml"]);
    }
}

#[test]
fn each_alert_has_a_file_of_cases_and_promtool_sees_all_of_them_hold() {
    let tests = files(TESTS, ENDING);
    let names: Vec<String> = tests.iter().map(|path| file_name(path)).collect();
    let mut wanted: Vec<String> =
        rules().0.iter().map(|rule| format!("{}{ENDING}", rule.alert)).collect();
    wanted.sort();
    assert_eq!(names, wanted, "in {TESTS} each alert has its file, and each file its alert");
    if watchers_are_there() {
        let names = names.iter().map(String::as_str);
        let arguments: Vec<&str> = ["test", "rules"].into_iter().chain(names).collect();
        checked(&root().join(TESTS), &arguments);
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// The same alert with a fault, each of which its cases must notice: that it never fires, or always, at once, when it
/// is the other way round, at ten times or a tenth, or by series that nobody exports.
fn defects(rule: &Rule) -> Vec<(String, Rule)> {
    let with = |expr: String| Rule { expr, ..rule.clone() };
    let mut defects = vec![
        ("it never fires".to_owned(), with("absent(vector(1))".to_owned())),
        ("it always fires".to_owned(), with("vector(1)".to_owned())),
    ];
    if rule.lasting.is_some() {
        defects.push(("it waits for nothing".to_owned(), Rule { lasting: None, ..rule.clone() }));
    }
    for (sign, turned) in [(" > ", " < "), (" == ", " != ")] {
        for (at, _) in rule.expr.match_indices(sign) {
            let (before, after) = (&rule.expr[..at], &rule.expr[at + sign.len()..]);
            let expr = [before, turned, after].concat();
            defects.push((format!("{sign}at {at} is turned"), with(expr)));
        }
    }
    for (at, sign) in rule.expr.match_indices("> ") {
        let (before, limit) = rule.expr.split_at(at + sign.len());
        // Ten times nothing is nothing.
        if limit.split_whitespace().next().is_some_and(|number| number.trim_end_matches(')') != "0")
        {
            for other in ["10 * ", "0.1 * "] {
                defects.push((format!("{other}{limit}"), with([before, other, limit].concat())));
            }
        }
    }
    for selector in selectors(&rule.expr) {
        let name = metric(&selector);
        let other = selector.replacen(name, &format!("{name}_x"), 1);
        defects.push((format!("{name} is misspelt"), with(rule.expr.replace(&selector, &other))));
    }
    defects
}

/// Whether the cases of an alert hold with these rules.
fn cases_hold(rule: &Rule, records: &[Rule]) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let asked = selectors(&rule.expr);
    let needed = records.iter().filter(|record| asked.contains(&record.record));
    let groups = json!({"groups": [
        {"name": "biometric-bridge-objectives", "rules": needed.collect::<Vec<_>>()},
        {"name": "biometric-bridge", "rules": [rule]},
    ]});
    // What is JSON is YAML, too.
    std::fs::write(folder.path().join("alerts.yaml"), groups.to_string()).expect("written");
    let cases = read(&root().join(TESTS).join(format!("{}{ENDING}", rule.alert)));
    assert!(cases.contains(RULES), "{}: its cases have other rules", rule.alert);
    let cases = cases.replace(RULES, "alerts.yaml");
    std::fs::write(folder.path().join("cases.yaml"), cases).expect("written");
    let output = told(folder.path(), &["test", "rules", "cases.yaml"]);
    if output.status.success() { Ok(()) } else { Err(said(&output)) }
}

#[test]
fn an_expression_that_is_wrong_is_noticed() {
    if !watchers_are_there() {
        return;
    }
    let (alerts, records) = rules();
    let tries: Vec<(&Rule, String, Rule)> = alerts
        .iter()
        .flat_map(|rule| defects(rule).into_iter().map(move |(what, wrong)| (rule, what, wrong)))
        .collect();
    assert!(tries.len() > 5 * alerts.len(), "{} defects only", tries.len());
    let halves = tries.split_at(tries.len() / 2);
    let unnoticed: Vec<String> = std::thread::scope(|scope| {
        let look = |tries: &[(&Rule, String, Rule)]| -> Vec<String> {
            let missed = tries.iter().filter(|(_, _, wrong)| {
                let failed = cases_hold(wrong, &records).err();
                // A file that promtool cannot read notices nothing.
                failed.is_none_or(|said| !said.contains("FAILED") || !said.contains("exp"))
            });
            missed.map(|(rule, what, _)| format!("{}: {what}", rule.alert)).collect()
        };
        let other = scope.spawn(move || look(halves.1));
        let mut missed = look(halves.0);
        missed.extend(other.join().expect("it does not panic"));
        missed
    });
    assert!(unnoticed.is_empty(), "of {} defects nobody noticed {unnoticed:#?}", tries.len());
    for rule in &alerts {
        cases_hold(rule, &records).expect("without a defect the cases hold");
    }
}
