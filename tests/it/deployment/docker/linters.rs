//! The linters that others wrote, over the image, the compose file and the workflow.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::servers::{Servers, tool};
use crate::support::{read, root, stderr, stdout};

fn lint(linter: &str, arguments: &[&str], file: &Path) -> Output {
    let mut command = Command::new(tool(linter));
    command.args(arguments).arg(file).current_dir(root());
    // check-jsonschema looks for a newer version of itself.
    command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    command.output().expect("the linter runs")
}

/// The linter finds nothing in a file, and something that it says in one that a line was replaced in.
fn finds_only_what_is_planted(
    linter: &str,
    arguments: &[&str],
    file: &str,
    (from, to, said): (&str, &str, &str),
) {
    if !Servers::available_with(&[linter]) {
        return;
    }
    let path = root().join(file);
    let clean = lint(linter, arguments, &path);
    assert!(clean.status.success(), "{file}: {}", stdout(&clean));
    let text = read(&path);
    assert!(text.contains(from), "there is no {from:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let planted = folder.path().join(path.file_name().expect("a name"));
    std::fs::write(&planted, text.replacen(from, to, 1)).expect("written");
    let found = lint(linter, arguments, &planted);
    assert!(!found.status.success() && stdout(&found).contains(said), "{}", stdout(&found));
}

#[test]
fn hadolint_finds_nothing_in_the_image() {
    let plant = ("ENTRYPOINT [\"/usr/local/bin/biometric-bridge\"]", "ENTRYPOINT bridge", "DL3025");
    let arguments = ["--no-color", "--failure-threshold", "style"];
    finds_only_what_is_planted("hadolint", &arguments, "docker/Dockerfile", plant);
}

#[test]
fn the_compose_file_fits_the_schema_of_compose() {
    let plant = ("cap_drop: [ALL]", "cap_dropp: [ALL]", "cap_dropp");
    let arguments = ["--builtin-schema", "vendor.compose-spec"];
    finds_only_what_is_planted("check-jsonschema", &arguments, "docker/compose.yaml", plant);
}

#[test]
fn compose_itself_understands_the_file_with_each_profile_alone_and_both() {
    if !Servers::available_with(&["compose-load"]) {
        return;
    }
    let file = root().join("docker/compose.yaml");
    let load = |file: &Path, profiles: &[&str]| {
        let output =
            Command::new(tool("compose-load")).arg(file).args(profiles).env_clear().output();
        let output = output.expect("it runs");
        let text = stdout(&output).to_owned();
        if output.status.success() { Ok(text) } else { Err(stderr(&output).to_owned()) }
    };
    let services = |profiles: &[&str]| -> Vec<String> {
        let text = load(&file, profiles).unwrap_or_else(|complaint| panic!("{complaint}"));
        let project: Value = serde_json::from_str(&text).expect("JSON");
        let limited = |its: &Value| its["deploy"]["resources"]["limits"]["memory"].is_string();
        let services = project["services"].as_object().expect("services");
        assert!(services.values().all(|its| limited(its) && its["read_only"] == true));
        services.keys().cloned().collect()
    };
    let core = ["bridge", "kafka", "migrate", "nginx", "postgres", "redis", "topics"];
    let observability = ["alertmanager", "grafana", "otel", "prometheus"];
    assert_eq!(services(&["core"]), core);
    assert_eq!(services(&["observability"]), observability);
    assert_eq!(services(&["core", "observability"]).len(), core.len() + observability.len());
    let folder = tempfile::tempdir().expect("a folder");
    let planted = folder.path().join("compose.yaml");
    let broken = read(&file).replace("secrets: [ca, kafka_keystore]", "secrets: [ca, keystore]");
    std::fs::write(&planted, broken).expect("written");
    let complaint = load(&planted, &["core"]).expect_err("there is no such secret");
    assert!(complaint.contains("undefined secret keystore"), "{complaint}");
}

#[test]
fn the_workflow_fits_the_schema_of_workflows() {
    let plant = ("    timeout-minutes: ", "    time-out-minutes: ", "time-out-minutes");
    let arguments = ["--builtin-schema", "vendor.github-workflows"];
    finds_only_what_is_planted("check-jsonschema", &arguments, ".github/workflows/ci.yml", plant);
}
