//! Settings that are texts of some form: names, paths, secrets, servers, zones, the log's filter.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use neuros::wire::NaiveZones;
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;

use super::address::is_loopback;
use super::node::{Content, quoted};
use super::setting::{Setting, Wrong};

/// What a text must be.
pub(super) struct Form {
    is: fn(&str) -> bool,
    wanted: &'static str,
}

/// A short name, such as that of a consumer group or an account.
pub(super) const NAME: Form = Form {
    is: |text| (1..=255).contains(&text.len()) && !text.chars().any(char::is_control),
    wanted: "a text of 1 to 255 bytes without control characters",
};

/// A topic of Kafka.
pub(super) const TOPIC: Form = Form {
    is: |text| {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=249).contains(&text.len()) && text.bytes().all(is_legal) && text != "." && text != ".."
    },
    wanted: "a topic: 1 to 249 letters, digits, dots, underscores and hyphens",
};

/// A member of a consumer group that keeps its name; Kafka's rule is that for topics.
pub(super) const INSTANCE: Form = Form {
    is: TOPIC.is,
    wanted: "a name: 1 to 249 letters, digits, dots, underscores and hyphens",
};

/// A key of Vault.
pub(super) const VAULT_KEY: Form = Form {
    is: TOPIC.is,
    wanted: "a name: 1 to 249 letters, digits, dots, underscores and hyphens",
};

/// A path in Vault.
pub(super) const VAULT_PATH: Form = Form {
    is: |text| text.len() <= 249 && text.split('/').all(TOPIC.is),
    wanted: "a path without slashes at its ends: letters, digits, dots, underscores, hyphens",
};

/// A text as YAML shows it, on one line whatever is in it.
pub(super) fn yaml(text: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "_./:@*%?=&+-".contains(character);
    let starts_plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let is_word = ["null", "true", "false"].contains(&text.to_ascii_lowercase().as_str());
    if starts_plain && !is_word && !text.ends_with(':') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    // JSON's strings are YAML's; what JSON leaves as it is may still be no business of a terminal.
    let json = serde_json::Value::from(text).to_string();
    let escape = |character: char| match character {
        _ if crate::telemetry::is_hostile(character) => format!("\\u{:04x}", u32::from(character)),
        _ => character.to_string(),
    };
    json.chars().map(escape).collect()
}

/// An address with its port as YAML shows it: only a bracket needs quotes.
fn address(text: &str) -> String {
    if text.starts_with('[') { format!("\"{text}\"") } else { text.to_owned() }
}

/// A text that was written as one: a number would not keep its spelling.
fn text(given: &Content) -> Result<&str, Wrong> {
    match given {
        Content::Text(text) => Ok(text),
        Content::Bool(_) | Content::Number(_) => Err(Wrong::Because(
            "is written as a number or a switch; a text needs quotes around it".to_owned(),
        )),
        Content::Null | Content::List(_) | Content::Mapping(_) => Err(Wrong::Kind),
    }
}

impl Setting for String {
    type Limits = Form;

    fn read(given: &Content, form: &Form) -> Result<Self, Wrong> {
        let text = text(given)?;
        if (form.is)(text) { Ok(text.to_owned()) } else { Err(Wrong::Kind) }
    }

    fn show(&self) -> String {
        yaml(self)
    }

    fn wanted(form: &Form) -> String {
        form.wanted.to_owned()
    }
}

impl Setting for PathBuf {
    type Limits = ();

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        let text = text(given)?;
        if text.is_empty() || text.contains('\0') { Err(Wrong::Kind) } else { Ok(text.into()) }
    }

    fn show(&self) -> String {
        yaml(&self.to_string_lossy())
    }

    fn wanted((): &()) -> String {
        "the path of a file".to_owned()
    }
}

impl Setting for SecretString {
    type Limits = ();

    const SECRET: bool = true;

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        let text = text(given)?;
        if text.is_empty() { Err(Wrong::Kind) } else { Ok(text.to_owned().into()) }
    }

    fn show(&self) -> String {
        "****".to_owned()
    }

    fn wanted((): &()) -> String {
        "a text".to_owned()
    }
}

impl Setting for SocketAddr {
    type Limits = ();

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        given.word().and_then(|word| word.trim().parse().ok()).ok_or(Wrong::Kind)
    }

    fn show(&self) -> String {
        address(&self.to_string())
    }

    fn wanted((): &()) -> String {
        "an IP address and a port, such as 0.0.0.0:8002 or [::]:8002".to_owned()
    }
}

