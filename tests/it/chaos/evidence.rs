//! What is kept of a run that failed.

use std::path::{Path, PathBuf};

/// Writes texts to a folder of the run, and gives where that is.
pub(super) fn keep(seed: u64, texts: &[(String, String)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}"));
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    for (name, text) in texts {
        std::fs::write(folder.join(name), text).expect("a log can be kept");
    }
    folder
}
