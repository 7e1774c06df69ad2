//! Following single records and requests by spans of OpenTelemetry: which there are, what they say, and how others
//! continue them. No span says whose a record is or what it holds: topics, offsets, patterns of routes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actors::incoming::Incoming;
use actors::lane::Lane;
use actors::rows::Sink;
use actors::trace::{Followed, SPANS, TRACEPARENT, Tracer};
use neuros::wire::Headers;
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::field::Empty;
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::exporter::{Queue, Spans};
use super::sampling::{Sampling, named, traceparent};
use crate::kafka::TopicNames;
use crate::settings::{Settings, TracesSettings};

/// The name of what makes spans, and of the service where nothing else is said.
const NAME: &str = "biometric-bridge";
/// How long what is on its way to the collector may take when the process ends.
const LAST: Duration = Duration::from_secs(2);

/// The traces of this process, like its log: there is one.
static TRACES: OnceLock<Traces> = OnceLock::new();

/// The traces of this process; off unless its settings name a collector.
pub fn traces() -> &'static Traces {
    TRACES.get_or_init(Traces::default)
}

/// Follows records and requests, if anybody collects spans.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Tracing>>);

struct Tracing {
    sampling: Sampling,
    provider: SdkTracerProvider,
    spans: Arc<Spans>,
    topics: TopicNames,
    group: String,
}

impl Traces {
    /// As the settings say.
    ///
    /// # Errors
    ///
    /// One sentence that names the setting that cannot be used.
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        let Some(endpoint) = &settings.traces.endpoint else { return Ok(Self::default()) };
        let spans = Arc::<Spans>::default();
        let queue = Queue::to(&settings.traces, endpoint.expose(), &spans)?;
        let provider = SdkTracerProvider::builder()
            // What is not to be followed never becomes a span.
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource(&settings.traces))
            .with_span_processor(queue)
            .build();
        Ok(Self(Some(Arc::new(Tracing {
            sampling: Sampling::of(&settings.traces),
            provider,
            spans,
            topics: crate::app::topics_of(settings),
            group: settings.kafka.group_id.clone(),
        }))))
    }

    /// From now on these are the process's.
    pub(super) fn install(self) {
        // Whoever asked before was told that there are none; a process sets its log up once, and first.
        let _first = TRACES.set(self);
    }

    /// What makes spans of OpenTelemetry of those that are meant for it, and of nothing else: no event and no span of
    /// a library.
    pub(super) fn layer<S>(&self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let tracing = self.0.as_deref()?;
        let is_ours = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target() == SPANS;
        let layer = OpenTelemetryLayer::new(tracing.provider.tracer(NAME))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        Some(layer.with_filter(filter_fn(is_ours).with_max_level_hint(LevelFilter::INFO)))
    }

    /// What has become of spans.
    pub fn spans(&self) -> Option<&Spans> {
        self.0.as_deref().map(|tracing| &*tracing.spans)
    }

    /// Sends what is left, for no longer than a moment.
    pub fn end(&self) {
        let Some(tracing) = &self.0 else { return };
        if tracing.provider.shutdown_with_timeout(LAST).is_err() {
            tracing::warn!("the last spans did not reach the collector in time");
        }
    }

    /// Whether anything may be followed.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A request that is answered; a disabled span when nobody follows it. `route` is the pattern of its path: a path
    /// says whose data was asked for.
    pub(crate) fn request(&self, method: &str, route: Option<&str>, trace: Option<&[u8]>) -> Span {
        let Some(tracing) = &self.0 else { return Span::none() };
        let parent = trace.and_then(|trace| {
            [(TRACEPARENT, trace)].into_iter().collect::<Headers<'_>>().traceparent()
        });
        let parent = parent.and_then(named);
        if !tracing.sampling.follows(parent.as_ref()) {
            return Span::none();
        }
        let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let span = tracing::info_span!(
            target: SPANS,
            parent: None,
            "request",
            otel.name = name,
            otel.kind = "server",
            http.request.method = method,
            http.route = route,
            http.response.status_code = Empty,
            otel.status_code = Empty,
        );
        continue_from(&span, parent);
        span
    }

    /// A committed message of ours that names its trace is handed out to so many sockets.
    pub(crate) fn handed_out(&self, message: &str, sockets: usize) {
        if self.0.is_none() || sockets == 0 {
            return;
        }
        let Some(trace) = trace_in(message).filter(SpanContext::is_sampled) else { return };
        let span = tracing::info_span!(
            target: SPANS,
            parent: None,
            "send",
            otel.name = "send sockets",
            otel.kind = "producer",
            messaging.system = "websocket",
            messaging.destination.name = "sockets",
            messaging.operation.name = "send",
            "messaging.operation.type" = "send",
            biometric.sockets = sockets as u64,
        );
        continue_from(&span, Some(trace));
    }
}