/// The servers by which a Kafka cluster is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapServers(Vec<String>);

impl BootstrapServers {
    pub(super) fn one(server: &str) -> Self {
        Self(vec![server.to_owned()])
    }

    /// Host and port of each; an IPv6 address without its brackets.
    pub fn places(&self) -> impl Iterator<Item = (&str, u16)> {
        self.0.iter().filter_map(|server| {
            let (host, port) = server.rsplit_once(':')?;
            Some((host.trim_matches(['[', ']']), port.parse().ok()?))
        })
    }

    /// Whether every one of them is this machine.
    pub fn are_loopback(&self) -> bool {
        let host = |server: &String| server.rsplit_once(':').map(|(host, _)| host.to_owned());
        self.0.iter().filter_map(host).all(|host| is_loopback(&host))
    }

    fn is_server(text: &str) -> bool {
        let Some((host, port)) = text.rsplit_once(':') else {
            return false;
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(is_name),
        };
        is_host
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    }
}

impl fmt::Display for BootstrapServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl Setting for BootstrapServers {
    type Limits = ();

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        let servers: Option<Vec<&str>> = match given {
            Content::Text(text) => Some(text.split(',').collect()),
            Content::List(list) => list.iter().map(|server| server.value.word()).collect(),
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::Mapping(_) => None,
        };
        let servers = servers.filter(|servers| !servers.is_empty()).ok_or(Wrong::Kind)?;
        let trimmed = servers.into_iter().map(str::trim);
        let checked = trimmed.map(|server| match Self::is_server(server) {
            true => Ok(server.to_owned()),
            // No address holds an @, but a misplaced URL with a password does.
            false if server.contains('@') => {
                Err(Wrong::Because("holds an @; wanted are servers, each HOST:PORT".to_owned()))
            }
            false => {
                let problem =
                    format!("names {}; wanted are servers, each HOST:PORT", quoted(server));
                Err(Wrong::Because(problem))
            }
        });
        checked.collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        let servers: Vec<String> = self.0.iter().map(|server| address(server)).collect();
        // Brackets and commas are YAML's own.
        if servers.len() == 1 { servers.concat() } else { format!("[{}]", servers.join(", ")) }
    }

    fn wanted((): &()) -> String {
        "servers, each HOST:PORT, separated by commas".to_owned()
    }
}

impl Setting for NaiveZones {
    type Limits = ();

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        let mut zones = Self::default();
        let mut named = Vec::new();
        match given {
            Content::Null => {}
            Content::Text(text) => {
                for entry in text.split(',').filter(|entry| !entry.trim().is_empty()) {
                    let (source, zone) = entry.rsplit_once('=').unwrap_or(("default", entry));
                    named.push((source.trim(), zone.trim()));
                }
            }
            Content::Mapping(entries) => {
                for (source, zone) in entries {
                    named.push((source.value.as_str(), zone.value.word().ok_or(Wrong::Kind)?));
                }
            }
            Content::Bool(_) | Content::Number(_) | Content::List(_) => return Err(Wrong::Kind),
        }
        let mut default_is_named = false;
        for (source, name) in named {
            let zone = TimeZone::get(name).map_err(|_| {
                let name = quoted(name);
                Wrong::Because(format!(
                    "names {name}, which is no zone of the IANA database, such as Europe/Berlin"
                ))
            })?;
            let is_repeated = match source {
                "default" => {
                    zones.default = zone;
                    std::mem::replace(&mut default_is_named, true)
                }
                source => zones.by_source.insert(source.to_owned(), zone).is_some(),
            };
            if is_repeated {
                return Err(Wrong::Because(format!("names {} twice", quoted(source))));
            }
        }
        Ok(zones)
    }

    fn show(&self) -> String {
        let name = |zone: &TimeZone| yaml(zone.iana_name().unwrap_or("UTC"));
        let by_source = self.by_source.iter();
        let by_source =
            by_source.map(|(source, zone)| format!(", {}: {}", yaml(source), name(zone)));
        format!("{{default: {}{}}}", name(&self.default), by_source.collect::<String>())
    }

    fn wanted((): &()) -> String {
        "a zone for each source, and one for `default`: {default: UTC, oura_ring: Europe/Berlin}"
            .to_owned()
    }
}

