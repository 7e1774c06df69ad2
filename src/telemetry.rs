//! What the service says while it runs: structured lines on standard error, and spans where a collector is named. Never
//! on standard output, never the payload of a panic, never raw control characters.

mod escape;
mod exporter;
mod lines;
mod sampling;
mod traces;

use std::io::{self, IsTerminal as _};
use std::panic;

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::settings::{LogFormat, Settings};
use escape::EscapedFields;
use lines::{Wanted, WithIds};

pub use escape::{escaped, is_hostile};
pub use exporter::Spans;
pub(crate) use traces::answered;
pub use traces::{Traces, traces};

/// What is said of work that has panicked or was cut off: the words of a panic may quote anything, and its place is
/// in the log.
pub(crate) const UNFINISHED: &str = "it was not finished";

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("`log.level` cannot be used: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Traces cannot be sent as the settings say.
    #[error("{0}")]
    Traces(String),
    /// The process has it already.
    #[error("telemetry is set up already")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logs and traces, for this process and once: JSON lines, or text when standard error is a terminal;
/// a panic is logged by its place alone.
///
/// # Errors
///
/// When the process has a log already, or a setting cannot be used.
pub fn init(settings: &Settings) -> Result<(), TelemetryError> {
    let is_terminal = io::stderr().is_terminal();
    let form = match settings.log.format {
        LogFormat::Json => Form::Json,
        LogFormat::Auto if !is_terminal => Form::Json,
        LogFormat::Auto | LogFormat::Text => {
            Form::Text { colours: console::colors_enabled_stderr() }
        }
    };
    let traces = Traces::of(settings).map_err(TelemetryError::Traces)?;
    subscriber(form, settings.log.level.as_str(), io::stderr, &traces)?.try_init()?;
    traces.install();
    log_panics();
    Ok(())
}

/// The form of log lines.
enum Form {
    /// One JSON object a line.
    Json,
    /// For people.
    Text {
        /// With colours.
        colours: bool,
    },
}

/// What writes events as lines, and makes spans of what is to be collected.
fn subscriber<W>(
    form: Form,
    filter: &str,
    writer: W,
    traces: &Traces,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let wanted = Wanted(EnvFilter::builder().with_regex(false).parse(filter)?);
    // Without its complaints about a closed standard error: they would panic.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let registry = tracing_subscriber::registry();
    Ok(match form {
        Form::Json => {
            let lines = lines.json().flatten_event(true).map_event_format(WithIds::Json);
            Box::new(registry.with(lines.with_filter(wanted)).with(traces.layer()))
        }
        Form::Text { colours } => {
            let lines = lines.with_ansi(colours).fmt_fields(EscapedFields);
            let lines = lines.map_event_format(WithIds::Text);
            Box::new(registry.with(lines.with_filter(wanted)).with(traces.layer()))
        }
    })
}

/// Libraries whose lines quote what they were given, and from which level on they do not: paths and heads of
/// requests, what a database says of rows on its own account, frames of sockets, and each byte of a request of ours (keys
/// on their way to Vault, and our token). No filter brings them back.
const QUOTING: [(&str, LevelFilter); 6] = [
    ("actix_http", LevelFilter::INFO),
    ("actix_web", LevelFilter::INFO),
    ("sqlx::postgres::notice", LevelFilter::OFF),
    ("tokio_tungstenite", LevelFilter::OFF),
    ("tungstenite", LevelFilter::OFF),
    ("ureq_proto", LevelFilter::OFF),
];

fn quotes(metadata: &Metadata<'_>) -> bool {
    let is_of = |library: &str| {
        let rest = metadata.target().strip_prefix(library);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    QUOTING.iter().any(|(library, upto)| metadata.level() > upto && is_of(library))
}

/// From now on a panic is logged by its place; what it says may be health data.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let current = std::thread::current();
        let thread = current.name().unwrap_or("unnamed");
        tracing::error!(location, thread, "the program has a fault: it panicked");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("whole").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(form: Form, filter: &str, act: impl FnOnce()) -> Vec<String> {
        lines_of(form, filter, &Traces::default(), act)
    }

    fn lines_of(form: Form, filter: &str, traces: &Traces, act: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let writer = kept.clone();
        let writer = move || writer.clone();
        let subscriber = subscriber(form, filter, writer, traces);
        let subscriber = subscriber.expect("a subscriber");
        tracing::subscriber::with_default(subscriber, act);
        let bytes = kept.0.lock().expect("whole").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.lines().map(ToOwned::to_owned).collect()
    }

    const HOSTILE: &str = "a\nb\r\u{1b}[31m\u{9b}\u{7}\u{202e}\u{2028}c";

    /// Logs hostile text in every way in which text gets into a line.
    fn log_hostile_text() {
        let error = io::Error::other(HOSTILE);
        let error: &(dyn std::error::Error + 'static) = &error;
        let span = tracing::info_span!("span", shown = %HOSTILE, given = HOSTILE);
        let _entered = span.enter();
        tracing::info!(shown = %HOSTILE, debugged = ?HOSTILE, given = HOSTILE, error, "say {HOSTILE}");
    }

    #[test]
    fn text_from_outside_neither_ends_a_line_nor_steers_a_terminal() {
        for colours in [false, true] {
            let lines = lines(Form::Text { colours }, "info", log_hostile_text);
            assert_eq!(lines.len(), 1, "{lines:?}");
            // Colours are our own.
            let line = console::strip_ansi_codes(&lines[0]).into_owned();
            assert!(!line.chars().any(is_hostile), "{line:?}");
            assert_eq!(
                line.matches("a\\nb\\r\\u{1b}[31m\\u{9b}\\u{7}\\u{202e}\\u{2028}c").count(),
                7,
                "{line}"
            );
        }
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let lines = lines(Form::Json, "info", log_hostile_text);
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
        assert_eq!(line["message"], format!("say {HOSTILE}"));
        assert_eq!(line["shown"], HOSTILE);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["span"]["given"], HOSTILE);
    }

    /// Traces for a collector that nobody can reach.
    fn traced() -> Traces {
        let mut settings = Settings::default();
        let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
        let inputs = crate::settings::Inputs {
            development: true,
            ..crate::settings::Inputs::of_environment(environment)
        };
        let loaded = crate::settings::Loaded::despite_faults(&inputs).0;
        settings.traces = loaded.settings.traces;
        Traces::of(&settings).expect("traces")
    }

    #[test]
    fn a_line_names_the_trace_in_which_it_was_written_and_quotes_nothing_of_its_span() {
        let traces = traced();
        for form in [Form::Json, Form::Text { colours: false }] {
            let is_json = matches!(form, Form::Json);
            let lines = lines_of(form, "trace", &traces, || {
                let span = tracing::info_span!(target: actors::trace::SPANS, "step", secret = "u1");
                span.in_scope(|| tracing::info!(answer = 42, "within"));
                tracing::info!("without");
            });
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(lines.iter().all(|line| !line.contains("u1")), "{lines:?}");
            let (trace, span) = match is_json {
                true => {
                    let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
                    assert_eq!((&line["message"], &line["answer"]), (&"within".into(), &42.into()));
                    (line["trace_id"].to_string(), line["span_id"].to_string())
                }
                false => {
                    let (_, ids) = lines[0].split_once(" trace_id=").expect("its trace");
                    let (trace, span) = ids.split_once(" span_id=").expect("its span");
                    (format!("\"{trace}\""), format!("\"{span}\""))
                }
            };
            assert_eq!((trace.len(), span.len()), (34, 18), "{lines:?}");
            assert!(!lines[1].contains("trace_id"), "{lines:?}");
        }
    }

    #[test]
    fn what_no_level_asks_for_costs_nothing_whether_spans_are_collected_or_not() {
        for traces in [Traces::default(), traced()] {
            for (filter, level) in [("warn", LevelFilter::WARN), ("info", LevelFilter::INFO)] {
                let subscriber = subscriber(Form::Json, filter, io::sink, &traces);
                let hint = subscriber.expect("a subscriber").max_level_hint();
                // Spans that are collected are at INFO.
                let collected = traces.spans().map(|_| LevelFilter::INFO);
                assert_eq!(hint, Some(collected.map_or(level, |its| its.max(level))));
            }
        }
    }

    #[test]
    fn a_panic_is_logged_by_its_place_alone() {
        let before = panic::take_hook();
        log_panics();
        let act = || {
            let ended = panic::catch_unwind(|| panic!("heart rate 180"));
            assert!(ended.is_err());
        };
        let lines = lines(Form::Json, "info", act);
        panic::set_hook(before);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("src/telemetry.rs:"), "{lines:?}");
        assert!(!lines[0].contains("heart rate"), "{lines:?}");
    }

    #[test]
    fn what_libraries_quote_is_not_written_whatever_the_filter_says() {
        let act = || {
            tracing::debug!(target: "actix_web::types::path", "Request path: u1");
            tracing::debug!(target: "actix_http::h1::decoder", "illegal Content-Length: u1");
            tracing::warn!(target: "sqlx::postgres::notice", "there is u1");
            tracing::warn!(target: "actix_web", "a warning");
            tracing::trace!(target: "actix_website", "something else");
        };
        for filter in ["trace", "actix_web=trace,actix_http::h1::decoder=trace,sqlx=trace"] {
            let lines = lines(Form::Json, filter, act);
            assert!(lines.iter().all(|line| !line.contains("u1")), "{lines:?}");
            assert!(lines[0].contains("a warning"), "{lines:?}");
        }
        assert_eq!(lines(Form::Json, "trace", act).len(), 2);
    }

    #[test]
    fn the_filter_names_parts_of_the_program() {
        let told = |filter: &str| {
            let act = || {
                tracing::debug!("quiet");
                tracing::warn!("loud");
            };
            lines(Form::Text { colours: false }, filter, act).len()
        };
        assert_eq!(told("info"), 1);
        assert_eq!(told("off"), 0);
        assert_eq!(told("off,biometric_bridge=debug"), 2);
    }
}
