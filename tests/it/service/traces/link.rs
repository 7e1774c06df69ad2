//! The link to a collector: with TLS only one is spoken to whose certificate is from the right authority, and what it
//! asks for goes with the spans.

use super::{EXPORTED, TRACE, records, send, site, traceparent};
use crate::servers::Collector;
use crate::service::links::world;

/// What this collector asks for.
const HEADERS: &str = "x-collector-key=open%20sesame,x-tenant=7";

#[test]
fn a_collector_gets_spans_and_its_key_only_with_a_certificate_of_the_authority_that_is_named() {
    let world = world();
    let collector = Collector::start_tls(&world.good.certificate, &world.good.key);
    assert!(collector.url().starts_with("https://"));
    let Some(mut site) = site(&collector.url()) else { return };
    site.set("OTEL_TRACES_SAMPLER_ARG", "0");
    site.set("OTEL_EXPORTER_OTLP_HEADERS", HEADERS);
    // None is named, and the system knows no such authority; then another one is.
    for authority in [None, Some(&world.stranger.file)] {
        if let Some(authority) = authority {
            site.set("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.to_str().expect("a path"));
        }
        let bridge = site.start();
        bridge.wait_ready();
        send(&site, "ada", Some(&traceparent(TRACE, "01")));
        bridge.wait_log("spans are dropped: the collector does not take them");
        assert!(bridge.log().contains("certificate"), "{}", bridge.log());
        assert_eq!(bridge.metric(EXPORTED), 0.0);
        bridge.end();
        assert_eq!(collector.requests(), 0, "{authority:?}: nothing was said to it");
    }
    let authority = world.authority.file.to_str().expect("a path");
    site.set("OTEL_EXPORTER_OTLP_CERTIFICATE", authority);
    let bridge = site.start();
    bridge.wait_ready();
    send(&site, "ada", Some(&traceparent(TRACE, "01")));
    bridge.wait_metric(EXPORTED, |exported| exported > 0.0);
    bridge.end();
    let spans = collector.spans();
    assert_eq!(records(&spans).len(), 1, "{spans:?}");
    let bytes = collector.bytes();
    let sent = String::from_utf8_lossy(&bytes);
    for header in ["x-collector-key: open sesame\r\n", "x-tenant: 7\r\n"] {
        assert!(sent.contains(header), "{header:?}: {sent}");
    }
    assert!(!bridge.log().contains("sesame"), "what a collector asks for is in no log");
    // The name for traces alone goes before the one for everything.
    site.set("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=8");
    let bridge = site.start();
    bridge.wait_ready();
    send(&site, "ada", Some(&traceparent(TRACE, "01")));
    bridge.wait_metric(EXPORTED, |exported| exported > 0.0);
    bridge.end();
    let bytes = collector.bytes().split_off(bytes.len());
    let sent = String::from_utf8_lossy(&bytes);
    assert!(sent.contains("x-tenant: 8\r\n") && !sent.contains("sesame"), "{sent}");
}