/// What is logged: a level, or levels for parts of the program, as `RUST_LOG` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    pub(super) fn level(word: &str) -> Self {
        Self(word.to_owned())
    }

    /// The filter's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    /// A misspelt level would name a part of the program, and log all of that and nothing else.
    fn is_clear(directive: &str) -> bool {
        let directive = directive.trim();
        if directive.contains('[') {
            return true;
        }
        let is_level =
            |word: &str| Self::LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        match directive.rsplit_once('=') {
            Some((_, level)) => is_level(level.trim()),
            None => is_level(directive) || directive.contains("::"),
        }
    }
}

impl Setting for LogFilter {
    type Limits = ();

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        let text = given.word().ok_or(Wrong::Kind)?.trim();
        let is_filter = !text.is_empty()
            && !text.chars().any(char::is_control)
            && text.split(',').all(Self::is_clear)
            && EnvFilter::builder().with_regex(false).parse(text).is_ok();
        match Self::LEVELS.iter().find(|level| level.eq_ignore_ascii_case(text)) {
            Some(level) => Ok(Self::level(level)),
            None if is_filter => Ok(Self(text.to_owned())),
            None => Err(Wrong::Kind),
        }
    }

    fn show(&self) -> String {
        yaml(&self.0)
    }

    fn wanted((): &()) -> String {
        "off, error, warn, info, debug or trace, perhaps followed by levels of parts: \
         info,biometric_bridge=debug"
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Content {
        Content::Text(text.to_owned())
    }

    #[test]
    fn texts_show_on_one_line_and_read_back() {
        for (text, shown) in [
            ("biometric.events", "biometric.events"),
            ("/run/keys/kek", "/run/keys/kek"),
            ("null", "\"null\""),
            ("8002", "\"8002\""),
            ("two words", "\"two words\""),
            ("a\nb\u{1b}\u{9b}\u{202e}", "\"a\\nb\\u001b\\u009b\\u202e\""),
        ] {
            assert_eq!(yaml(text), shown);
            assert_eq!(serde_saphyr::from_str::<String>(shown).expect("YAML"), text);
        }
    }

    #[test]
    fn a_number_is_no_text_since_its_spelling_is_lost() {
        let number = Content::Number("123".to_owned());
        assert!(matches!(String::read(&number, &NAME), Err(Wrong::Because(_))));
        assert!(matches!(SecretString::read(&number, &()), Err(Wrong::Because(_))));
    }

    #[test]
    fn a_name_in_the_group_is_what_the_broker_takes() {
        let read = |text: &str| String::read(&given(text), &INSTANCE);
        let longest = "a".repeat(249);
        for text in ["bridge-0", "A.b_c", "0", &longest] {
            assert_eq!(read(text).expect("a name"), text);
        }
        for text in ["", ".", "..", "a b", "bridge/0", "brücke", &format!("{longest}a")] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_are_hosts_with_ports() {
        let read = |text: &str| BootstrapServers::read(&given(text), &());
        let servers = read("kafka-1:9092, [::1]:9093").expect("servers");
        assert_eq!(servers.to_string(), "kafka-1:9092,[::1]:9093");
        assert!(!servers.are_loopback());
        assert!(read("localhost:9092,127.0.0.1:9093,[::1]:9094").expect("servers").are_loopback());
        for text in [
            "",
            "kafka",
            "kafka:0",
            "kafka:70000",
            "kafka:+1",
            ":9092",
            "a b:1",
            "k:1,,j:1",
            "http://k:1",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let Err(Wrong::Because(problem)) = read("https://me:hunter2@kafka:1") else {
            panic!("a URL is no server");
        };
        assert!(!problem.contains("hunter2"));
    }

    #[test]
    fn zones_are_named_by_source() {
        let read = |text: &str| NaiveZones::read(&given(text), &());
        let zones = read("Europe/Berlin, oura_ring=America/New_York").expect("zones");
        let shown = "{default: Europe/Berlin, oura_ring: America/New_York}";
        assert_eq!(zones.show(), shown);
        assert_eq!(read("").expect("zones").show(), "{default: UTC}");
        for text in ["Atlantis", "oura=", "default=UTC,UTC", "a=UTC,a=UTC"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_filter_names_levels_that_exist() {
        let read = |text: &str| LogFilter::read(&given(text), &());
        assert_eq!(read("INFO").expect("a filter").as_str(), "info");
        for text in ["off", "warn,rdkafka=debug", "info,biometric_bridge::settings=trace"] {
            assert_eq!(read(text).expect("a filter").as_str(), text);
        }
        for text in ["", "loud", "WARNING", "info,rdkafka", "a=b", "info,", "in\nfo"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
