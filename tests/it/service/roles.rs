//! The database roles of docs/security.md are enough for the service, and not more than it needs.

use super::site::Site;
use super::{check, feed};
use crate::servers::Servers;
use crate::support::{root, stderr};

/// The blocks of SQL on the page, with roles of this database's own: roles belong to the whole server.
fn documented(prefix: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/security.md")).expect("the page");
    let blocks = page.split("```sql\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
    blocks.map(|block| block.replace("bridge_", prefix)).collect()
}

#[test]
fn with_the_documented_roles_the_service_works_and_cannot_change_what_was_written_down() {
    let Some(servers) = Servers::available().then(Servers::shared) else { return };
    let postgres = &servers.postgres;
    let mut site = Site::bare(&servers.kafka, postgres, &servers.redis);
    let everything = site.database.clone();
    let prefix = format!("{}_", everything.rsplit('/').next().expect("a name"));
    let by = |role: &str| everything.replacen("postgres@", &format!("{prefix}{role}@"), 1);
    let blocks = documented(&prefix);
    let [roles, grants] = blocks.as_slice() else { panic!("two blocks") };
    postgres.psql(&everything, roles);
    site.run(&["keys", "init", "--output", site.key_file.to_str().expect("a path")]);
    let retention = ["--replication-factor", "1", "--retention", "0s", "--create-time"];
    site.run(&[&["topics", "create"][..], &retention].concat());
    site.set("POSTGRES_URL", &by("owner"));
    site.run(&["migrate", "up"]);
    postgres.psql(&by("owner"), grants);
    site.set("POSTGRES_URL", &by("service"));
    let bridge = site.start();
    bridge.wait_ready();
    let events = feed::crowd(30, 10);
    feed::stream(site.kafka, &site.topics.events, &events, 300);
    site.wait_caught_up();
    site.run(&["keys", "rewrap"]);
    check::all(&site);
    bridge.end();
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 300);
    for change in [
        "UPDATE phi_access_log SET records = 0",
        "DELETE FROM phi_access_log",
        "TRUNCATE phi_access_log",
        "ALTER TABLE phi_access_log ADD COLUMN note text",
        "DROP TABLE phi_access_log",
        "DELETE FROM seaql_migrations",
        "CREATE TABLE elsewhere (note text)",
    ] {
        let refused = postgres.try_psql(&by("service"), change).expect_err(change);
        assert!(
            refused.contains("permission denied") || refused.contains("must be owner"),
            "{refused}"
        );
    }
    let auditor = by("auditor");
    let verified = site.output_from(&auditor, &["audit", "verify"], "");
    assert!(verified.status.success(), "{}", stderr(&verified));
    let written = postgres.psql(&auditor, "SELECT count(*) FROM phi_access_log");
    assert!(written.parse::<u64>().expect("a count") > 0);
    for table in ["event_records", "users", "encryption_keys", "mode_transitions"] {
        let refused = postgres.try_psql(&auditor, &format!("SELECT count(*) FROM {table}"));
        assert!(refused.expect_err(table).contains("permission denied"));
    }
    let output = site.output(&["migrate", "down", "--yes"], "");
    assert!(!output.status.success(), "{}", stderr(&output));
}
