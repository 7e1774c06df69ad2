//! The command `keys`: a key file is made once, for its owner, and never overwritten.

use biometric_bridge::seal::key_file::KeyFile;

use crate::support::{run, stderr, stdout};

#[test]
fn a_generated_key_file_is_for_its_owner_only_and_says_how_to_use_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.txt");
    let name = path.to_str().expect("a readable path");
    let output = run(&["keys", "generate", "--output", name], "");
    assert!(output.status.success(), "{}", stderr(&output));
    let keys = KeyFile::read(&path).expect("a key file");
    let shown = stdout(&output);
    for part in [keys.active_name(), &format!("KEY_FILE={name}"), "Back the file up"] {
        assert!(shown.contains(part), "{shown}");
    }
    let text = keys.to_text();
    let key = text.trim_end().rsplit(' ').next().expect("a key");
    assert!(!shown.contains(key) && !stderr(&output).contains(key));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).expect("the file is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_key_file_that_exists_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.txt");
    std::fs::write(&path, "precious").expect("a file");
    let name = path.to_str().expect("a readable path");
    let output = run(&["keys", "generate", "--output", name], "");
    assert_eq!(output.status.code(), Some(73));
    assert!(stderr(&output).contains("exists"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&path).expect("the file is there"), "precious");
    let nowhere = folder.path().join("no/such/folder");
    let name = nowhere.to_str().expect("a readable path");
    assert_eq!(run(&["keys", "generate", "--output", name], "").status.code(), Some(73));
}

#[test]
fn without_a_file_the_content_of_one_is_printed_and_nothing_else() {
    for arguments in [&["keys", "generate"][..], &["keys", "generate", "--output", "-"]] {
        let output = run(arguments, "");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.txt");
        std::fs::write(&path, &output.stdout).expect("a file");
        let keys = KeyFile::read(&path).expect("a key file");
        assert_eq!(keys.to_text().as_str(), stdout(&output));
        assert_eq!(stderr(&output), "");
    }
}
