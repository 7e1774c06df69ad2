//! Spans on their way to a collector: a bounded queue, a thread that sends, and counts of what came of it. It never
//! holds up whoever ends a span: what finds no room is dropped.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use prost::Message as _;
use tokio::time::Instant;

use super::escaped;
use crate::http::client;
use crate::settings::TracesSettings;

/// What has become of spans.
#[derive(Debug, Default)]
pub struct Spans {
    exported: AtomicU64,
    dropped: AtomicU64,
    passed_over: AtomicU64,
}

impl Spans {
    /// Spans that the collector has taken.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that found no room, or that the collector did not take.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Records that were not followed because enough others of their batch were.
    pub fn passed_over(&self) -> u64 {
        self.passed_over.load(Ordering::Relaxed)
    }

    pub(super) fn pass_over(&self) {
        self.passed_over.fetch_add(1, Ordering::Relaxed);
    }
}

/// Bytes of a collector's answer that are read, at most.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// How often whoever ends the queue looks for room in it.
const LOOK: Duration = Duration::from_millis(5);

/// A span for the collector, or word that none follow.
enum Told {
    Span(Box<SpanData>),
    /// Send what is there, and say when that is done.
    End(SyncSender<()>),
}

/// Where spans wait.
#[derive(Debug)]
pub(super) struct Queue {
    queue: SyncSender<Told>,
    spans: Arc<Spans>,
    /// The thread begins with the resource that it is to name.
    worker: Mutex<Option<Worker>>,
}

impl Queue {
    /// A queue before the collector that the settings name.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings.
    pub(super) fn to(
        settings: &TracesSettings,
        endpoint: &str,
        spans: &Arc<Spans>,
    ) -> Result<Self, String> {
        let authorities = match &settings.ca_file {
            Some(path) => Some(client::authorities("traces.ca_file", path)?),
            None => None,
        };
        let agent = client::agent(authorities.as_deref(), settings.timeout);
        let said = Arc::<Said>::default();
        let collector = Collector { agent, timeout: settings.timeout, said: Arc::clone(&said) };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(settings.timeout)
            .build()
            .map_err(|error| format!("`traces.endpoint` cannot be used: {error}"))?;
        let (queue, told) = sync_channel(settings.queue_spans_max);
        let worker = Worker {
            told,
            exporter,
            said,
            spans: Arc::clone(spans),
            batch_max: settings.batch_spans_max.min(settings.queue_spans_max),
            every: settings.every,
            away: false,
        };
        Ok(Self { queue, spans: Arc::clone(spans), worker: Mutex::new(Some(worker)) })
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if self.queue.try_send(Told::Span(Box::new(span))).is_err() {
            self.spans.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nobody waits for single spans.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, within: Duration) -> OTelSdkResult {
        let until = Instant::now() + within;
        let (done, is_done) = sync_channel(1);
        let mut end = Told::End(done);
        loop {
            match self.queue.try_send(end) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < until => {
                    end = back;
                    thread::sleep(LOOK);
                }
                Err(_) => return Err(OTelSdkError::Timeout(within)),
            }
        }
        let patience = until.saturating_duration_since(Instant::now());
        is_done.recv_timeout(patience).map_err(|_| OTelSdkError::Timeout(within))
    }

    fn set_resource(&mut self, resource: &Resource) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut worker) = worker else { return };
        worker.exporter.set_resource(resource);
        let begun = thread::Builder::new().name("spans".to_owned()).spawn(move || worker.run());
        if let Err(error) = begun {
            tracing::warn!(%error, "spans are dropped: there is no thread to send them");
        }
    }
}

/// What the collector said to spans: the exporter itself says whether it took them, and no more.
#[derive(Debug, Default)]
struct Said {
    /// Why it did not.
    problem: Mutex<Option<String>>,
    /// How many of them it did not want.
    rejected: AtomicU64,
}

/// Sends spans.
#[derive(Debug)]
struct Worker {
    told: Receiver<Told>,
    exporter: opentelemetry_otlp::SpanExporter,
    said: Arc<Said>,
    spans: Arc<Spans>,
    batch_max: usize,
    every: Duration,
    /// The collector has not taken the spans before.
    away: bool,
}

impl Worker {
    /// Sends what comes, until nothing does.
    fn run(mut self) {
        let mut batch = Vec::with_capacity(self.batch_max);
        let mut until = Instant::now() + self.every;
        loop {
            match self.told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Told::Span(span)) => {
                    batch.push(*span);
                    if batch.len() < self.batch_max {
                        continue;
                    }
                }
                Ok(Told::End(done)) => {
                    self.send(&mut batch);
                    // Whoever waited may have given up.
                    let _gone = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.send(&mut batch);
            until = Instant::now() + self.every;
        }
    }

    /// Sends a batch once: what the collector does not take is dropped, for more follow.
    fn send(&mut self, batch: &mut Vec<SpanData>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        // The client waits in its own thread, so that nothing is left to wait for here.
        let sent = self.exporter.export(std::mem::take(batch)).now_or_never();
        let sent = sent.unwrap_or(Err(OTelSdkError::AlreadyShutdown));
        let rejected = self.said.rejected.swap(0, Ordering::Relaxed).min(count);
        let exported = if sent.is_ok() { count - rejected } else { 0 };
        self.spans.exported.fetch_add(exported, Ordering::Relaxed);
        self.spans.dropped.fetch_add(count - exported, Ordering::Relaxed);
        let is_away = sent.is_err();
        // Once, however long it goes on.
        match sent {
            Err(error) if !self.away => {
                let said = self.said.problem.lock().unwrap_or_else(PoisonError::into_inner).take();
                let problem = said.unwrap_or_else(|| escaped(&error.to_string()));
                tracing::warn!(%problem, "spans are dropped: the collector does not take them");
            }
            Ok(()) if self.away => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        self.away = is_away;
    }
}

/// Speaks HTTP with the collector, by the client that the service has anyway.
#[derive(Debug)]
struct Collector {
    agent: ureq::Agent,
    timeout: Duration,
    said: Arc<Said>,
}

impl Collector {
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let unanswered = |error| client::unanswered(error, self.timeout);
        let request = request.map(|body| body.to_vec());
        let mut answer = self.agent.run(request).map_err(unanswered)?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = Bytes::from(body.map_err(unanswered)?);
        let status = answer.status();
        match status.is_success() {
            true => {
                self.said.rejected.store(rejected(&body), Ordering::Relaxed);
                Ok(answer.map(|_| body))
            }
            false => Err(format!("it answers {}", status.as_u16())),
        }
    }
}

/// How many spans an answer says that the collector did not want.
fn rejected(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).ok();
    let part = answer.and_then(|answer| answer.partial_success);
    part.map_or(0, |part| u64::try_from(part.rejected_spans).unwrap_or(0))
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.send(request).map_err(|problem| {
            let mut place = self.said.problem.lock().unwrap_or_else(PoisonError::into_inner);
            place.insert(problem).as_str().into()
        })
    }
}
