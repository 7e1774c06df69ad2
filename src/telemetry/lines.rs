//! Which log lines are written, and what each says beside its own fields: the trace that was current. It knows
//! nothing of where traces go.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceContextExt as _, TraceId};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context as Place, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::quotes;

/// What the settings ask for, but never what quotes others, and not the spans that are collected: lines name their
/// trace, and need not repeat what it says.
pub(super) struct Wanted(pub(super) EnvFilter);

impl Wanted {
    fn never(metadata: &Metadata<'_>) -> bool {
        quotes(metadata) || metadata.target() == actors::trace::SPANS
    }
}

impl<S: Subscriber> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, place: &Place<'_, S>) -> bool {
        !Self::never(metadata) && Filter::enabled(&self.0, metadata, place)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match Self::never(metadata) {
            true => Interest::never(),
            false => Filter::<S>::callsite_enabled(&self.0, metadata),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&self.0)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, place: Place<'_, S>) {
        Filter::on_new_span(&self.0, attributes, id, place);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, place: Place<'_, S>) {
        Filter::on_record(&self.0, id, values, place);
    }

    fn on_enter(&self, id: &Id, place: Place<'_, S>) {
        Filter::on_enter(&self.0, id, place);
    }

    fn on_exit(&self, id: &Id, place: Place<'_, S>) {
        Filter::on_exit(&self.0, id, place);
    }

    fn on_close(&self, id: Id, place: Place<'_, S>) {
        Filter::on_close(&self.0, id, place);
    }
}

/// Adds `trace_id` and `span_id` to what another format writes, when a span that is collected is current.
pub(super) enum WithIds<F> {
    /// To an object in JSON.
    Json(F),
    /// To a line of text.
    Text(F),
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (Self::Json(format) | Self::Text(format)) = self;
        let Some((trace, span)) = current() else {
            return format.format_event(context, writer, event);
        };
        let mut line = String::new();
        format.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match (self, line.strip_suffix('}')) {
            (Self::Json(_), Some(open)) => {
                writeln!(writer, "{open},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}")
            }
            _ => writeln!(writer, "{line} trace_id={trace} span_id={span}"),
        }
    }
}

/// The span that is current and collected.
fn current() -> Option<(TraceId, SpanId)> {
    Context::map_current(|context| {
        let span = context.span();
        let names = span.span_context();
        names.is_sampled().then(|| (names.trace_id(), names.span_id()))
    })
}
