//! What the tests share: the program, the project's files, and logs made on the spot.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;

/// The program under test, run in the project's root.
pub(crate) fn bridge(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_biometric-bridge"));
    command.current_dir(root()).args(arguments);
    command
}

/// Runs the program with `input` on its standard input.
pub(crate) fn run(arguments: &[&str], input: &str) -> Output {
    bridge(arguments).write_stdin(input).output().expect("the program starts")
}

/// The project's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Folders of what is made or fetched.
const NOT_OURS: [&str; 6] = ["target", "corpus", "artifacts", "node_modules", "dist", "venv"];

/// Every file below `folder` of the project whose name ends with `ending`, in order.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is readable") {
            let path = entry.expect("the entry is readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match path.is_dir() {
                true if NOT_OURS.contains(&name) => {}
                true => folders.push(path),
                false if name.ends_with(ending) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("the output is UTF-8")
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("the messages are UTF-8")
}

/// A log line of `user` with one heart rate, `minutes` after 2025-03-03T08:00:00Z.
pub(crate) fn heart_rate(user: &str, minutes: u64, beats: u32) -> String {
    let seconds = 1_740_988_800 + minutes * 60;
    format!(
        "{{\"record_time_ms\":{seconds}000,\"value\":{{\"user_id\":\"{user}\",\"device_id\":\"d\",\
         \"timestamp\":{seconds},\"metrics\":{{\"heart_rate\":{beats}}}}}}}\n"
    )
}
