//! The database: reached, logged in to, of a version that works, with our schema, and ours to write.

use std::path::Path;
use std::time::Duration;

use actors::store::StoreError;

use crate::seal::key_encryption::KeyEncryptions;
use crate::seal::key_ring::SERVICE;
use crate::settings::{SecretUrl, Settings};
use crate::store::{
    self, Administration as _, Checkup, Options, SchemaStatus, SqlStore, StorePlace,
};

use super::finding::Findings;
use super::reach::reached;

/// PostgreSQL 15.
const VERSION_MIN: i32 = 150_000;
const MIGRATE: &str = "`biometric-bridge migrate up` makes what is missing";

/// What /ready calls this part.
pub(super) fn part(settings: &Settings) -> &'static str {
    if settings.store.url.scheme() == "sqlite" { "sqlite" } else { "postgres" }
}

pub(super) async fn look(settings: &Settings, keys: Option<&KeyEncryptions>, findings: &Findings) {
    let url = settings.store.url.expose();
    match store::place(url) {
        Ok(StorePlace::Server { host, port }) => {
            if !reached(findings, &host, port).await {
                return;
            }
        }
        Ok(StorePlace::Socket(_)) => {}
        Ok(StorePlace::File(path)) if is_there(&path) => {}
        Ok(StorePlace::File(path)) => {
            // Looking at it would make it.
            let cure = "`biometric-bridge migrate up` or `run --migrate` makes it";
            return findings.warn(path.display().to_string(), "not there yet", cure);
        }
        Err(error) => return findings.fail("POSTGRES_URL", error.to_string(), "see the example"),
    }
    let options = Options {
        application_name: "biometric-bridge doctor".to_owned(),
        connections: 2,
        acquire_timeout: Duration::from_secs(4),
        ..Options::default()
    };
    let store = match store::open(url, &options).await {
        Ok(store) => store,
        Err(error) => return findings.fail("open", error.to_string(), "see `store.url`"),
    };
    if log_in(&store, settings, findings).await {
        schema(&store.schema_status().await, findings);
        match &settings.keys.url {
            None if matches!(store.keys_were_moved().await, Ok(true)) => findings.fail(
                "data keys",
                "they were moved to a key store of their own",
                "name it with KEYS_URL",
            ),
            None => wrapped(&store, keys, findings).await,
            Some(url) => key_store(&store, url, &options, keys, findings).await,
        }
    }
    store.close().await;
}

/// The database of the keys, when it is another.
async fn key_store(
    store: &SqlStore,
    url: &SecretUrl,
    options: &Options,
    keys: Option<&KeyEncryptions>,
    findings: &Findings,
) {
    let asked = format!("log in to {url}");
    match store::place(url.expose()) {
        Ok(StorePlace::Server { host, port }) if !reached(findings, &host, port).await => return,
        Ok(StorePlace::File(path)) if !is_there(&path) => {
            return findings.warn(path.display().to_string(), "not there yet", MIGRATE);
        }
        Ok(_) => {}
        Err(error) => return findings.fail("KEYS_URL", error.to_string(), "see the example"),
    }
    let key_store = match store::open(url.expose(), options).await {
        Ok(key_store) => key_store,
        Err(error) => {
            return findings.fail("open the key store", error.to_string(), "see `keys.url`");
        }
    };
    match key_store.ping().await {
        Ok(()) => {
            findings.ok(asked, "the key store answers");
            schema(&key_store.key_schema_status().await, findings);
            wrapped(&key_store, keys, findings).await;
            match store.has_keys().await {
                Ok(true) => findings.fail(
                    "data keys beside the data",
                    "there are some, which nobody would find",
                    "stop all instances, then `biometric-bridge keys move`",
                ),
                Ok(false) => findings.ok("data keys beside the data", "none"),
                // Without a schema there are none, which is told already.
                Err(_) => {}
            }
        }
        Err(error) => {
            findings.fail(asked, error.to_string(), "look at KEYS_URL and the server's log");
        }
    }
    key_store.close().await;
}

fn is_there(path: &Path) -> bool {
    path == Path::new(":memory:") || path.exists()
}

