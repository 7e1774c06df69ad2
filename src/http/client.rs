//! Asking over HTTP ourselves: for an issuer's keys, and whether a service is well. Follows no redirect and
//! trusts the authorities that the system trusts, or those in the file that `SSL_CERT_FILE` names.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::telemetry::escaped;

/// Status and body at a URL.
///
/// # Errors
///
/// Why there is no answer.
pub(crate) fn get(url: &str, timeout: Duration, bytes_max: u64) -> Result<(u16, Vec<u8>), String> {
    let trusted = match url.starts_with("https:") {
        true => rustls_native_certs::load_native_certs().certs,
        false => Vec::new(),
    };
    let roots = trusted.iter().map(|trusted| Certificate::from_der(trusted).to_owned());
    let tls = tls(RootCerts::new_with_certs(&roots.collect::<Vec<_>>()), false);
    ask(url, tls, timeout, bytes_max)
}

/// The same of this machine, where a certificate is for a name by which nobody here asks: whoever it is, they are
/// told nothing.
///
/// # Errors
///
/// Why there is no answer.
pub(crate) fn get_near(
    url: &str,
    timeout: Duration,
    bytes_max: u64,
) -> Result<(u16, Vec<u8>), String> {
    ask(url, tls(RootCerts::new_with_certs(&[]), true), timeout, bytes_max)
}

fn tls(roots: RootCerts, anybody: bool) -> TlsConfig {
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(roots)
        .disable_verification(anybody)
        .build()
}

fn ask(
    url: &str,
    tls: TlsConfig,
    timeout: Duration,
    bytes_max: u64,
) -> Result<(u16, Vec<u8>), String> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .tls_config(tls)
        // Whatever the environment says.
        .proxy(None)
        .build();
    let unanswered = |error: ureq::Error| match error {
        ureq::Error::Timeout(_) => format!("no answer within {} s", timeout.as_secs()),
        ureq::Error::Io(error) => escaped(&error.to_string()),
        error => escaped(&error.to_string()),
    };
    let mut response = ureq::Agent::new_with_config(config).get(url).call().map_err(unanswered)?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(bytes_max).read_to_vec();
    Ok((status, body.map_err(unanswered)?))
}
