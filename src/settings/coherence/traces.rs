//! What the settings of traces must be to fit together.

use super::Found;
use crate::settings::Settings;

pub(super) fn contradictions(settings: &Settings, found: &mut Found) {
    found.must(
        settings.traces.endpoint.as_ref().is_none_or(|url| !url.has_credentials()),
        &["traces.endpoint"],
        "names a user or has a password; put what the collector asks for into OTEL_EXPORTER_OTLP_HEADERS",
    );
}
