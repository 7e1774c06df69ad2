//! Our certificate: TLS 1.3 and nothing older. Files that change are read again; a pair that does not fit
//! together is never shown.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::watched::Watched;
use crate::settings::HttpTls;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// What we show to whoever connects, and where it comes from.
pub(super) struct Certificate {
    files: Files,
    shown: RwLock<Arc<CertifiedKey>>,
}

struct Files {
    certificates: Watched,
    key: Watched,
}

impl Certificate {
    /// The certificate that the settings name, if they name one.
    ///
    /// # Errors
    ///
    /// One sentence that names the file and the cure.
    pub(super) fn of(settings: &HttpTls) -> Result<Option<Self>, String> {
        let (Some(certificates), Some(key)) = (&settings.certificate_file, &settings.key_file)
        else {
            return Ok(None);
        };
        let files = Files {
            certificates: Watched::new("http.tls.certificate_file", certificates.clone()),
            key: Watched::new("http.tls.key_file", key.clone()),
        };
        let shown = RwLock::new(Arc::new(files.parse()?));
        Ok(Some(Self { files, shown }))
    }

    /// Shows what is in the files now, if that fits together.
    pub(super) fn refresh(&self) {
        let changed = [self.files.certificates.look(), self.files.key.look()];
        if !changed.contains(&true) {
            return;
        }
        match self.files.parse() {
            Ok(renewed) => {
                *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(renewed);
                tracing::info!("the certificate was renewed");
            }
            // While both files are written, one is still the old one.
            Err(problem) => {
                tracing::warn!(%problem, "the certificate stays the one that was read before");
            }
        }
    }

    /// TLS with this certificate.
    ///
    /// # Errors
    ///
    /// When the library cannot speak TLS 1.3.
    pub(super) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, String> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?;
        Ok(builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as _))
    }
}

impl Files {
    fn parse(&self) -> Result<CertifiedKey, String> {
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&self.certificates.content()?).collect();
        let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
        let certificates = certificates.ok_or_else(|| {
            self.certificates.told(
                "which holds no certificate; it must begin with `-----BEGIN CERTIFICATE-----`, our own \
                 first",
            )
        })?;
        let no_key = || {
            self.key.told(
                "which holds no private key that can be used; it must begin with \
                 `-----BEGIN PRIVATE KEY-----`, unencrypted",
            )
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key.content()?).map_err(|_| no_key())?;
        CertifiedKey::from_der(certificates, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => self.key.told(
                "which is not the key of the certificate in `http.tls.certificate_file`; name two files \
                 that belong together",
            ),
            rustls::Error::InvalidCertificate(_) => self.certificates.told(
                "whose first certificate cannot be read; `openssl x509 -noout -text -in` says what it is",
            ),
            _ => no_key(),
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn issue() -> (String, String) {
        let issued = rcgen::generate_simple_self_signed(vec!["bridge".to_owned()]);
        let issued = issued.expect("a certificate");
        (issued.cert.pem(), issued.signing_key.serialize_pem())
    }

    fn shown(certificate: &Certificate) -> Vec<u8> {
        certificate.shown.read().expect("whole").cert[0].to_vec()
    }

    #[test]
    fn what_cannot_be_shown_is_told_with_the_file_and_the_cure() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            Some(path)
        };
        let ((one, one_key), (_, other_key)) = (issue(), issue());
        let (certificate, key) = (file("one.crt", &one), file("one.key", &one_key));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (certificate_file, key_file, said) in [
            (Some(folder.path().join("none")), key.clone(), "none, which cannot be read"),
            (certificate.clone(), Some(folder.path().join("none")), "`http.tls.key_file` names"),
            (file("empty", ""), key.clone(), "empty, which holds no certificate"),
            (file("garbage", garbage), key.clone(), "first certificate cannot be read"),
            (certificate.clone(), file("empty", ""), "empty, which holds no private key"),
            (certificate.clone(), file("other", &other_key), "is not the key of the certificate"),
        ] {
            let problem = Certificate::of(&HttpTls { certificate_file, key_file });
            let problem = problem.map(|_| ()).expect_err("refused");
            assert!(problem.contains(said), "{problem}");
        }
        let both = HttpTls { certificate_file: certificate, key_file: key };
        assert!(Certificate::of(&both).expect("a pair").is_some());
    }

    #[test]
    fn a_pair_is_renewed_once_both_files_are_new() {
        let folder = tempfile::tempdir().expect("a folder");
        let [certificate_file, key_file] = ["crt", "key"].map(|name| folder.path().join(name));
        let write = |path: &Path, text: &str| fs::write(path, text).expect("written");
        let ((old, old_key), (new, new_key)) = (issue(), issue());
        write(&certificate_file, &old);
        write(&key_file, &old_key);
        let settings = HttpTls {
            certificate_file: Some(certificate_file.clone()),
            key_file: Some(key_file.clone()),
        };
        let certificate = Certificate::of(&settings).expect("a pair").expect("named");
        let before = shown(&certificate);
        write(&certificate_file, &new);
        certificate.refresh();
        assert!(shown(&certificate) == before, "half of it is new");
        write(&key_file, &new_key);
        certificate.refresh();
        let after = shown(&certificate);
        assert!(after != before);
        fs::remove_file(&key_file).expect("removed");
        certificate.refresh();
        assert!(shown(&certificate) == after, "nothing is better than it was");
    }
}
