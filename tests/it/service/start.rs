//! What keeps the service from starting: it says so in a sentence with the cure, or waits and says for what.

use std::net::TcpListener;

use super::check;
use super::feed;
use super::site::{Site, Stamps};
use crate::servers::Servers;
use crate::support::stderr;

/// Runs the service, which must refuse with exit code 78, and gives what it says.
fn refusal(site: &Site<'_>) -> String {
    let output = site.output(&["run"], "");
    let said = stderr(&output).to_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    said
}

fn bare() -> Option<Site<'static>> {
    Servers::available().then(|| {
        let servers = Servers::shared();
        Site::bare(&servers.kafka, &servers.postgres, &servers.redis)
    })
}

#[test]
fn without_a_key_file_it_refuses_and_says_how_to_make_one() {
    let Some(mut site) = bare() else { return };
    site.set("HTTP_BIND", "127.0.0.1:0");
    let said = refusal(&site);
    assert!(said.contains("KEY_FILE") && said.contains("cannot be read"), "{said}");
    site.unset("KEY_FILE");
    assert!(refusal(&site).contains("`biometric-bridge keys generate --output keys.txt`"));
}

#[test]
fn a_port_in_use_is_told_in_one_sentence() {
    let Some(mut site) = Site::shared(Stamps::Broker) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address").to_string();
    site.set("HTTP_BIND", &address);
    let said = refusal(&site);
    let last = said.lines().last().expect("a line");
    assert!(last.contains(&address) && last.contains("another process listens there"), "{said}");
}

#[test]
fn a_newer_schema_is_refused() {
    let Some(mut site) = Site::shared(Stamps::Broker) else { return };
    site.set("HTTP_BIND", "127.0.0.1:0");
    site.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)");
    let said = refusal(&site);
    assert!(said.contains("m9999_later"), "{said}");
}

#[test]
fn a_wrong_password_of_the_database_is_refused_and_not_told() {
    let Some(mut site) = Site::shared(Stamps::Broker) else { return };
    let role = site.database.rsplit('/').next().expect("a name").to_owned();
    site.sql(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'right'"));
    let folder = site.sql("SHOW data_directory");
    // Only this role needs a password; for all others everything stays as it is.
    site.sql(&format!(
        "COPY (SELECT 'host all {role} 127.0.0.1/32 scram-sha-256' UNION ALL
               SELECT 'host all all 127.0.0.1/32 trust') TO '{folder}/pg_hba.conf'"
    ));
    site.sql("SELECT pg_reload_conf()");
    let wrong = site.database.replace("postgres@", &format!("{role}:canary-wrong@"));
    site.set("POSTGRES_URL", &wrong);
    site.set("HTTP_BIND", "127.0.0.1:0");
    let said = refusal(&site);
    assert!(said.contains("password authentication failed") && said.contains("POSTGRES_URL"));
    assert!(!said.contains("canary-wrong"), "the password is not told");
}

#[test]
fn it_waits_for_schema_and_topics_that_are_made_later() {
    let Some(site) = bare() else { return };
    site.run(&["keys", "generate", "--output", site.key_file.to_str().expect("a path")]);
    site.run(&["migrate", "up"]);
    let bridge = site.start();
    bridge.wait_failing("topics");
    let create = ["topics", "create", "--replication-factor", "1", "--retention", "0s"];
    site.run(&[&create[..], &["--create-time"]].concat());
    bridge.wait_ready();
    let events = feed::crowd(10, 10);
    feed::stream(site.kafka, &site.topics.events, &events, 100);
    check::all(&site);
    bridge.end();
}
