//! Links to other machines: with TLS each server is spoken to whose certificate is from the right authority, for its
//! name and in its time, and no other.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::push_client::peer::{Manners, Peer};
use crate::servers::{Kafka, Postgres, Redis, Servers, Vault};
use crate::support::{bridge, stdout};

/// Who says whose a certificate is.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
    folder: PathBuf,
}

/// A server's certificate and its key.
pub(crate) struct Shown {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one file.
    key_store: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let file = folder.join(format!("{name}.crt"));
        let certificate = parameters.self_signed(&key).expect("a certificate");
        std::fs::write(&file, certificate.pem()).expect("written");
        Self { issuer: Issuer::new(parameters, key), file, folder: folder.to_owned() }
    }

    /// A certificate for 127.0.0.1, until the end of a year.
    fn certify(&self, name: &str, last_year: i32) -> Shown {
        let names = vec!["127.0.0.1".to_owned()];
        let mut parameters = CertificateParams::new(names).expect("an address");
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().expect("a key");
        let signed = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |ending: &str, text: &str| {
            let path = self.folder.join(format!("{name}.{ending}"));
            std::fs::write(&path, text).expect("written");
            path
        };
        let (certificate, key) = (signed.pem(), key.serialize_pem());
        Shown {
            key_store: file("pem", &format!("{key}{certificate}")),
            certificate: file("crt", &certificate),
            key: file("key", &key),
        }
    }
}

/// An authority that signs, one that nobody asked, and a certificate that holds and one that held.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) stranger: Authority,
    pub(crate) good: Shown,
    expired: Shown,
    _folder: tempfile::TempDir,
}

pub(crate) fn world() -> World {
    let folder = tempfile::tempdir().expect("a folder");
    // Servers read it that run as somebody else.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), all).expect("permitted");
    }
    let authority = Authority::new(folder.path(), "authority");
    let stranger = Authority::new(folder.path(), "stranger");
    let (good, expired) = (authority.certify("good", 2_999), authority.certify("expired", 2_021));
    World { authority, stranger, good, expired, _folder: folder }
}

/// What `doctor` says of a part that it reaches: that it answers, or what keeps it from that.
fn asked(variables: &[(&str, &str)], part: &str, question: &str) -> Result<String, String> {
    let mut command = bridge(&["doctor", "--json"]);
    command.env_clear().env("HTTP_BIND", "127.0.0.1:0").envs(variables.iter().copied());
    let output = command.output().expect("the program starts");
    let report: serde_json::Value = serde_json::from_str(stdout(&output)).expect("JSON");
    let checks = report["checks"].as_array().expect("a list");
    let check = checks.iter().find(|check| {
        check["part"] == part
            && check["asked"].as_str().is_some_and(|asked| asked.starts_with(question))
    });
    let check = check.unwrap_or_else(|| panic!("{part} was not asked {question:?}: {report}"));
    let answer = check["answer"].as_str().unwrap_or_default().to_owned();
    if check["status"] == "ok" { Ok(answer) } else { Err(answer) }
}

/// The same link with the right authority, with a wrong one, by another name, and with a certificate that has
/// expired: only the first is taken.
fn only_the_right_one(ask: impl Fn(&Path, &str) -> Result<String, String>, world: &World) {
    ask(&world.authority.file, "127.0.0.1").expect("the right authority and name");
    for (authority, host, what) in [
        (&world.stranger.file, "127.0.0.1", "another authority"),
        (&world.authority.file, "localhost", "another name"),
    ] {
        let said = ask(authority, host).expect_err(what);
        assert!(said.contains("certificate"), "{what}: {said}");
    }
}

#[test]
fn postgresql_is_spoken_to_only_with_its_right_certificate() {
    if !Servers::available() {
        return;
    }
    let (world, server) = (world(), Postgres::start(false));
    let database = server.database();
    let show = |shown: &Shown| {
        for (path, name) in [(&shown.certificate, "server.crt"), (&shown.key, "server.key")] {
            let text = std::fs::read_to_string(path).expect("PEM");
            // The server takes a key only from a file that is its own and nobody else's.
            let keep = format!(
                "COPY (SELECT line FROM regexp_split_to_table('{}', '\\n') AS line) TO PROGRAM \
                 'umask 077; cat > {name}'",
                text.trim_end()
            );
            server.psql(&database, &keep);
        }
        for change in
            ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.5)"]
        {
            server.psql(&database, change);
        }
    };
    let ask = |authority: &Path, host: &str| {
        let place = database.replacen("127.0.0.1", host, 1);
        let url = format!("{place}?sslmode=verify-full&sslrootcert={}", authority.display());
        asked(&[("POSTGRES_URL", &url)], "postgres", "log in")
    };
    show(&world.good);
    only_the_right_one(ask, &world);
    show(&world.expired);
    let said = ask(&world.authority.file, "127.0.0.1").expect_err("it has expired");
    assert!(said.contains("certificate expired"), "{said}");
}

