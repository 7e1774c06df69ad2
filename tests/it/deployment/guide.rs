//! `docs/deployment.md`, walked: its commands are run in their order against real servers, those that need something
//! else are read, and what it names is there.

mod brokers;
mod page;
mod restore;
mod shell;

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::servers::{Kafka, Port, Postgres, Servers};
use crate::support::{files, read, root, run, stderr};
use page::{Block, blocks};
use shell::Shell;

/// Variables of the guide whose values are the site's own; `at` is where our port is.
fn places(brokers: &[Kafka], postgres: &Postgres, at: &str) -> BTreeMap<String, String> {
    let brokers: Vec<String> = brokers.iter().map(Kafka::bootstrap).collect();
    let database = || postgres.database();
    let places = [
        ("KAFKA_BOOTSTRAP_SERVERS", brokers.join(",")),
        ("POSTGRES_URL", database()),
        ("KEYS_URL", database()),
        ("REDIS_URL", format!("{}7", Servers::shared().redis.url())),
        ("HTTP_BIND", at.to_owned()),
        ("BRIDGE", format!("https://{}", at.replace("127.0.0.1", "localhost"))),
        ("RESTORED_URL", database()),
        ("RESTORED_KEYS_URL", database()),
    ];
    places.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Gives the variables of a block values that lead somewhere.
fn set_out(shell: &mut Shell, block: &Block, places: &mut BTreeMap<String, String>) {
    for command in &block.commands {
        let name = command.text.strip_prefix("export ").and_then(|text| text.split_once('='));
        let (name, _) = name.unwrap_or_else(|| panic!("{}: no place", command.place));
        let value = places.remove(name);
        let value = value.unwrap_or_else(|| panic!("{}: what is {name}?", command.place));
        let (said, code) = shell.ends(&format!("export {name}='{value}'"));
        assert_eq!(code, 0, "{said:?}");
    }
}

#[test]
fn every_command_of_the_guide_works_in_its_order() {
    if !Servers::available_for_the_guide() {
        return;
    }
    // A physical copy is one of a whole server.
    let (brokers, postgres) = (Kafka::start_three(), Postgres::start(false));
    let port = Port::new().expect("a port is free");
    let at = format!("127.0.0.1:{}", port.number);
    let mut places = places(&brokers, &postgres, &at);
    let mut shell = Shell::start(|_| {});
    std::fs::write(shell.folder().join("event.py"), page::program()).expect("written");
    for block in blocks().iter().filter(|block| block.runs_here()) {
        match block.is("places") {
            true => set_out(&mut shell, block, &mut places),
            false => block.commands.iter().for_each(|command| _ = shell.run(command)),
        }
    }
    assert!(places.is_empty(), "the guide does not say where these are: {places:?}");
    has_three_copies(&brokers);
}

/// What the guide's commands have made survives the loss of a broker.
fn has_three_copies(brokers: &[Kafka]) {
    let consumer: BaseConsumer = brokers[0].client().create().expect("a consumer can be made");
    let metadata = consumer.fetch_metadata(None, std::time::Duration::from_secs(30));
    let metadata = metadata.expect("the brokers answer");
    let ours = metadata.topics().iter().filter(|its| !its.name().starts_with("__"));
    let copies: BTreeMap<&str, Vec<usize>> = ours
        .map(|its| (its.name(), its.partitions().iter().map(|it| it.replicas().len()).collect()))
        .collect();
    // Of the group, and of one more shard.
    assert_eq!(copies.len(), 12, "{copies:?}");
    assert!(copies.values().flatten().all(|copies| *copies == 3), "{copies:?}");
    let partitions = ["biometric.events", "biometric.events.by-user", "biometric.events.s2"];
    assert_eq!(partitions.map(|topic| copies[topic].len()), [15, 15, 12]);
}

#[test]
fn most_commands_of_the_guide_are_run() {
    let (mut walked, mut looked_at) = (0, 0);
    for block in blocks() {
        assert!(block.commands.iter().all(|it| !it.text.contains("|| true")), "a failure is one");
        *if block.runs_here() { &mut walked } else { &mut looked_at } += block.commands.len();
    }
    let both = format!("{walked} commands are run, {looked_at} are not");
    assert!(walked >= 80 && walked >= 2 * looked_at, "{both}");
}

/// The words of a command, as a shell takes them, up to what is behind the end of each of its parts.
fn parts(text: &str) -> Vec<Vec<String>> {
    let mut parts = vec![Vec::new()];
    let (mut word, mut quote) = (None::<String>, None);
    for letter in text.chars().chain([' ']) {
        match (letter, quote) {
            (its, Some(open)) if its == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (' ' | '\n' | '\\' | ';' | '|' | '&' | '(' | ')' | '>' | '<', None) => {
                let part = parts.last_mut().expect("there is one");
                part.extend(word.take());
                if !matches!(letter, ' ' | '\n' | '\\') {
                    parts.push(Vec::new());
                }
            }
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    parts
}

/// The arguments of each call of our program in a command: behind a word that is its name alone.
fn calls(text: &str) -> Vec<Vec<String>> {
    let of = |part: Vec<String>| {
        let ours = part.iter().position(|word| word == "biometric-bridge")?;
        let words = part.into_iter().skip(ours + 1);
        Some(words.take_while(|word| !word.starts_with('#')).collect::<Vec<_>>())
    };
    parts(text).into_iter().filter_map(of).collect()
}

/// Commands of ours that have commands or arguments of their own.
const COMMANDS: [&str; 16] = [
    "alerts",
    "audit",
    "config",
    "dlq",
    "erase",
    "explain",
    "export",
    "gaps",
    "keys",
    "migrate",
    "quarantine",
    "send",
    "state",
    "tokens",
    "topics",
    "user",
];

/// The program knows all arguments of a call, and takes what they are set to.
fn has_these_arguments(place: &str, call: &[String]) {
    let mut arguments: Vec<&str> = call.iter().map(String::as_str).collect();
    arguments.push("--help");
    let output = run(&arguments, "");
    assert!(output.status.success(), "{place}: {call:?}: {}", stderr(&output));
}

#[test]
fn commands_of_ours_that_are_only_read_have_arguments_that_there_are() {
    let blocks = blocks();
    let read = blocks.iter().filter(|block| !block.runs_here()).flat_map(|block| &block.commands);
    let in_blocks = read.map(|command| (command.place.clone(), command.text.clone()));
    let mut seen = [0, 0];
    for (place, text) in in_blocks {
        for call in calls(&text) {
            has_these_arguments(&place, &call);
            seen[0] += 1;
        }
    }
    // In the text a command may stand without our name before it.
    for (place, text) in page::quoted() {
        let words = text.strip_prefix("biometric-bridge ").unwrap_or(&text);
        let call: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        if call.len() > 1 && COMMANDS.contains(&call[0].as_str()) {
            has_these_arguments(&place, &call);
            seen[1] += 1;
        }
    }
    assert!(seen[0] >= 3 && seen[1] >= 20, "{seen:?} calls");
    let wrong = ["topics", "create", "--partitons", "12", "--help"];
    assert!(!run(&wrong, "").status.success(), "a wrong flag is found");
}

#[test]
fn calls_are_found_wherever_they_stand() {
    let text = "kubectl exec deploy/biometric-bridge -- biometric-bridge user tag 'a b' | grep x; \
                biometric-bridge run # as it is";
    let found: Vec<String> = calls(text).iter().map(|call| call.join("+")).collect();
    assert_eq!(found, ["user+tag+a b", "run"]);
}

/// Folders of the project whose files the guide names.
const FOLDERS: [&str; 9] =
    ["actors", "bench", "charts", "config", "docker", "docs", "examples", "src", "tests"];

#[test]
fn every_file_that_the_guide_names_is_there() {
    let mut seen = 0;
    for text in page::PAGES.map(|page| read(&root().join(page))) {
        let is_of_path = |letter: char| letter.is_ascii_alphanumeric() || "._-/*".contains(letter);
        for word in text.split(|letter| !is_of_path(letter)) {
            let word = word.trim_end_matches('.');
            let Some((folder, rest)) = word.split_once('/') else { continue };
            if !FOLDERS.contains(&folder) || rest.is_empty() {
                continue;
            }
            seen += 1;
            match word.split_once("/*") {
                Some((folder, ending)) => {
                    assert!(!files(folder, ending).is_empty(), "{word}: there are none");
                }
                None => assert!(root().join(word).exists(), "{word} is not there"),
            }
        }
    }
    assert!(seen >= 10, "{seen} files");
}
