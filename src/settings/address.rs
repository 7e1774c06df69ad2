//! URLs of servers, whose passwords show nowhere.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use super::node::Content;
use super::setting::{Setting, Wrong};
use super::text::yaml;

/// Stands for what must not be seen.
const MASK: &str = "****";

/// Parameters of URLs whose values may be seen.
const OPEN_PARAMETERS: [&str; 19] = [
    "application_name",
    "cache",
    "dbname",
    "host",
    "hostaddr",
    "immutable",
    "mode",
    "options",
    "port",
    "protocol",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// A URL that may hold a password. `Display` and `Debug` mask it.
#[derive(Clone)]
pub struct SecretUrl {
    exposed: SecretString,
    masked: String,
    scheme: String,
    host: Option<String>,
    parameters: Vec<(String, SecretString)>,
}

/// What a URL must be.
pub(super) struct Form {
    /// Its scheme is one of these.
    pub(super) schemes: &'static [&'static str],
    /// One as it could be.
    pub(super) example: &'static str,
}

impl SecretUrl {
    /// A database in a file, without a secret.
    pub(super) fn database_file(url: &str) -> Self {
        Self {
            exposed: url.to_owned().into(),
            masked: url.to_owned(),
            scheme: "sqlite".to_owned(),
            host: None,
            parameters: Vec::new(),
        }
    }

    /// The whole URL, password included; never to be logged.
    pub fn expose(&self) -> &str {
        self.exposed.expose_secret()
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host that is connected to, or the folder of its socket; none for a file.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Whether nothing leaves this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.as_deref().is_none_or(is_loopback)
    }

    /// Whether it says as whom to log in.
    pub(super) fn has_credentials(&self) -> bool {
        let url = Url::parse(self.expose());
        url.is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
    }

    /// Whether the URL gives the parameter `name` the value `value`.
    pub(super) fn says(&self, names: &[&str], value: &str) -> bool {
        // Of one given twice the last counts.
        let given = self.parameters.iter().rev().find(|(name, _)| names.contains(&name.as_str()));
        given.is_some_and(|(_, given)| given.expose_secret().eq_ignore_ascii_case(value))
    }

    fn parse(text: &str, form: &Form) -> Result<Self, Wrong> {
        let because = |problem: &str| Wrong::Because(problem.to_owned());
        let url = Url::parse(text).map_err(|_| Wrong::Kind)?;
        if !form.schemes.contains(&url.scheme()) {
            return Err(Wrong::Kind);
        }
        let is_file = url.scheme() == "sqlite";
        if !is_file {
            if url.cannot_be_a_base() {
                return Err(Wrong::Kind);
            }
            let rest = text.split_once("://").map_or("", |(_, rest)| rest);
            let after_authority = rest.find(['/', '?', '#']).and_then(|end| rest.get(end..));
            // A password with a bare /, ? or # ends too early, and the rest of it would be shown.
            if after_authority.is_some_and(|rest| rest.contains(['@', '#'])) {
                return Err(because(
                    "has an @ or # behind its host; in a password write / as %2F, ? as %3F, # as \
                     %23 and @ as %40",
                ));
            }
        }
        let pairs = || url.query_pairs();
        let named = |wanted: &[&str]| {
            let found = pairs().filter(|(name, _)| wanted.contains(&name.as_ref())).last();
            found.map(|(_, value)| value.into_owned())
        };
        let host = match (url.scheme(), url.host()) {
            ("sqlite", _) => None,
            ("postgresql" | "postgres", own) => {
                let decoded = own.map(host_text).filter(|host| !host.is_empty());
                Some(named(&["host", "hostaddr"]).or(decoded).ok_or(Wrong::Kind)?)
            }
            (_, own) => Some(own.map(host_text).ok_or(Wrong::Kind)?),
        };
        Ok(Self {
            exposed: text.to_owned().into(),
            masked: masked(&url),
            scheme: url.scheme().to_owned(),
            host,
            parameters: pairs()
                .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
                .collect(),
        })
    }

    /// Parameters whose names are not among `known`.
    pub(super) fn strange_parameters(&self, known: &[&str]) -> Vec<&str> {
        let names = self.parameters.iter().map(|(name, _)| name.as_str());
        names.filter(|name| !known.contains(name) && !name.starts_with("options[")).collect()
    }
}

