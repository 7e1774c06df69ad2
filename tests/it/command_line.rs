//! The command line around the commands: help, usage errors, policies, completions.

use neuros::Policy;
use neuros::policy::KEYS;

use crate::support::{read, root, run, stderr, stdout};

#[test]
fn every_command_has_help_with_an_example() {
    for command in [
        &["run"][..],
        &["demo"],
        &["migrate", "up"],
        &["migrate", "down"],
        &["migrate", "status"],
        &["topics", "create"],
        &["topics", "adopt"],
        &["export"],
        &["explain"],
        &["tail"],
        &["replay"],
        &["policy", "check"],
        &["policy", "show"],
        &["keys", "generate"],
        &["keys", "list"],
        &["keys", "rewrap"],
        &["keys", "test"],
        &["keys", "rotate"],
        &["keys", "move"],
        &["erase"],
        &["erase", "verify-receipt"],
        &["audit", "init"],
        &["audit", "public-key"],
        &["audit", "list"],
        &["audit", "export"],
        &["audit", "verify"],
        &["tokens", "new"],
        &["user", "tag"],
        &["config", "check"],
        &["config", "defaults"],
        &["doctor"],
        &["send"],
        &["healthcheck"],
        &["completions"],
    ] {
        let output = run(&[command, &["--help"]].concat(), "");
        assert!(output.status.success());
        let help = stdout(&output);
        assert!(help.contains("Example"), "{command:?}: {help}");
        assert!(help.contains(&format!("biometric-bridge {}", command.join(" "))), "{help}");
    }
}

#[test]
fn wrong_usage_ends_with_64_and_help_and_version_with_0() {
    for (arguments, code) in [
        (&[][..], 64),
        (&["dance"], 64),
        (&["policy"], 64),
        (&["keys"], 64),
        (&["audit"], 64),
        (&["audit", "verify", "--export", "x"], 64),
        (&["replay", "--nonsense"], 64),
        (&["completions", "klingon"], 64),
        (&["--help"], 0),
        (&["--version"], 0),
        (&["help", "replay"], 0),
    ] {
        assert_eq!(run(arguments, "").status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["completions", shell], "");
        assert!(stdout(&output).contains("biometric-bridge"), "{shell}");
    }
}

#[test]
fn the_policy_file_names_every_key_with_its_default() {
    let text = read(&root().join("config/neuros.yaml"));
    let loaded = neuros::policy::Loaded::from_yaml(&text).expect("the file is valid");
    assert_eq!(loaded.policy, Policy::default());
    for (key, source) in KEYS.iter().zip(&loaded.sources) {
        assert_ne!(*source, neuros::policy::Source::Default, "{} is missing", key.path);
    }
}

#[test]
fn a_valid_policy_is_said_to_be_so_with_its_version() {
    let output = run(&["policy", "check", "config/neuros.yaml"], "");
    let version = Policy::default().version;
    assert_eq!(stdout(&output), format!("config/neuros.yaml: valid, version {version}\n"));
}

#[test]
fn an_invalid_policy_shows_all_its_faults_and_ends_with_78() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bad.yaml");
    std::fs::write(&path, "reflex: {drop_ms: 25ms}\nnonsense: 1\n").expect("a file");
    let path = path.to_str().expect("a readable path");
    for arguments in [&["policy", "check", path][..], &["replay", "--policy", path]] {
        let output = run(arguments, "");
        assert_eq!(output.status.code(), Some(78));
        let faults: Vec<&str> = stderr(&output).lines().skip(1).map(str::trim).collect();
        let expected = [
            "line 1: `reflex.drop_ms` is `25ms`; wanted is a number from 0 to 300",
            "line 2: `nonsense` is no key of the policy",
        ];
        assert_eq!(faults, expected);
    }
    assert_eq!(run(&["policy", "check", "no-such.yaml"], "").status.code(), Some(66));
}

#[test]
fn what_is_no_policy_file_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.to_str().expect("a readable path").to_owned()
    };
    let long = file("long.yaml", &[b'#'; (1 << 20) + 1]);
    let binary = file("binary.yaml", &[0xff, 0xfe]);
    for (path, problem) in [
        (long.as_str(), "longer than 1048576 bytes"),
        (binary.as_str(), "stream did not contain valid UTF-8"),
        ("src", "Is a directory"),
    ] {
        let output = run(&["policy", "check", path], "");
        assert_eq!(output.status.code(), Some(74), "{path}");
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
    }
}

#[test]
fn what_is_shown_says_where_each_value_is_from_and_is_a_policy_itself() {
    let policy = "tests/data/golden/policy2.yaml";
    let output = run(&["policy", "show", "--policy", policy], "");
    let shown = stdout(&output);
    assert!(shown.contains("  drop_ms: 25  # default\n"), "{shown}");
    assert!(shown.contains("  heart_rate: 95  # tests/data/golden/policy2.yaml:6\n"), "{shown}");
    let given = neuros::policy::Loaded::from_yaml(&read(&root().join(policy))).expect("valid");
    let reread = neuros::policy::Loaded::from_yaml(shown).expect("what is shown is valid");
    assert_eq!(reread.policy, given.policy);
    let built_in = run(&["policy", "show"], "");
    assert!(stdout(&built_in).starts_with("# version: "));
}
