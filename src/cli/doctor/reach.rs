//! Whether a server can be reached at all: its name resolved, its port taken. Sends nothing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::finding::Findings;

const TIMEOUT: Duration = Duration::from_secs(3);

/// Why a server cannot be reached.
pub(super) struct Unreached {
    asked: String,
    answer: String,
    cure: &'static str,
}

/// Resolves a name and connects to the first address that takes us.
pub(super) async fn reach(host: &str, port: u16) -> Result<SocketAddr, Unreached> {
    let found = match timeout(TIMEOUT, lookup_host((host, port))).await {
        Ok(Ok(found)) => Ok(found.collect::<Vec<_>>()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(late()),
    };
    let addresses = found.map_err(|answer| Unreached {
        asked: format!("resolve {host}"),
        answer,
        cure: "look at the name and at this machine's DNS; in Docker both must share a network",
    })?;
    let mut answer = "it has no address".to_owned();
    for address in addresses {
        match timeout(TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(address),
            Ok(Err(error)) => answer = format!("{address}: {error}"),
            Err(_) => answer = format!("{address}: {}", late()),
        }
    }
    Err(Unreached {
        asked: format!("connect to {}", shown(host, port)),
        answer,
        cure: "start the server, and look at its port and at firewalls between",
    })
}

/// Notes whether a server can be reached.
pub(super) async fn reached(findings: &Findings, host: &str, port: u16) -> bool {
    note(findings, host, port, &reach(host, port).await, true)
}

/// Notes what became of reaching a server; one that is needed fails, another warns.
pub(super) fn note(
    findings: &Findings,
    host: &str,
    port: u16,
    outcome: &Result<SocketAddr, Unreached>,
    is_needed: bool,
) -> bool {
    match outcome {
        Ok(address) => {
            findings.ok(format!("connect to {}", shown(host, port)), format!("{address} takes us"));
        }
        Err(Unreached { asked, answer, cure }) if is_needed => findings.fail(asked, answer, cure),
        Err(Unreached { asked, answer, cure }) => findings.warn(asked, answer, cure),
    }
    outcome.is_ok()
}

fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn late() -> String {
    format!("nothing within {} s", TIMEOUT.as_secs())
}
