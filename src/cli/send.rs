//! `send`: events into the log, as a producer would send them. No event is judged here: what the bridge
//! rejects may be sent, to see it rejected.

mod event;
mod sending;

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use neuros::wire::{Intake, Reason};

use super::complain;
use super::config::Layers;
use super::failure::Failure;
use super::input::{Input, Progress};
use super::servers::block_on;
use crate::app::{connection_of, topics_of};
use crate::kafka::topics;
use crate::kafka::{Connection, Inquiry, Looked, Sender, TopicNames};
use crate::replay::{Line, Lines, Malformed, Numbered};
use event::{Given, Outgoing};
use sending::Sending;

/// Sends events to biometric.events, as a wearable's producer would.
///
/// One event from flags, or NDJSON: each line one event's JSON, or with --log a line of a log as
/// `replay` reads it. Each event goes to the home partition of its user. Needs the settings of Kafka
/// only.
#[derive(Args)]
#[command(after_help = "Examples:
  biometric-bridge send --user ada --metric hrv=44.9 --metric heart_rate=66
  biometric-bridge send --bootstrap-servers localhost:9092 --user me --metric stress_level=0.95
  biometric-bridge send --rate 100 events.ndjson
  biometric-bridge export log --user ada | biometric-bridge send --log \
                            --bootstrap-servers elsewhere:9092 --set security.allow_plaintext=kafka

Exit code 69 when an event is not delivered.")]
pub(super) struct Arguments {
    /// Events as NDJSON; `-`, or none, is standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    event: Given,
    /// The lines are those of a log: record times become the messages' timestamps, headers are kept, and
    /// a value that is a string is the raw message.
    #[arg(long)]
    log: bool,
    /// Servers of Kafka; short for --set kafka.bootstrap_servers=…
    #[arg(long, value_name = "HOST:PORT,…")]
    bootstrap_servers: Option<String>,
    /// Events a second, at most.
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    rate: Option<f64>,
    /// Skip malformed lines, naming each, instead of stopping at the first.
    #[arg(long)]
    keep_going: bool,
    /// How long brokers may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = timeout)]
    timeout: Duration,
    #[command(flatten)]
    layers: Layers,
}

/// How long to wait for the first answer; a broker that is there gives it at once.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// How long to wait for what is only good to know.
const SETTINGS_ANSWER: Duration = Duration::from_secs(3);

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let servers = arguments.bootstrap_servers.as_deref();
    let also: Vec<_> =
        servers.map(|servers| ("kafka.bootstrap_servers", servers)).into_iter().collect();
    // Whether health data may go out unencrypted is part of reaching Kafka.
    let settings = arguments.layers.load_sections(&["kafka", "security"], &also)?.settings;
    let event = arguments.event.event()?;
    let inputs = match event {
        Some(_) => Vec::new(),
        None => Input::open_all(&arguments.files)?,
    };
    let place = Place {
        connection: connection_of(&settings),
        topics: topics_of(&settings),
        timeout: arguments.timeout,
    };
    block_on(async {
        place.check().await?;
        let sender = place.sender()?;
        match event {
            Some(event) => place.send_one(&sender, &event).await,
            None => place.send_all(sender, inputs, arguments).await,
        }
    })
}

/// Where events go.
struct Place {
    connection: Connection,
    topics: TopicNames,
    timeout: Duration,
}

impl Place {
    /// Asks whether somebody is there, so that a wrong address is told at once and by its reason.
    async fn check(&self) -> Result<(), Failure> {
        let (connection, topic) = (self.connection.clone(), self.topics.events.clone());
        let patience = self.timeout.min(FIRST_ANSWER);
        let asked = tokio::task::spawn_blocking(move || {
            let inquiry = Inquiry::new(&connection, patience)
                .map_err(|error| Failure::Broken(error.to_string()))?;
            inquiry.topic(&topic).map_err(|problem| {
                let servers = &connection.bootstrap_servers;
                Failure::Unavailable(format!(
                    "no broker at {servers} has answered within {}: {problem}; look whether Kafka \
                     runs there, and at --bootstrap-servers and `kafka.security_protocol`",
                    humantime::format_duration(patience)
                ))
            })
        });
        let looked = asked.await.map_err(|error| Failure::Fatal(error.to_string()))??;
        let (servers, topic) = (&self.connection.bootstrap_servers, &self.topics.events);
        match looked {
            Looked::Found { .. } => Ok(()),
            Looked::Missing => Err(Failure::Unavailable(format!(
                "there is no topic {topic} at {servers}; `biometric-bridge topics create` makes it"
            ))),
            Looked::Refused(code) => Err(Failure::Unavailable(format!(
                "{servers} does not show us the topic {topic}: {code}"
            ))),
        }
    }

    /// Whether the topic is known to put its own times in the place of a log's.
    async fn stamps_on_arrival(&self) -> bool {
        let topic = self.topics.events.as_str();
        let told = topics::settings(&self.connection, &[topic], SETTINGS_ANSWER).await;
        // Who may send need not be allowed to ask.
        let told = told.unwrap_or_default();
        let kind = told.get(topic).and_then(|settings| settings.get("message.timestamp.type"));
        kind.is_some_and(|kind| kind == "LogAppendTime")
    }

    fn sender(&self) -> Result<Sender, Failure> {
        let sender = Sender::with_timeout(&self.connection, &self.topics.events, self.timeout);
        sender.map_err(|error| Failure::Broken(error.to_string()))
    }

    async fn send_one(&self, sender: &Sender, event: &Outgoing) -> Result<(), Failure> {
        let sent = sender.send(event.borrowed().as_event()).await;
        let sent = sent.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let (partition, offset) = sent.delivered().await.map_err(|problem| self.lost(&problem))?;
        let topic = &self.topics.events;
        writeln!(io::stdout(), "sent to {topic}, partition {partition}, offset {offset}")?;
        Ok(())
    }

