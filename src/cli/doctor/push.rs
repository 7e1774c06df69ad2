//! The peer that mode changes are pushed to, when there is to be one: reached, and whether it lets us in. Sends nothing
//! about anybody.

use crate::push::{Target, Unconnected};
use crate::settings::Settings;

use super::finding::Findings;
use super::reach::reached;

pub(super) async fn look(settings: &Settings, findings: &Findings) {
    let target = match Target::of(&settings.push) {
        Ok(Some(target)) => target,
        Ok(None) => return findings.ok("WEBSOCKET_URL", "not set; nothing is pushed"),
        Err(problem) => return findings.fail("push", problem, "mend that file"),
    };
    let (host, port) = target.place();
    if !reached(findings, host, port).await {
        return;
    }
    let asked = format!("open a WebSocket at {target}");
    match target.try_out().await {
        Ok(()) => findings.ok(asked, "it lets us in and speaks neuros.v1"),
        Err(problem) => {
            let cure = match &problem {
                Unconnected::Tls(_) => {
                    "look at the name in WEBSOCKET_URL, at push.ca_file, and at its certificate"
                }
                Unconnected::Unauthorized(_) | Unconnected::Token(_) => {
                    "look at push.token_file, and whom the peer lets in"
                }
                _ => "look at WEBSOCKET_URL, and at the peer's log",
            };
            findings.fail(asked, problem.to_string(), cure);
        }
    }
}
