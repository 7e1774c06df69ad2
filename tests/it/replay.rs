//! `replay` as a user meets it: good and bad logs, files and pipes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{bridge, heart_rate, run, stderr, stdout};

fn outcomes(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn an_empty_log_gives_nothing() {
    for options in [&["replay"][..], &["replay", "--state"], &["replay", "--explain"]] {
        let output = run(options, "");
        assert!(output.status.success());
        assert_eq!((stdout(&output), stderr(&output)), ("", ""));
    }
}

#[test]
fn a_switch_says_why_in_words_and_data() {
    let log: String = (0..=10).map(|minute| heart_rate("u1", minute, 110)).collect();
    let output = run(&["replay", "--explain"], &log);
    let lines = outcomes(stdout(&output));
    let switch = &lines[10];
    assert_eq!(switch["kind"], "switched");
    assert_eq!(switch["reason"], "heart_rate_elevated");
    let text = switch["text"].as_str().expect("a text");
    assert!(text.starts_with(
        "Switched from pattern to reflex: heart rate is 110 beats/min, above 100 for 10 min."
    ));
    let rule = &switch["explanation"]["rules"][2];
    assert_eq!((&rule["id"], &rule["status"]), (&"heart_rate_elevated".into(), &"fired".into()));
    assert_eq!(rule["margin"], -10.0);
}

#[test]
fn a_malformed_line_is_named_and_stops_with_65_after_what_was_good() {
    let good = heart_rate("u1", 0, 60);
    for (bad, problem) in [
        ("{", "not JSON"),
        ("[]", "a list"),
        ("{\"value\":{}}", "a field has the wrong type or is missing"),
        ("\u{feff}{\"record_time_ms\":1,\"value\":{}}", "it begins with a byte order mark"),
        ("{\"record_time_ms\":1}", "a field has the wrong type or is missing"),
        ("{\"record_time_ms\":\"x\",\"value\":{}}", "a field has the wrong type or is missing"),
        ("{\"record_time_ms\":1,\"value\":\"\\ud800\"}", "`value` is not a valid string"),
        ("\u{0}", "not JSON"),
    ] {
        let output = run(&["replay"], &format!("{good}\n{bad}\n{good}"));
        assert_eq!(output.status.code(), Some(65), "{bad}");
        assert_eq!(stdout(&output).lines().count(), 1, "{bad}");
        let message = stderr(&output);
        assert!(message.contains("standard input, line 3: "), "{message}");
        assert!(message.contains(problem) && message.contains("--keep-going"), "{message}");
    }
}

#[test]
fn malformed_lines_are_skipped_when_asked_and_keep_their_numbers() {
    let log = format!("{}nonsense\n{}", heart_rate("u1", 0, 60), heart_rate("u1", 1, 61));
    let output = run(&["replay", "--keep-going"], &log);
    assert!(output.status.success());
    let numbers: Vec<_> = outcomes(stdout(&output)).iter().map(|line| line["i"].clone()).collect();
    assert_eq!(numbers, [0, 2]);
    assert!(stderr(&output).contains("standard input, line 2: "));
    assert!(stderr(&output).contains("1 malformed line was skipped"));
}

#[test]
fn no_message_quotes_the_log() {
    let log = "{\"record_time_ms\":\"secret-1\",\"value\":{\"user_id\":\"secret-2\"}}\nsecret-3\n";
    let output = run(&["replay", "--keep-going"], log);
    assert!(!stderr(&output).contains("secret"), "{}", stderr(&output));
}

#[test]
fn a_line_over_the_limit_is_malformed_and_the_next_one_is_read() {
    let long = "x".repeat(17 << 20);
    let output = run(&["replay", "--keep-going"], &format!("{long}\n{}", heart_rate("u1", 0, 60)));
    assert!(stderr(&output).contains("line 1: longer than 16777216 bytes"));
    assert_eq!(outcomes(stdout(&output))[0]["i"], 1);
}

#[test]
fn several_files_are_one_log_and_a_malformed_line_names_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a readable path").to_owned()
    };
    let monday = path("monday.ndjson", &heart_rate("u1", 0, 60));
    let tuesday = path("tuesday.ndjson", &format!("{}x\n", heart_rate("u2", 0, 60)));
    let output = run(&["replay", &monday, &tuesday], "");
    assert_eq!(output.status.code(), Some(65));
    let numbers: Vec<_> = outcomes(stdout(&output)).iter().map(|line| line["i"].clone()).collect();
    assert_eq!(numbers, [0, 1]);
    assert!(stderr(&output).contains("tuesday.ndjson, line 2: "), "{}", stderr(&output));
}

