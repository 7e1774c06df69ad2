//! The examples as people who build on the bridge would run them: each as a program of its own beside a running
//! bridge, which goes away, comes back and cuts it off.

mod codes;
mod doors;
mod follower;
mod following;
mod graph;
mod line;

use crate::support::{files, read, root};

#[test]
fn every_example_names_what_it_needs_to_the_version() {
    for example in ["python", "langgraph"] {
        let folder = root().join("examples").join(example);
        let (project, pinned) =
            (read(&folder.join("pyproject.toml")), read(&folder.join("requirements.txt")));
        let quoted = project.split('"').filter(|text| text.contains("=="));
        let wanted: Vec<&str> = quoted.filter(|text| !text.starts_with("biometric-")).collect();
        assert!(!wanted.is_empty());
        for package in wanted {
            let line = package.replace("[binary]", "") + " \\";
            assert!(pinned.lines().any(|its| its == line), "{example}: {line}");
        }
        let unhashed = pinned.lines().filter(|line| line.contains("==") && !line.ends_with('\\'));
        assert_eq!(unhashed.count(), 0, "each has its digests");
    }
    let package = read(&root().join("examples/typescript/package.json"));
    let package: serde_json::Value = serde_json::from_str(&package).expect("JSON");
    for kind in ["dependencies", "devDependencies"] {
        for (name, version) in package[kind].as_object().expect("an object") {
            let version = version.as_str().expect("a text");
            assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{name} {version}");
        }
    }
}

#[test]
fn the_examples_can_be_read() {
    for ending in [".py", ".ts", ".sql"] {
        let sources = files("examples", ending);
        assert!(!sources.is_empty(), "{ending}");
        for path in sources {
            let lines = read(&path).lines().count();
            assert!(lines < 200, "{} has {lines} lines", path.display());
        }
    }
}
