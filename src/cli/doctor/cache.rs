//! Redis, when there is to be one: reached, logged in to, answering.

use std::time::Duration;

use redis::ErrorKind;

use crate::cache;
use crate::settings::Settings;

use super::finding::Findings;
use super::reach::reached;

const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn look(settings: &Settings, findings: &Findings) {
    let Some(url) = &settings.redis.url else {
        return findings.ok("REDIS_URL", "not set; there is no cache, and none is needed");
    };
    match cache::place(url) {
        Ok(Some((host, port))) => {
            if !reached(findings, &host, port).await {
                return;
            }
        }
        Ok(None) => {}
        Err(error) => return findings.fail("REDIS_URL", error.to_string(), "see the example"),
    }
    let asked = format!("PING {url}");
    match cache::ping(url, TIMEOUT).await {
        Ok(Some(version)) => findings.ok(asked, format!("PONG of Redis {version}")),
        Ok(None) => findings.ok(asked, "PONG"),
        Err(error) => {
            let cure = match error.kind() {
                ErrorKind::AuthenticationFailed => "look at user and password in REDIS_URL",
                _ => "look at the scheme (redis or rediss), user and password in REDIS_URL",
            };
            findings.fail(asked, error.to_string(), cure);
        }
    }
}
