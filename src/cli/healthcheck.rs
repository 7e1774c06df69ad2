//! `healthcheck`: whether the service on this machine is well, for containers without `curl`.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::config::Layers;
use super::failure::Failure;
use crate::http::client;
use crate::settings::Settings;
use crate::telemetry::escaped;

/// Asks the service on this machine whether it is well.
///
/// Asks /health where `http.bind` says that it listens, from this machine. Says in one line what came
/// back.
#[derive(Args)]
#[command(after_help = "Examples:
  biometric-bridge healthcheck
  biometric-bridge healthcheck --ready
  biometric-bridge healthcheck --url http://10.0.0.7:8002/ready

Exit code 0 when it is well, 1 when it is not or does not answer within 3 s.")]
pub(super) struct Arguments {
    /// Ask whether it does its work now, and name the part that does not.
    #[arg(long)]
    ready: bool,
    /// Ask there instead.
    #[arg(long, conflicts_with = "ready")]
    url: Option<String>,
    #[command(flatten)]
    layers: Layers,
}

const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of an answer, at most: one has a few hundred.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (url, answer) = match &arguments.url {
        Some(url) => {
            let answer = client::get(url, TIMEOUT, ANSWER_BYTES_MAX).map(answer_of);
            (url.clone(), answer)
        }
        None => {
            let url = own_url(arguments)?;
            let answer = ask_near(&url);
            (url, answer)
        }
    };
    let answer = answer.map_err(|problem| Failure::Unhealthy(format!("{url}: {problem}")))?;
    if !answer.is_well {
        return Err(Failure::Unhealthy(format!("{url}: {}", answer.said)));
    }
    writeln!(io::stdout(), "{url}: {}", answer.said)?;
    Ok(())
}

/// Where the service on this machine is asked.
fn own_url(arguments: &Arguments) -> Result<String, Failure> {
    let loaded = arguments.layers.load_sections(&["http.bind"], &[]).map_err(|_| {
        let cure = "`biometric-bridge config check` says why";
        Failure::Unhealthy(format!("the settings are not valid; {cure}"))
    })?;
    let path = if arguments.ready { "ready" } else { "health" };
    let settings = &loaded.settings;
    Ok(format!("{}://{}/{path}", scheme(settings), from_here(settings.http.bind)))
}

/// An address on which somebody listens, as this machine reaches it.
pub(super) fn from_here(bound: SocketAddr) -> SocketAddr {
    let mut address = bound;
    match bound {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            address.set_ip(Ipv6Addr::LOCALHOST.into());
        }
        _ => {}
    }
    address
}

/// What came back.
pub(super) struct Answer {
    pub(super) is_well: bool,
    /// In one line.
    pub(super) said: String,
    /// It speaks as the bridge does.
    pub(super) is_bridge: bool,
}

/// How our own port is spoken to.
pub(super) fn scheme(settings: &Settings) -> &'static str {
    if settings.http.tls.certificate_file.is_some() { "https" } else { "http" }
}

/// Asks for a URL of this machine; the error says why nobody answers.
pub(super) fn ask_near(url: &str) -> Result<Answer, String> {
    client::get_near(url, TIMEOUT, ANSWER_BYTES_MAX).map(answer_of)
}

fn answer_of((status, body): (u16, Vec<u8>)) -> Answer {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let word = body.get("status").and_then(Value::as_str);
    let said = match word {
        Some(word) => escaped(word),
        None => format!("it answered {status}"),
    };
    let said = failing(&body).map_or(said.clone(), |failing| format!("{said}: {failing}"));
    Answer { is_well: (200..300).contains(&status), said, is_bridge: word.is_some() }
}

/// The part that fails, of an answer of /ready, and what is wrong with it.
fn failing(body: &Value) -> Option<String> {
    let parts = body.get("parts")?.as_object()?;
    let is_wrong = |part: &Value| part.get("ok") == Some(&Value::Bool(false));
    let named = body.get("failing").and_then(Value::as_str);
    // A service that is degraded names no part.
    let (name, part) = match named {
        Some(name) => (name, parts.get(name)?),
        None => parts
            .iter()
            .find(|(_, part)| is_wrong(part))
            .map(|(name, part)| (name.as_str(), part))?,
    };
    let problem = part.get("problem").and_then(Value::as_str).unwrap_or("it does not say why");
    Some(escaped(&format!("{name}: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_listens_everywhere_is_asked_on_this_machine() {
        for (bound, asked) in [
            ("0.0.0.0:8002", "127.0.0.1:8002"),
            ("[::]:8002", "[::1]:8002"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            let bound: SocketAddr = bound.parse().expect("an address");
            assert_eq!(from_here(bound).to_string(), asked);
        }
    }
}