async fn log_in(store: &SqlStore, settings: &Settings, findings: &Findings) -> bool {
    let asked = format!("log in to {}", settings.store.url);
    match store.checkup().await {
        Ok(None) => {
            findings.ok(asked, "SQLite, for one process on one machine");
            true
        }
        Ok(Some(checkup)) => {
            server(asked, &checkup, findings);
            if !checkup.is_read_only {
                may_write(store, findings).await;
            }
            true
        }
        Err(error) => {
            let problem = error.to_string();
            let cure = match () {
                () if problem.contains("SQLSTATE 28") => {
                    "look at user and password in POSTGRES_URL, and at the server's pg_hba.conf"
                }
                () if problem.contains("SQLSTATE 3D000") => "make the database, or name another",
                () if problem.contains("TLS") || problem.contains("certificate") => {
                    "look at `sslmode` and `sslrootcert` in POSTGRES_URL"
                }
                () if problem.contains("SQLSTATE 53300") => {
                    "raise the server's max_connections, or lower `store.connections_max`"
                }
                () => "look at POSTGRES_URL and at the server's log",
            };
            findings.fail(asked, problem, cure);
            false
        }
    }
}

fn server(asked: String, checkup: &Checkup, findings: &Findings) {
    let answer = format!("PostgreSQL {}", checkup.version_text);
    if checkup.version < VERSION_MIN {
        findings.fail(asked, answer, "15 or newer is needed");
    } else {
        findings.ok(asked, answer);
    }
    if checkup.is_read_only {
        let cure = "name the primary in POSTGRES_URL, or make the server take writes";
        findings.fail("write", "the server takes no writes: a replica, or told so", cure);
    }
    match (&checkup.timescale, checkup.timescale_offered) {
        (Some(version), _) => findings.ok("TimescaleDB", version),
        (None, true) => findings.warn(
            "TimescaleDB",
            "offered by the server and not in this database",
            "nothing is lost without it; before the first event `CREATE EXTENSION timescaledb` brings \
             compression and cheap retention",
        ),
        (None, false) => findings.ok("TimescaleDB", "not there; a plain table does"),
    }
    match (checkup.has_lanes, checkup.may_write_lanes) {
        (true, true) => findings.ok("the lanes' fence (table lanes)", "there, and may be written"),
        (true, false) => findings.fail(
            "the lanes' fence (table lanes)",
            "there, and may not be written",
            "grant SELECT, INSERT and UPDATE on all tables of the schema to this user",
        ),
        (false, _) => findings.fail("the lanes' fence (table lanes)", "not there", MIGRATE),
    }
}

async fn may_write(store: &SqlStore, findings: &Findings) {
    match store.try_to_write().await {
        Ok(()) => findings.ok("write to a temporary table", "done"),
        Err(error) => findings.fail(
            "write to a temporary table",
            error.to_string(),
            "grant TEMPORARY on the database to this user: batches go through such tables",
        ),
    }
}

fn schema(status: &Result<SchemaStatus, StoreError>, findings: &Findings) {
    match status {
        Ok(status) if !status.unknown.is_empty() => findings.fail(
            "schema",
            format!("{} changes that this program does not know", status.unknown.len()),
            "run the newer program that made them",
        ),
        Ok(status) if !status.pending.is_empty() => {
            findings.fail(
                "schema",
                format!("{} changes are missing", status.pending.len()),
                MIGRATE,
            );
        }
        Ok(status) => findings.ok("schema", format!("all {} changes", status.applied.len())),
        Err(error) => findings.fail("schema", error.to_string(), "let us read our tables"),
    }
}

/// Whether what is stored opens with the keys that we have.
async fn wrapped(store: &SqlStore, keys: Option<&KeyEncryptions>, findings: &Findings) {
    let Some(keys) = keys else { return };
    let asked = "the service's own key";
    match store.keys(&[SERVICE]).await {
        Ok(stored) if stored.is_empty() => findings.ok(asked, "none yet; the first start makes it"),
        Ok(stored) => {
            let strange = stored.iter().find(|key| !keys.have(&key.wrapped_by));
            match strange {
                None => findings.ok(asked, "wrapped by a key that we have"),
                Some(key) => findings.fail(
                    asked,
                    format!("wrapped by {}, which we do not have", key.wrapped_by),
                    "bring the key file back, or the settings of Vault, that this database was used with",
                ),
            }
        }
        // Without a schema there are no keys, which is told already.
        Err(StoreError::Refused(_)) => {}
        Err(error) => findings.fail(asked, error.to_string(), "let us read encryption_keys"),
    }
}
