//! The runbook: a section for each alert and no other, each in the same order, with commands that exist.

use super::alerts::rules;
use super::dashboards::{dashboards, panels};
use crate::support::{bridge, read, root};

/// What each section says, in this order.
const PARTS: [&str; 5] = [
    "**Symptom.**",
    "**What it means.**",
    "**What to look at.**",
    "**What to do.**",
    "**When it is over.**",
];

pub(super) fn text() -> String {
    read(&root().join("docs/runbook.md"))
}

/// Title and text of each section about an alert.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let (_, alerts) = text.split_once("\n## The alerts\n").expect("a chapter of alerts");
    let alerts = alerts.split_once("\n## ").map_or(alerts, |(alerts, _)| alerts);
    let sections = alerts.split("\n### ").skip(1);
    sections.map(|section| section.split_once('\n').expect("a title and a text")).collect()
}

/// What a heading is found by, as GitHub and most others make it.
pub(super) fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let words = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    words.map(|words| words.replace(' ', "-").replace([',', ':', '.'], "")).collect()
}

#[test]
fn each_alert_has_its_section_and_each_section_its_alert() {
    let text = text();
    let titles: Vec<&str> = sections(&text).into_iter().map(|(title, _)| title).collect();
    let (alerts, _) = rules();
    let alerts: Vec<&str> = alerts.iter().map(|rule| rule.alert.as_str()).collect();
    assert_eq!(titles, alerts, "in the order of config/alerts.yaml");
    for (title, section) in sections(&text) {
        let mut at = 0;
        for part in PARTS {
            let found = section[at..].find(part).unwrap_or_else(|| panic!("{title}: no {part}"));
            at += found + part.len();
            let said = section[at..].split("\n**").next().unwrap_or_default().trim();
            assert!(said.len() > 20, "{title}: {part} says nothing");
        }
    }
}

/// What the runbook has somebody type: each command of the program, without what stands before and behind it.
fn commands(text: &str) -> Vec<&str> {
    let typed = text.lines().filter_map(|line| line.strip_prefix("$ ")).map(|line| {
        let line = line.split_once("  #").map_or(line, |(line, _)| line);
        line.split_once(" | ").map_or(line, |(line, _)| line).trim()
    });
    typed.filter_map(|line| line.strip_prefix("biometric-bridge ")).collect()
}

#[test]
fn each_command_of_the_runbook_and_each_of_its_flags_exists() {
    let text = text();
    let commands = commands(&text);
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        let is_of_a_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        let words = command.split(' ').take_while(|word| !word.starts_with('-'));
        let mut words: Vec<&str> = words.take_while(is_of_a_name).collect();
        words.push("--help");
        let output = bridge(&words).output().expect("the program starts");
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command}: there is no such command");
        for flag in command.split([' ', '=']).filter(|word| word.starts_with("--")) {
            let is_there = help.split([' ', '\n', ',', '=']).any(|word| word == flag);
            assert!(is_there, "{command}: there is no {flag}");
        }
    }
}

#[test]
fn panels_that_the_runbook_names_are_on_a_dashboard() {
    let text = text();
    let prose: Vec<&str> = text.lines().filter(|line| !line.starts_with("$ ")).collect();
    let prose = prose.join(" ");
    let quoted = prose.split('"').skip(1).step_by(2);
    let named: Vec<&str> = quoted.filter(|words| words.starts_with(char::is_uppercase)).collect();
    assert!(named.len() > 15, "{named:?}");
    let dashboards = dashboards();
    let panels = || dashboards.iter().flat_map(|(_, dashboard)| panels(dashboard));
    for name in named {
        let is_field = name == "Runbook";
        assert!(is_field || panels().any(|panel| panel["title"] == name), "no panel is {name}");
    }
}

#[test]
fn links_of_the_runbook_lead_somewhere() {
    let (text, folder) = (text(), root().join("docs"));
    for link in text.split("](").skip(1) {
        let target = link.split(')').next().unwrap_or_default();
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() { "runbook.md" } else { file };
        assert!(folder.join(file).exists(), "{target}");
        let is_there =
            |anchor: &str| anchors(&read(&folder.join(file))).iter().any(|its| its == anchor);
        assert!(anchor.is_empty() || is_there(anchor), "{target}");
    }
}
