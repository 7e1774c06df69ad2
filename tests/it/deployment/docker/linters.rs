//! The linters that others wrote, over the image, the compose file and the workflow.

use std::path::Path;
use std::process::{Command, Output};

use crate::servers::{Servers, tool};
use crate::support::{read, root, stdout};

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
    finds_only_what_is_planted("hadolint", &arguments, "docker/Dockerfile", plant);
}

#[test]
fn the_compose_file_fits_the_schema_of_compose() {
    let plant = ("cap_drop: [ALL]", "cap_dropp: [ALL]", "cap_dropp");
    let arguments = ["--builtin-schema", "vendor.compose-spec"];
    finds_only_what_is_planted("check-jsonschema", &arguments, "docker/compose.yaml", plant);
}

#[test]
fn the_workflow_fits_the_schema_of_workflows() {
    let plant = ("    timeout-minutes: ", "    time-out-minutes: ", "time-out-minutes");
    let arguments = ["--builtin-schema", "vendor.github-workflows"];
    finds_only_what_is_planted("check-jsonschema", &arguments, ".github/workflows/ci.yml", plant);
}