#[test]
fn one_user_can_be_asked_for() {
    let log: String =
        (0..4).map(|minute| heart_rate(["u1", "u2"][minute as usize % 2], minute, 60)).collect();
    let rejected = "{\"record_time_ms\":1,\"value\":{\"user_id\":\"u2\"}}\n{\"record_time_ms\":1,\"value\":[]}\n";
    let log = log + rejected;
    let output = run(&["replay", "--user", "u2"], &log);
    let lines = outcomes(stdout(&output));
    let seen: Vec<_> = lines.iter().map(|line| (line["i"].clone(), line["kind"].clone())).collect();
    let expected = [(1, "unchanged"), (3, "unchanged"), (4, "rejected")];
    assert_eq!(seen, expected.map(|(i, kind)| (i.into(), kind.into())));
    assert_eq!(lines[2]["mode"], "pattern", "a rejected record leaves its user's mode");
    let states = run(&["replay", "--user", "u2", "--state"], &log);
    assert_eq!(stdout(&states).lines().count(), 1);
}

#[test]
fn a_user_of_whom_there_is_no_record_is_said_to_be_none() {
    let output = run(&["replay", "--user", "u3"], &heart_rate("u1", 0, 60));
    assert!(output.status.success());
    assert!(stderr(&output).contains("no record is of the user asked for"));
}

#[test]
fn a_dash_is_standard_input_and_a_missing_log_is_told_first() {
    let log = heart_rate("u1", 0, 60);
    assert_eq!(stdout(&run(&["replay", "-"], &log)), stdout(&run(&["replay"], &log)));
    assert!(run(&["replay", "-", "-"], &log).status.success(), "its end is reached once");
    let output = run(&["replay", "-", "no-such-log.ndjson"], &log);
    assert_eq!((output.status.code(), stdout(&output)), (Some(66), ""));
}

#[test]
fn states_are_ordered_by_the_bytes_of_the_user_id() {
    let log: String =
        ["é", "b", "a", "B", "\u{10000}", "\u{ffff}"].map(|user| heart_rate(user, 0, 60)).concat();
    let output = run(&["replay", "--state"], &log);
    let users: Vec<_> =
        outcomes(stdout(&output)).iter().map(|line| line["user_id"].clone()).collect();
    assert_eq!(users, ["B", "a", "b", "é", "\u{ffff}", "\u{10000}"]);
}

#[test]
fn times_without_an_offset_are_read_in_the_zone_that_is_asked_for() {
    let log = "{\"record_time_ms\":1740988802000,\"value\":{\"user_id\":\"u\",\"device_type\":\"ring\",\"timestamp\":\"2025-03-03T09:00:00\",\"metrics\":{\"heart_rate\":60}}}\n";
    let clock = |options: &[&str]| {
        let output = run(&[&["replay", "--state"], options].concat(), log);
        outcomes(stdout(&output)).first().map(|state| state["clock"].clone())
    };
    let eight = Some("2025-03-03T08:00:00.000000Z".into());
    assert_eq!(clock(&["--naive-timestamps", "Europe/Berlin"]), eight);
    assert_eq!(clock(&["--naive-timestamps", "ring=Europe/Berlin"]), eight);
    assert_eq!(clock(&[]), None, "in UTC it lies in the future");
    let output = run(&["replay", "--naive-timestamps", "Mars/Olympus"], "");
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("no zone of the IANA database"));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let program = env!("CARGO_BIN_EXE_biometric-bridge");
    let mut child = Command::new(program)
        .arg("replay")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let log: String = (0..5_000).map(|minute| heart_rate("u1", minute, 60)).collect();
    let mut input = child.stdin.take().expect("a pipe");
    // The program may stop reading at any moment: that is what is tested.
    input.write_all(log.as_bytes()).ok();
    drop(input);
    let output = child.wait_with_output().expect("the program ends");
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(stderr(&output), "");
}

#[test]
fn what_cannot_be_opened_or_written_says_so() {
    let output = run(&["replay", "no-such-log.ndjson"], "");
    assert_eq!(output.status.code(), Some(66));
    assert!(stderr(&output).contains("cannot open no-such-log.ndjson: No such file"));
    let output = run(&["replay", "src"], "");
    assert_eq!(output.status.code(), Some(74), "a folder cannot be read");
    let full = std::fs::File::create("/dev/full").expect("a full device");
    let output = Command::new(env!("CARGO_BIN_EXE_biometric-bridge"))
        .args(["replay", "tests/data/golden/people.ndjson"])
        .current_dir(crate::support::root())
        .stdout(full)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(74));
    assert!(stderr(&output).contains("cannot write the output: No space left"));
}

#[test]
fn states_and_explanations_exclude_each_other() {
    let output = bridge(&["replay", "--state", "--explain"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(64));
}
