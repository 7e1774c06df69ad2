//! What the documents show is what the program says.

use serde_json::{Value, json};

use crate::support::{read, root, run, stdout};

/// Ada's morning, as `docs/decision-engine.md` tells it.
fn morning() -> String {
    let line = |minute: u64, hrv: u32, beats: u32| {
        let seconds = 1_740_988_800 + minute * 60;
        let value = json!({
            "user_id": "ada", "device_id": "ring", "event_type": "vitals", "timestamp": seconds,
            "metrics": {"hrv": hrv, "heart_rate": beats},
        });
        json!({"record_time_ms": (seconds + 1) * 1_000, "value": value}).to_string() + "\n"
    };
    let learning = (0..20).map(|minute| line(minute, 59, 62));
    let told = [(20, 44, 66), (21, 33, 71), (23, 52, 66), (24, 56, 64), (28, 57, 63)];
    learning.chain(told.map(|(minute, hrv, beats)| line(minute, hrv, beats))).collect()
}

#[test]
fn the_worked_example_is_what_the_engine_says() {
    let document = read(&root().join("docs/decision-engine.md"));
    let quoted: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    let output = run(&["replay", "--explain"], &morning());
    let said: Vec<String> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|line| line["text"].as_str().expect("a text").to_owned())
        .collect();
    let told = [19, 20, 21, 22, 24].map(|place: usize| said[place].as_str());
    assert_eq!(quoted, told);
    assert_eq!(said[22], said[23], "08:23 and 08:24 are told together");
}

#[test]
fn links_lead_somewhere() {
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/decision-engine.md",
        "docs/guarantees.md",
        "docs/api.md",
        "docs/coach.md",
        "docs/performance.md",
        "docs/decisions/README.md",
        "charts/biometric-bridge/README.md",
        "docs/decisions/0034-the-image-and-its-trial.md",
        "docker/README.md",
        "SECURITY.md",
        "examples/README.md",
        "examples/python/README.md",
        "examples/typescript/README.md",
        "examples/langgraph/README.md",
    ];
    for document in documents {
        let path = root().join(document);
        let folder = path.parent().expect("a folder").to_owned();
        for link in read(&path).split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            if !target.starts_with("http") {
                assert!(folder.join(target).exists(), "{document}: {target}");
            }
        }
    }
}

#[test]
fn the_readme_names_every_command() {
    let readme = read(&root().join("README.md"));
    for command in [
        "run",
        "demo",
        "migrate up",
        "topics create",
        "export log",
        "explain",
        "tail",
        "replay",
        "policy check",
        "policy show",
        "keys generate",
        "audit verify",
        "tokens new",
        "config check",
        "config defaults",
        "doctor",
        "send",
        "healthcheck",
        "completions",
    ] {
        assert!(readme.contains(&format!("biometric-bridge {command}")), "{command}");
    }
}
