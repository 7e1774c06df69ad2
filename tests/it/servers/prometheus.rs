//! Prometheus, which scrapes what it is told to and answers queries over HTTP; and promtool, which tests its rules.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::installed;
use super::process::{Process, Recipe, tied_to_us};
use super::scratch::{Folder, Port};

/// A Prometheus server; its data end with it.
pub(crate) struct Prometheus {
    _process: Process,
    port: Port,
}

impl Prometheus {
    /// Starts one with this configuration; paths in it are absolute.
    pub(crate) fn start(configuration: &str) -> Self {
        let folder = Folder::new("prometheus").expect("there can be a folder");
        let port = Port::new().expect("a port is free");
        let number = port.number;
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, configuration).expect("written");
        let data = folder.path().join("data");
        let command = move || {
            let mut command = tied_to_us(installed("prometheus"), "KILL", &[]);
            command.arg(format!("--config.file={}", file.display()));
            command.arg(format!("--storage.tsdb.path={}", data.display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{number}"));
            command
        };
        let recipe = Recipe {
            name: "Prometheus",
            command: Box::new(command),
            is_ready: Box::new(move || ask(number, "/-/ready", &[]).is_some()),
            stop: Signal::TERM,
            end: Signal::KILL,
        };
        let process = Process::new(recipe, folder).unwrap_or_else(|reason| panic!("{reason}"));
        Self { _process: process, port }
    }

    /// What an expression comes to now: each series with its labels and its value.
    ///
    /// # Errors
    ///
    /// What Prometheus says of an expression that it does not carry out.
    pub(crate) fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let answer = self.get("/api/v1/query", &[("query", expression)]);
        if answer["status"] != "success" {
            return Err(answer["error"].as_str().unwrap_or("no error is named").to_owned());
        }
        let result = &answer["data"]["result"];
        Ok(result.as_array().cloned().unwrap_or_else(|| vec![result.clone()]))
    }

    /// What it says there.
    pub(crate) fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let text = ask(self.port.number, path, parameters).expect("Prometheus answers");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// The program that tests rules, to be run in that folder.
pub(crate) fn promtool(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(installed("promtool"));
    command.current_dir(folder).args(arguments);
    command
}

fn ask(port: u16, path: &str, parameters: &[(&str, &str)]) -> Option<String> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build();
    let url = format!("http://{}:{port}{path}", Ipv4Addr::LOCALHOST);
    let request = ureq::Agent::new_with_config(config).get(&url);
    let mut answer = request.query_pairs(parameters.iter().copied()).call().ok()?;
    let is_known = answer.status().is_success() || answer.status().as_u16() == 400;
    let text = answer.body_mut().read_to_string().ok()?;
    // An expression that is wrong is answered with 400, and the reason.
    is_known.then_some(text)
}
