//! Asking over HTTP ourselves: for an issuer's keys, and whether a service is well. Follows no redirect and
//! trusts the authorities that the system trusts, or those in the file that `SSL_CERT_FILE` names.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
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
    ask(url, tls(trusting(&trusted), false), timeout, bytes_max)
}

/// Asks more than once, and keeps connections meanwhile; trusts `authorities`, or else those of the system.
pub(crate) fn agent(authorities: Option<&[CertificateDer<'_>]>, timeout: Duration) -> ureq::Agent {
    let roots = match authorities {
        Some(authorities) => trusting(authorities),
        None => trusting(&rustls_native_certs::load_native_certs().certs),
    };
    asking(tls(roots, false), timeout)
}

/// The certificates in a file that a setting names.
///
/// # Errors
///
/// One sentence that says what is wrong with it.
pub(crate) fn authorities(
    setting: &str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let told = |problem: String| format!("`{setting}` names {}, {problem}", path.display());
    let unreadable = |error: io::Error| told(format!("which cannot be read: {error}"));
    let text = std::fs::read(path).map_err(unreadable)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(told("which has no certificates; wanted are some in PEM".to_owned())),
    }
}

fn trusting(authorities: &[CertificateDer<'_>]) -> RootCerts {
    let roots = authorities.iter().map(|trusted| Certificate::from_der(trusted).to_owned());
    RootCerts::new_with_certs(&roots.collect::<Vec<_>>())
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
    let unanswered = |error| unanswered(error, timeout);
    let mut response = asking(tls, timeout).get(url).call().map_err(unanswered)?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(bytes_max).read_to_vec();
    Ok((status, body.map_err(unanswered)?))
}

fn asking(tls: TlsConfig, timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .tls_config(tls)
        // Whatever the environment says.
        .proxy(None)
        .build();
    ureq::Agent::new_with_config(config)
}

/// Why there is no answer.
pub(crate) fn unanswered(error: ureq::Error, timeout: Duration) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("no answer within {} s", timeout.as_secs_f32()),
        ureq::Error::Io(error) => escaped(&error.to_string()),
        error => escaped(&error.to_string()),
    }
}