    fn lost(&self, problem: &str) -> Failure {
        Failure::Unavailable(format!(
            "the event was not delivered to {} at {}: {problem}",
            self.topics.events, self.connection.bootstrap_servers
        ))
    }

    async fn send_all(
        &self,
        sender: Sender,
        inputs: Vec<Input>,
        arguments: &Arguments,
    ) -> Result<(), Failure> {
        if arguments.log && self.stamps_on_arrival().await {
            complain(&format_args!(
                "{} stamps messages on arrival (message.timestamp.type=LogAppendTime): the log's own \
                 times are lost",
                self.topics.events
            ));
        }
        if arguments.files.is_empty() && io::stdin().is_terminal() {
            complain(&"reading events from the terminal, one JSON object a line; Ctrl-D ends");
        }
        let mut progress = Progress::over(&arguments.files);
        if arguments.rate.is_some() {
            progress = progress.of_slow_lines();
        }
        let mut session = Session {
            sending: Sending::new(sender, arguments.rate),
            progress,
            log: arguments.log,
            keep_going: arguments.keep_going,
            without_key: 0,
            malformed: 0,
        };
        let mut ended = Ok(());
        for input in inputs {
            ended = session.send(input).await;
            if ended.is_err() {
                break;
            }
        }
        // What is on its way may still arrive, whatever ended the reading.
        session.sending.finish().await;
        session.progress.clear();
        self.summarise(&session);
        ended?;
        session.sending.check(&self.connection.bootstrap_servers)
    }

    fn summarise(&self, session: &Session) {
        let Sending { delivered, .. } = session.sending;
        let topic = &self.topics.events;
        match delivered {
            0 => complain(&"nothing was sent"),
            count => complain(&format_args!(
                "sent {} in {:.1} s to {topic}",
                counted(count, "event"),
                session.sending.elapsed().as_secs_f64()
            )),
        }
        if session.without_key > 0 {
            complain(&format_args!(
                "{} went without a key, for nobody is named as their user",
                counted(session.without_key, "event")
            ));
        }
        if session.malformed > 0 {
            complain(&format_args!("skipped {}", counted(session.malformed, "malformed line")));
        }
    }
}

/// One run over files.
struct Session {
    sending: Sending,
    progress: Progress,
    log: bool,
    keep_going: bool,
    without_key: u64,
    malformed: u64,
}

impl Session {
    async fn send(&mut self, input: Input) -> Result<(), Failure> {
        let mut lines = Lines::numbered_from(1, input.reader);
        loop {
            let read = lines.read_bytes();
            let read =
                read.map_err(|source| Failure::Input { input: input.name.clone(), source })?;
            let Some(Numbered { number, bytes, line }) = read else { return Ok(()) };
            self.progress.advance(bytes);
            let sent = match line {
                Ok(line) => self.send_line(line, &input.name, number).await?,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = sent {
                let malformed =
                    Failure::MalformedLine { input: input.name.clone(), line: number, problem };
                if !self.keep_going {
                    return Err(malformed);
                }
                self.malformed += 1;
                self.progress.suspend(|| complain(&malformed));
            }
            if self.sending.has_lost() {
                return Ok(());
            }
        }
    }

    /// Sends what stands in one line; the inner error says what is wrong with the line.
    async fn send_line(
        &mut self,
        line: &[u8],
        input: &str,
        number: u64,
    ) -> Result<Result<(), Malformed>, Failure> {
        let (record, value);
        let mut outgoing = if self.log {
            record = match Line::parse(line) {
                Ok(record) => record,
                Err(malformed) => return Ok(Err(malformed)),
            };
            value = record.value();
            event::Borrowed {
                value: value.as_bytes(),
                headers: record.headers().collect(),
                timestamp_ms: record.record_time_ms(),
                key: None,
            }
        } else {
            event::Borrowed { value: line.trim_ascii(), ..event::Borrowed::default() }
        };
        // Sizes and times are for the bridge to judge.
        let intake = Intake { bytes_max: usize::MAX, ..Intake::default() };
        let message = neuros::wire::Message {
            value: outgoing.value,
            headers: outgoing.headers.iter().copied().collect(),
            record_time: None,
        };
        let key = match neuros::wire::decode(&message, &intake) {
            Ok(record) => Some(record.user_id.to_string()),
            // In a log that may be what was sent; of lines that are typed it is a slip.
            Err(rejection)
                if !self.log
                    && matches!(rejection.reason, Reason::NotJson | Reason::NotAnObject) =>
            {
                return Ok(Err(Malformed::NotAnEvent(rejection.detail)));
            }
            Err(rejection) => rejection.user_id.map(Cow::into_owned),
        };
        let key = key.map(String::into_bytes);
        self.without_key += u64::from(key.is_none());
        outgoing.key = key.as_deref();
        self.sending.put(outgoing, input, number).await
    }
}

/// `1 event`, `1,234 events`.
fn counted(count: u64, what: &str) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped} {what}{}", if count == 1 { "" } else { "s" })
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=1e9).contains(&rate) {
        Ok(rate)
    } else {
        Err("must lie between 0.001 and 1e9".to_owned())
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_millis(100)..=Duration::from_hours(1);
    if allowed.contains(&timeout) {
        Ok(timeout)
    } else {
        Err("must lie between 100ms and 1h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_and_one_is_singular() {
        for (count, said) in [(0, "0 events"), (1, "1 event"), (999, "999 events")] {
            assert_eq!(counted(count, "event"), said);
        }
        assert_eq!(counted(1_234, "event"), "1,234 events");
        assert_eq!(counted(12_345_678, "line"), "12,345,678 lines");
    }
}
