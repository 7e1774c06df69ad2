//! The complete, commented settings file, written from the table: `config/bridge.yaml`.

use super::declaration::Key;
use super::table::{KEYS, SECTIONS, Settings};

const HEAD: &str = "\
# The settings of the Biometric Bridge, each with its default.
#
# A key that is left out keeps its default; this file names them all. What is set later wins: the
# defaults, this file, the environment, the command line (--set KEY=VALUE). Faults are named all at
# once, each with its place and cure; what is in force and where it comes from is shown by
# `biometric-bridge config check`. This file is what `biometric-bridge config defaults` prints.
#
# The file is the one named by --config, else by the variable BRIDGE_CONFIG, else
# config/bridge.yaml, else /app/config/bridge.yaml.
#
# Every key has a variable, BRIDGE__ and the key in capitals: store.connections_max is set by
# BRIDGE__STORE__CONNECTIONS_MAX, kafka.topics.events by BRIDGE__KAFKA__TOPICS__EVENTS. Some have a
# shorter one, named below. A secret may stand in a file that the variable with _FILE names:
# POSTGRES_URL_FILE. An empty variable counts as absent; `null` takes a value away. Lists have commas
# in variables.
#
# Durations are numbers with units: d, h, m, s, ms (`36h`, `1m30s`); sizes have B, KiB, MiB or
# GiB.
";

/// The complete, commented settings file: every key with its meaning, bounds and default.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    let defaults = Settings::default();
    let mut current = "";
    for key in KEYS {
        let (section, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if section != current || section.is_empty() {
            text.push('\n');
            current = section;
        }
        let depth = section.split('.').filter(|part| !part.is_empty()).count();
        let indent = "  ".repeat(depth);
        if is_first(key, section) {
            let outer = indent.get(2..).unwrap_or_default();
            let (_, doc) = SECTIONS.iter().find(|(path, _)| *path == section).unwrap_or(&("", ""));
            comment(&mut text, outer, doc);
            let own = section.rsplit('.').next().unwrap_or_default();
            text.push_str(&format!("{outer}{own}:\n"));
        }
        comment(&mut text, &indent, key.doc);
        comment(&mut text, &indent, &kind(key));
        text.push_str(&format!("{indent}{name}: {}\n", key.show(&defaults)));
    }
    text
}

/// Whether `key` is the first of its section.
fn is_first(key: &Key, section: &str) -> bool {
    let of_section = |key: &Key| key.path.rsplit_once('.').is_some_and(|(own, _)| own == section);
    KEYS.iter().find(|key| of_section(key)).is_some_and(|first| first.path == key.path)
}

/// What a value must be, and the key's short variable.
fn kind(key: &Key) -> String {
    let mut line = format!("[{}", key.wanted());
    if let Some(variable) = key.variable {
        line.push_str("; ");
        line.push_str(variable);
    }
    line + "]"
}

fn comment(text: &mut String, indent: &str, lines: &str) {
    for line in lines.lines() {
        text.push_str(&format!("{indent}# {}\n", line.trim()));
    }
}
