//! The rules of the workflow: nothing in it can change what others have released, and it may do little.

use serde_json::Value;

use crate::deployment::each_is_noticed;
use crate::support::{files, read, root};

/// Who makes the actions that we use: the less, the better.
const MAKERS: [&str; 2] = ["actions/", "docker/"];

/// What is wrong with a workflow.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for line in text.lines() {
        let Some((_, used)) = line.split_once("uses: ") else { continue };
        let (action, comment) = used.split_once(" # ").unwrap_or((used, ""));
        let commit = action.split_once('@').map_or("", |(_, commit)| commit);
        if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            faults.push(format!("{action} is not pinned by a commit"));
        }
        if !comment.starts_with('v') || !MAKERS.iter().any(|maker| action.starts_with(maker)) {
            faults.push(format!("nobody knows which release of whom {action} is"));
        }
    }
    let workflow: Value = serde_saphyr::from_str(text).expect("a workflow");
    if workflow["permissions"] != serde_json::json!({ "contents": "read" }) {
        faults.push("it may do more than read".to_owned());
    }
    if workflow["on"].as_object().is_some_and(|on| on.contains_key("pull_request_target")) {
        faults.push("a stranger's change runs with our rights".to_owned());
    }
    for (name, job) in workflow["jobs"].as_object().expect("jobs") {
        if !job["permissions"].is_null() {
            faults.push(format!("{name} may do more than the others"));
        }
        if job["timeout-minutes"].is_null() {
            faults.push(format!("{name} may run for ever"));
        }
        if job["runs-on"].as_str().is_none_or(|machine| machine.ends_with("latest")) {
            faults.push(format!("{name} runs on whatever is newest"));
        }
        for step in job["steps"].as_array().expect("steps") {
            let is_checkout =
                step["uses"].as_str().is_some_and(|used| used.starts_with("actions/checkout@"));
            if is_checkout && step["with"]["persist-credentials"] != false {
                faults.push(format!("{name} leaves its token in the clone"));
            }
            let run = step["run"].as_str().unwrap_or_default();
            if run.contains("${{") {
                faults.push(format!("{name}: what others wrote becomes a part of a script: {run}"));
            }
            if ["curl ", "wget ", "| sh", "| bash"].iter().any(|word| run.contains(word)) {
                faults.push(format!("{name}: {run} runs what nobody has pinned"));
            }
        }
    }
    faults
}

#[test]
fn the_workflow_obeys_its_rules_and_each_rule_notices_what_it_is_for() {
    let checkout = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1";
    let plants = [
        (checkout, "actions/checkout@v7 # v7.0.1", "is not pinned by a commit"),
        (checkout, "actions/checkout@3d3c42e5aac5 # v7.0.1", "is not pinned by a commit"),
        (" # v7.0.1", "", "nobody knows which release"),
        (
            checkout,
            "someone/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
            "release of whom",
        ),
        ("  contents: read", "  contents: write", "more than read"),
        ("permissions:\n  contents: read\n", "", "more than read"),
        ("  pull_request:", "  pull_request_target:", "with our rights"),
        ("    timeout-minutes: 15\n", "", "secrets may run for ever"),
        (
            "    timeout-minutes: 15\n",
            "    timeout-minutes: 15\n    permissions: write-all\n",
            "more than the others",
        ),
        ("ubuntu-24.04", "ubuntu-latest", "whatever is newest"),
        ("persist-credentials: false", "fetch-depth: 1", "leaves its token"),
        ("run: .ci/run", "run: .ci/run ${{ github.head_ref }}", "part of a script"),
        ("run: .ci/run", "run: curl https://example.com/x | sh", "nobody has pinned"),
    ];
    each_is_noticed(&read(&root().join(".github/workflows/ci.yml")), faults, &plants);
    for other in files(".github/workflows", ".yml") {
        assert_eq!(faults(&read(&other)), Vec::<String>::new(), "{}", other.display());
    }
}

#[test]
fn the_workflow_runs_the_same_script_as_everywhere_and_what_only_it_can() {
    let workflow: Value = serde_saphyr::from_str(&read(&root().join(".github/workflows/ci.yml")))
        .expect("a workflow");
    let jobs = workflow["jobs"].as_object().expect("jobs").values();
    let steps = jobs.flat_map(|job| job["steps"].as_array().expect("steps"));
    let runs: Vec<&str> = steps.clone().filter_map(|step| step["run"].as_str()).collect();
    for script in [".ci/run", "docker/smoke.sh", "docker/sbom.sh image.tar sbom"] {
        assert!(runs.contains(&script), "{script}");
        let path = root().join(script.split(' ').next().unwrap_or_default());
        assert!(path.is_file(), "{script}");
    }
    assert!(runs.iter().any(|run| run.starts_with("make deny ")));
    let image = steps.clone().find(|step| step["with"]["sbom"] == true).expect("an image is built");
    assert_eq!(image["with"]["file"], "docker/Dockerfile");
    assert_eq!(image["with"]["provenance"], "mode=max");
}