/// The trace that a message says it belongs to.
fn trace_in(message: &str) -> Option<SpanContext> {
    let trace = actors::trace::trace_of(message.as_bytes())?;
    let headers: Headers<'_> = [(TRACEPARENT, trace.as_bytes())].into_iter().collect();
    named(headers.traceparent()?)
}

/// Makes a span the child of another process's.
fn continue_from(span: &Span, parent: Option<SpanContext>) {
    if let Some(parent) = parent {
        // A span that has begun has its parent already; these have not.
        let _begun = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Ends a request's span with what was answered.
pub(crate) fn answered(span: &Span, status: u16) {
    if !span.is_disabled() {
        span.record("http.response.status_code", status);
        if status >= 500 {
            span.record("otel.status_code", "ERROR");
        }
    }
}

fn resource(settings: &TracesSettings) -> Resource {
    let said = settings.resource_attributes.iter();
    let said = said.map(|(name, value)| KeyValue::new(name.to_owned(), value.to_owned()));
    let builder = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", NAME))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", crate::app::instance()))
        .with_attributes(said);
    match &settings.service_name {
        Some(name) => builder.with_attribute(KeyValue::new("service.name", name.clone())).build(),
        None => builder.build(),
    }
}

impl Tracer for Traces {
    fn follow(&self, lane: Lane, incoming: &Incoming<'_>, has_room: bool) -> Option<Followed> {
        let tracing = self.0.as_deref()?;
        let headers = incoming.headers.iter();
        let headers: Headers<'_> =
            headers.map(|(name, value)| (*name, value.unwrap_or_default())).collect();
        let producer = headers.traceparent();
        let parent = producer.and_then(named);
        if !tracing.sampling.follows(parent.as_ref()) {
            return None;
        }
        if !has_room {
            tracing.spans.pass_over();
            return None;
        }
        let topic = tracing.topics.of(incoming.source);
        let span = tracing::info_span!(
            target: SPANS,
            parent: None,
            "process",
            otel.name = format!("process {topic}"),
            otel.kind = "consumer",
            messaging.system = "kafka",
            messaging.operation.name = "process",
            "messaging.operation.type" = "process",
            messaging.destination.name = topic,
            messaging.destination.partition.id = %lane,
            messaging.consumer.group.name = tracing.group,
            messaging.kafka.offset = incoming.offset,
            messaging.message.body.size = incoming.value.map_or(0, <[u8]>::len) as u64,
        );
        continue_from(&span, parent);
        let trace = self.continued(&span)?;
        Some(Followed { span, trace, producer: producer.map(Arc::from) })
    }

    fn batch(&self, lane: Lane, records: usize, followed: &[Followed]) -> Span {
        let Some(tracing) = &self.0 else { return Span::none() };
        let topic = tracing.topics.of(actors::lane::Source::Events);
        let span = tracing::info_span!(
            target: SPANS,
            parent: None,
            "process",
            otel.name = format!("process {topic}"),
            otel.kind = "consumer",
            messaging.system = "kafka",
            messaging.operation.name = "process",
            "messaging.operation.type" = "process",
            messaging.destination.name = topic,
            messaging.destination.partition.id = %lane,
            messaging.consumer.group.name = tracing.group,
            messaging.batch.message_count = records as u64,
        );
        for followed in followed {
            let trace = followed.producer.as_ref().unwrap_or(&followed.trace);
            if let Some(trace) = named(trace) {
                span.add_link(trace);
            }
        }
        span
    }

    fn leaving(&self, sink: Sink, trace: &str) -> Span {
        let Some(tracing) = &self.0 else { return Span::none() };
        let Some(parent) = named(trace).filter(SpanContext::is_sampled) else {
            return Span::none();
        };
        let topic = tracing.topics.of_sink(sink);
        let (system, destination) = match topic {
            Some(topic) => ("kafka", topic),
            None => ("websocket", sink.as_str()),
        };
        let span = tracing::info_span!(
            target: SPANS,
            parent: None,
            "send",
            otel.name = format!("send {destination}"),
            otel.kind = "producer",
            messaging.system = system,
            messaging.operation.name = "send",
            "messaging.operation.type" = "send",
            messaging.destination.name = destination,
            otel.status_code = Empty,
        );
        continue_from(&span, Some(parent));
        span
    }

    fn continued(&self, span: &Span) -> Option<Arc<str>> {
        if span.is_disabled() {
            return None;
        }
        let context = span.context();
        let names = context.span().span_context().clone();
        names.is_valid().then(|| traceparent(&names).into())
    }
}
