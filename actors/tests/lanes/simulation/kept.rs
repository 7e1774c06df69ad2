//! Plans that are kept: written as lines of JSON, which no later change of how plans are drawn alters. It
//! draws and plays nothing.

use actors::lane::{Lane, Source};
use actors::rows::Sink;
use serde::{Deserialize, Serialize};

use super::plan::{Action, Plan, Setting};

/// Where they lie, one a file.
pub(super) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lanes/simulation/kept");

#[derive(Serialize, Deserialize)]
#[serde(remote = "Lane")]
pub(super) struct LaneText(i32);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Source")]
pub(super) enum SourceText {
    Events,
    ByUser,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Sink")]
pub(super) enum SinkText {
    Transitions,
    Alerts,
    DeadLetters,
    Peer,
}

/// A plan as text: the setting, then the actions, one a line.
pub(super) fn text_of(plan: &Plan) -> String {
    let setting = serde_json::to_string(&plan.setting).unwrap();
    let actions = plan.actions.iter().map(|action| serde_json::to_string(action).unwrap());
    let lines: Vec<String> = std::iter::once(setting).chain(actions).collect();
    lines.join("\n") + "\n"
}

/// The plan of such a text.
pub(super) fn plan_of(text: &str) -> Plan {
    let mut lines = text.lines();
    let setting: Setting = serde_json::from_str(lines.next().unwrap()).unwrap();
    let actions = lines.map(|line| serde_json::from_str::<(u64, Action)>(line).unwrap());
    Plan { setting, actions: actions.collect() }
}

/// All that are kept, by name.
pub(super) fn all() -> Vec<(String, Plan)> {
    let files = std::fs::read_dir(FOLDER).unwrap().map(|file| file.unwrap().path());
    let mut plans: Vec<(String, Plan)> = files
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, plan_of(&std::fs::read_to_string(path).unwrap()))
        })
        .collect();
    plans.sort_by(|one, other| one.0.cmp(&other.0));
    plans
}

#[test]
fn a_plan_comes_back_from_its_text_as_it_was() {
    for seed in 0..50 {
        let text = text_of(&Plan::of(seed));
        assert_eq!(text_of(&plan_of(&text)), text, "seed {seed}");
    }
}
