//! What can be looked at without a server: settings, policy, key file, the port.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::cli::{healthcheck, policy};
use crate::http;
use crate::seal::key_file::KeyFile;
use crate::settings::{Fault, Faults, KeyWrapper, Loaded, Settings, Source};
use crate::signature::SigningKey;

use super::finding::{Finding, Findings};

pub(super) fn settings(loaded: &Loaded, Faults(faults): &Faults) -> Vec<Finding> {
    let findings = Findings::of("settings");
    let file = match &loaded.file {
        Some(path) => path.display().to_string(),
        None => "the settings, without a file".to_owned(),
    };
    let set = loaded.sources.iter().filter(|source| **source != Source::Default).count();
    if faults.is_empty() {
        findings.ok(file, format!("valid, {set} set"));
    }
    for Fault { source, key, problem } in faults {
        let asked = match (source, key.as_str()) {
            (Some(source), "") => source.to_string(),
            (Some(source), key) => format!("{key} ({source})"),
            (None, key) => key.to_owned(),
        };
        findings.fail(asked, problem, "`biometric-bridge config check` shows all of them");
    }
    for notice in &loaded.notices {
        let text = notice.text.strip_prefix(&format!("{}: ", notice.key)).unwrap_or(&notice.text);
        findings.notice(notice.key, text);
    }
    findings.into_found()
}

pub(super) fn policy(path: Option<&Path>) -> Vec<Finding> {
    let findings = Findings::of("policy");
    let name =
        path.map_or_else(|| "the built-in policy".to_owned(), |path| path.display().to_string());
    match policy::load(path) {
        Ok(loaded) => findings.ok(name, format!("valid, version {}", loaded.policy.version)),
        Err(failure) => {
            findings.fail(
                name,
                one_line(&failure.to_string()),
                "`biometric-bridge policy check` says it all",
            );
        }
    }
    findings.into_found()
}

/// The key file, read, and what was found.
pub(super) fn keys(settings: &Settings) -> (Option<KeyFile>, Vec<Finding>) {
    let findings = Findings::of("keys");
    let file = match &settings.keys.file {
        Some(path) => read_keys(path, settings.keys.wrapper, &findings),
        None if settings.keys.wrapper == KeyWrapper::Vault => {
            findings.ok("KEY_FILE", "not set; Vault wraps");
            None
        }
        None if settings.development => {
            findings.ok("KEY_FILE", "not set; `run --development` makes one in its data folder");
            None
        }
        None => {
            findings.fail(
                "KEY_FILE",
                "not set, and health data is stored sealed or not at all",
                "make one with `biometric-bridge keys generate --output keys.txt`, or bring it back \
                 from the backup",
            );
            None
        }
    };
    (file, findings.into_found())
}

fn read_keys(path: &Path, wrapper: KeyWrapper, findings: &Findings) -> Option<KeyFile> {
    let name = path.display().to_string();
    let file = match KeyFile::read(path) {
        Ok(file) => file,
        Err(error) => {
            findings.fail(name, error.to_string(), "without it nothing that is stored opens");
            return None;
        }
    };
    let others = file.names().count() - 1;
    let also = if others == 0 { String::new() } else { format!(", and {others} older") };
    let wraps = if wrapper == KeyWrapper::File { "wraps new keys" } else { "unwraps" };
    findings.ok(&name, format!("{} {wraps}{also}", file.active_name()));
    if let Some(mode) = KeyFile::mode_open_to_others(path) {
        findings.warn(
            format!("permissions of {name}"),
            format!("{mode:04o}: others than its owner may use it"),
            "`chmod 0400` it, if the platform lets you",
        );
    }
    Some(file)
}

/// The key that signs checkpoints of the log of accesses, and the file that they go to.
pub(super) fn audit(settings: &Settings) -> Vec<Finding> {
    let findings = Findings::of("audit");
    // That there is none the settings say.
    if let Some(path) = &settings.audit.signing_key_file {
        match SigningKey::read(path) {
            Ok(key) => {
                findings.ok(path.display().to_string(), format!("signs as {}", key.public().id()));
            }
            Err(error) => {
                findings.fail(
                    path.display().to_string(),
                    error.to_string(),
                    "without it no checkpoint is signed",
                );
            }
        }
    }
    if let Some(path) = &settings.audit.checkpoint_file {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        match folder.is_none_or(Path::is_dir) {
            true => findings.ok(path.display().to_string(), "its folder is there"),
            false => findings.fail(
                path.display().to_string(),
                "its folder is not there",
                "make the folder",
            ),
        }
    }
    findings.into_found()
}

/// Whether the service could listen, or listens already.
pub(super) fn port(settings: &Settings) -> Vec<Finding> {
    let findings = Findings::of("http");
    match http::examine(settings) {
        Ok(()) => findings.ok("certificate, keys and tokens", "read"),
        Err(problem) => {
            let (answer, cure) = problem.split_once("; ").unwrap_or((&problem, "mend that file"));
            findings.fail("certificate, keys and tokens", answer, cure);
        }
    }
    let mut bound = settings.http.bind;
    if settings.development && !bound.ip().is_loopback() {
        bound.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let asked = format!("listen on {bound}");
    match http::bind_to(bound).map(drop::<TcpListener>) {
        Ok(()) => findings.ok(asked, "free"),
        Err(problem) => {
            let scheme = healthcheck::scheme(settings);
            let url = format!("{scheme}://{}/health", healthcheck::from_here(bound));
            match healthcheck::ask_near(&url) {
                Ok(answer) if answer.is_bridge && answer.is_well => {
                    findings.ok(asked, "a bridge listens there already, and is well");
                }
                _ => {
                    let (answer, cure) =
                        problem.split_once("; ").unwrap_or((&problem, "see HTTP_BIND"));
                    findings.fail(asked, answer, cure);
                }
            }
        }
    }
    findings.into_found()
}

/// A list of several lines, as one.
pub(super) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