#[test]
fn kafka_is_spoken_to_only_with_its_right_certificate() {
    if !Servers::available() {
        return;
    }
    let world = world();
    let stores = [world.good.key_store.as_path(), world.expired.key_store.as_path()];
    let (_kafka, [port, expired]) = Kafka::start_tls(stores);
    let ask_at = |authority: &Path, host: &str, port: u16| {
        let variables = [
            ("KAFKA_BOOTSTRAP_SERVERS", &*format!("{host}:{port}")),
            ("BRIDGE__KAFKA__SECURITY_PROTOCOL", "ssl"),
            ("BRIDGE__KAFKA__CA_FILE", authority.to_str().expect("a path")),
        ];
        asked(&variables, "kafka", "speak ssl")
    };
    only_the_right_one(|authority, host| ask_at(authority, host, port), &world);
    ask_at(&world.authority.file, "127.0.0.1", expired).expect_err("it has expired");
}

#[test]
fn redis_is_spoken_to_only_with_its_right_certificate() {
    if !Servers::available() {
        return;
    }
    let (world, good) = (world(), |world: &World| world.good.certificate.clone());
    let (server, port) = Redis::start_tls(&good(&world), &world.good.key, &world.authority.file);
    let ask = |authority: &Path, host: &str| {
        let url = format!("rediss://{host}:{port}/");
        // Its client trusts what the system trusts.
        let trusted = authority.to_str().expect("a path");
        asked(&[("REDIS_URL", &url), ("SSL_CERT_FILE", trusted)], "redis", "PING")
    };
    only_the_right_one(ask, &world);
    server.show_certificate(&world.expired.certificate, &world.expired.key);
    ask(&world.authority.file, "127.0.0.1").expect_err("it has expired");
}

#[test]
fn vault_is_spoken_to_only_with_its_right_certificate() {
    let world = world();
    let [good, expired] = [&world.good, &world.expired]
        .map(|shown| Vault::stand_in_tls(&shown.certificate, &shown.key));
    let ask_at = |vault: &Vault, authority: &Path, host: &str| {
        let [url, token] = vault.variables();
        let url = (url.0, url.1.replacen("127.0.0.1", host, 1));
        let authority = authority.to_str().expect("a path").to_owned();
        let ca_file = ("BRIDGE__KEYS__VAULT__CA_FILE", authority);
        let variables = [url, token, ca_file, ("BRIDGE__KEYS__WRAPPER", "vault".to_owned())];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        asked(&variables, "keys", "wrap and unwrap")
    };
    only_the_right_one(|authority, host| ask_at(&good, authority, host), &world);
    let said = ask_at(&expired, &world.authority.file, "127.0.0.1").expect_err("it has expired");
    assert!(said.contains("certificate"), "{said}");
}

#[test]
fn the_peer_is_pushed_to_only_with_its_right_certificate() {
    let world = world();
    let [good, expired] = [&world.good, &world.expired]
        .map(|shown| Peer::start_tls(Manners::default(), &shown.certificate, &shown.key));
    let ask_at = |peer: &Peer, authority: &Path, host: &str| {
        let url = peer.url().replacen("127.0.0.1", host, 1);
        let authority = authority.to_str().expect("a path");
        let variables = [("WEBSOCKET_URL", url.as_str()), ("BRIDGE__PUSH__CA_FILE", authority)];
        asked(&variables, "push", "open a WebSocket")
    };
    only_the_right_one(|authority, host| ask_at(&good, authority, host), &world);
    let said = ask_at(&expired, &world.authority.file, "127.0.0.1").expect_err("it has expired");
    assert!(said.contains("certificate expired"), "{said}");
    assert_eq!(expired.seen(|seen| seen.handshakes.len()), 0, "nothing was said to it");
    assert_eq!(good.seen(|seen| seen.closed.clone()), [1005], "and who is right was left in order");
}
