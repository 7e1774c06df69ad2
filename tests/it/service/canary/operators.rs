//! What operators do while planted values lie in the store: every command that reads or changes something, as it should be
//! given and as it should not.

use std::process::Output;

use super::Story;
use super::plants::person;
use crate::support::{stderr, stdout};

/// What a command's output may show.
#[derive(Clone, Copy)]
pub(super) enum Shows {
    /// Health data, which is written down first.
    Data,
    /// Whom it is about.
    Names,
    /// Neither.
    Nothing,
}

impl Story<'_> {
    /// Runs a command; what it says beside its output is searched, and its output if it shows nobody's data.
    pub(super) fn command(&mut self, arguments: &[&str], shows: Shows) -> Output {
        self.command_with(arguments, "", shows)
    }

    fn command_with(&mut self, arguments: &[&str], input: &str, shows: Shows) -> Output {
        let output = self.site.output(arguments, input);
        let name = arguments[..2.min(arguments.len())].join(" ");
        self.evidence.said(format!("the errors of `{name}`"), stderr(&output));
        let place = format!("the output of `{name}`");
        match shows {
            Shows::Data => {}
            Shows::Names => self.evidence.kept(place, stdout(&output)),
            Shows::Nothing => self.evidence.said(place, stdout(&output)),
        }
        output
    }

    /// What operators do: most of it goes well, and some does not.
    pub(super) fn operators_work(&mut self) {
        let [first, second, fourth] = [1, 2, 4].map(person);
        let nobody = person(8);
        for (arguments, shows) in [
            (&["alerts", "list"][..], Shows::Data),
            (&["alerts", "show", &first, "mode_reflex"], Shows::Data),
            (&["alerts", "ack", &first, "mode_reflex"], Shows::Nothing),
            (&["alerts", "snooze", &second, "mode_reflex", "--for", "1s"], Shows::Nothing),
            (&["alerts", "resolve", &fourth, "mode_reflex"], Shows::Nothing),
            (&["alerts", "ack", &first, "zebrafink-rule"], Shows::Nothing),
            (&["alerts", "ack", &nobody, "mode_reflex"], Shows::Nothing),
            (&["state", "show", &first], Shows::Data),
            (&["state", "show", &nobody], Shows::Nothing),
            (&["state", "rebuild", &second], Shows::Data),
            (&["state", "scrub", "--all"], Shows::Names),
            (&["dlq", "list", "--limit", "1000"], Shows::Names),
            (&["dlq", "show", "0/999999"], Shows::Nothing),
            (&["dlq", "redrive", "--reason", "timestamp_in_future"], Shows::Nothing),
            (&["dlq", "discard", "--reason", "not_json"], Shows::Nothing),
            (&["quarantine", "release", &nobody], Shows::Names),
            (&["export", "log", "--user", &nobody], Shows::Nothing),
            (&["export", "person", "--user", &first], Shows::Data),
            (&["gaps", "list"], Shows::Nothing),
            (&["keys", "list"], Shows::Nothing),
            (&["keys", "test"], Shows::Nothing),
            (&["keys", "rotate", &first], Shows::Nothing),
            (&["audit", "list"], Shows::Nothing),
            (&["audit", "export"], Shows::Names),
            (&["doctor"], Shows::Nothing),
            (&["config", "check"], Shows::Nothing),
        ] {
            self.command(arguments, shows);
        }
        for arguments in [&["replay"][..], &["send", "--log", "-"], &["send", "--file", "-"]] {
            let malformed =
                "{\"record_time_ms\":\"zebrafink-1\",\"value\":\"kanarie-p1 43.219871\"}\n";
            self.command_with(arguments, malformed, Shows::Nothing);
        }
    }
}