/// A host without brackets and percent signs: `%2Fvar%2Frun` is a folder with a socket.
fn host_text(host: Host<&str>) -> String {
    match host {
        Host::Domain(name) => name.replace("%2F", "/").replace("%2f", "/"),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

fn masked(url: &Url) -> String {
    let mut seen = url.clone();
    if url.password().is_some() && seen.set_password(Some(MASK)).is_err() {
        return format!("{}://{MASK}", url.scheme());
    }
    let is_open = |name: &str| OPEN_PARAMETERS.contains(&name);
    if url.query_pairs().any(|(name, _)| !is_open(&name)) {
        let pairs = url.query_pairs().map(|(name, value)| match is_open(&name) {
            true => (name, value),
            false => (name, MASK.into()),
        });
        seen.query_pairs_mut().clear().extend_pairs(pairs);
    }
    seen.into()
}

/// Whether `host` is this machine: its name, one of its own addresses, or a socket in a folder.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") || name.starts_with('/') {
        return true;
    }
    match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => {
            address == Ipv6Addr::LOCALHOST
                || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
        }
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Err(_) => false,
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({})", self.masked)
    }
}

impl Setting for SecretUrl {
    type Limits = Form;

    const SECRET: bool = true;

    fn read(given: &Content, form: &Form) -> Result<Self, Wrong> {
        let Content::Text(text) = given else {
            return Err(Wrong::Kind);
        };
        if text.chars().any(|character| character.is_control() || character == ' ') {
            return Err(Wrong::Kind);
        }
        Self::parse(text, form)
    }

    fn show(&self) -> String {
        yaml(&self.masked)
    }

    fn wanted(form: &Form) -> String {
        format!("a URL such as {}", form.example)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Form = Form {
        schemes: &["postgresql", "postgres", "sqlite", "redis", "rediss", "ws", "wss"],
        example: "redis://redis:6379",
    };

    fn read(text: &str) -> Result<SecretUrl, Wrong> {
        SecretUrl::read(&Content::Text(text.to_owned()), &ANY)
    }

    #[test]
    fn passwords_and_unknown_parameters_are_masked() {
        for (text, seen) in [
            ("postgresql://auren_user:hunter2@host/db", "postgresql://auren_user:****@host/db"),
            ("postgres://u@h:5433/db?sslmode=disable", "postgres://u@h:5433/db?sslmode=disable"),
            (
                "postgres://u@h/db?password=hunter2&sslmode=require",
                "postgres://u@h/db?password=****&sslmode=require",
            ),
            ("redis://:hunter2@redis:6379/0", "redis://:****@redis:6379/0"),
            ("wss://api.example/ws?token=hunter2", "wss://api.example/ws?token=****"),
            ("sqlite:bridge.db?mode=rwc", "sqlite:bridge.db?mode=rwc"),
            ("sqlite::memory:", "sqlite::memory:"),
        ] {
            let url = read(text).expect("a URL");
            assert_eq!(url.to_string(), seen);
            assert_eq!(url.expose(), text);
            assert!(!format!("{url:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_password_that_would_be_cut_is_refused_and_never_shown() {
        for text in [
            "postgresql://u:12/hunter2@h/db",
            "postgresql://u:12#hunter2@h/db",
            "postgresql://u:12?hunter2@h/db",
            "postgresql://u:p/hunter2@h/db",
            "postgresql:u:hunter2@h/db",
            "postgresql://",
            "postgresql:///db",
            "mysql://u:hunter2@h/db",
            "hunter2",
            "redis://h\n",
            "",
        ] {
            match read(text) {
                Ok(url) => panic!("{text} is read as {url}"),
                Err(Wrong::Because(problem)) => assert!(!problem.contains("hunter2"), "{problem}"),
                Err(Wrong::Kind) => {}
            }
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for text in [
            "redis://localhost:6379",
            "redis://127.0.0.1",
            "redis://[::1]:6379",
            "postgres:///db?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/db",
            "sqlite:x.db",
        ] {
            assert!(read(text).expect("a URL").is_loopback(), "{text}");
        }
        for text in [
            "redis://redis:6379",
            "redis://10.0.0.1",
            "redis://localhost.example.com",
            "postgres://localhost/db?host=db.example",
        ] {
            assert!(!read(text).expect("a URL").is_loopback(), "{text}");
        }
    }
}
