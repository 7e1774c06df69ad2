//! What was looked at and found, for people and for machines.

use std::cell::RefCell;
use std::io::{self, Write};

use serde::Serialize;

use crate::telemetry::escaped;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) status: Status,
    pub(super) part: &'static str,
    /// What was asked.
    asked: String,
    /// What came back.
    answer: String,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

/// What was found of one part.
pub(super) struct Findings {
    part: &'static str,
    found: RefCell<Vec<Finding>>,
}

impl Findings {
    pub(super) fn of(part: &'static str) -> Self {
        Self { part, found: RefCell::default() }
    }

    pub(super) fn ok(&self, asked: impl Into<String>, answer: impl AsRef<str>) {
        self.add(Status::Ok, asked.into(), answer.as_ref(), None);
    }

    /// A warning that says itself what helps.
    pub(super) fn notice(&self, asked: impl Into<String>, answer: impl AsRef<str>) {
        self.add(Status::Warn, asked.into(), answer.as_ref(), None);
    }

    pub(super) fn warn(&self, asked: impl Into<String>, answer: impl AsRef<str>, cure: &str) {
        self.add(Status::Warn, asked.into(), answer.as_ref(), Some(cure));
    }

    pub(super) fn fail(&self, asked: impl Into<String>, answer: impl AsRef<str>, cure: &str) {
        self.add(Status::Fail, asked.into(), answer.as_ref(), Some(cure));
    }

    /// The settings do not say what to ask, or asking could send a secret where it must not go.
    pub(super) fn not_asked(&self) {
        self.fail("its settings", "not valid, so nothing was asked", "mend what `settings` names");
    }

    fn add(&self, status: Status, asked: String, answer: &str, cure: Option<&str>) {
        // What servers say is text from outside.
        let cure = cure.map(escaped);
        let (asked, answer) = (escaped(&asked), escaped(answer));
        self.found.borrow_mut().push(Finding { status, part: self.part, asked, answer, cure });
    }

    pub(super) fn into_found(self) -> Vec<Finding> {
        self.found.into_inner()
    }
}

/// A line for each finding.
pub(super) fn print(findings: &[Finding], output: &mut impl Write) -> io::Result<()> {
    let width = findings.iter().map(|finding| finding.part.len()).max().unwrap_or(0);
    for Finding { status, part, asked, answer, cure } in findings {
        let status = match status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        write!(output, "{status:<4}  {part:width$}  {asked}: {answer}")?;
        match cure {
            Some(cure) => writeln!(output, "; {cure}")?,
            None => writeln!(output)?,
        }
    }
    output.flush()
}

/// One JSON object.
pub(super) fn print_json(findings: &[Finding], output: &mut impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Report<'f> {
        ok: bool,
        checks: &'f [Finding],
    }
    let ok = findings.iter().all(|finding| finding.status != Status::Fail);
    serde_json::to_writer_pretty(&mut *output, &Report { ok, checks: findings })?;
    writeln!(output)
}
