//! Where what we ship comes from, and what must never be in the repository.

mod secrets;
mod workflow;

use std::process::Command;

use crate::support::{root, stdout};

/// Every file that git keeps here.
fn tracked() -> Vec<String> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let output = output.expect("git runs");
    assert!(output.status.success(), "this is no clone: {}", crate::support::stderr(&output));
    let files = stdout(&output).split('\0').filter(|file| !file.is_empty());
    let files: Vec<String> = files.map(str::to_owned).collect();
    assert!(files.len() > 500, "{} files", files.len());
    files
}
