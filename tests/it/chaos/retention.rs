//! Runs in which stored records are kept for a short time only: bases are kept and records dropped amid faults.
//! What is dropped the database itself keeps aside, so that in the end everything can be checked.

use super::run::Run;
use crate::service::check::same_lines;
use crate::service::site::Site;
use crate::support::{stderr, stdout};

/// Whether in a run of this seed.
pub(super) fn is_short(seed: u64) -> bool {
    seed % 2 == 1
}

/// The shortest time that can be set.
const RETAIN: &str = "1m";

/// Copies what is deleted.
const KEEP_ASIDE: &str = "
    CREATE TABLE dropped_records (LIKE event_records);
    CREATE FUNCTION keep_dropped() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO dropped_records SELECT OLD.*; RETURN NULL; END';
    CREATE TRIGGER keep_dropped AFTER DELETE ON event_records
        FOR EACH ROW EXECUTE FUNCTION keep_dropped()";

/// Has an installation keep its records for a short time.
pub(super) fn shorten(site: &mut Site<'_>) {
    site.set("BRIDGE__STORE__RETAIN", RETAIN);
    site.set("BRIDGE__STORE__COMPRESS_AFTER", "0s");
    site.sql(KEEP_ASIDE);
}

impl Run<'_> {
    /// States are what bases and the records since then lead to. Then puts back what was dropped, so that
    /// what holds of whole histories can be checked.
    pub(super) fn bases_lead_to_states(&mut self) {
        let site = self.site;
        let dropped = site.number("SELECT count(*) FROM dropped_records");
        let bases = site.number("SELECT count(*) FROM base_checkpoints");
        self.say(&format!("{dropped} records were dropped, {bases} bases are there"));
        let states = site.run(&["export", "states"]);
        let copy = site.postgres.copy(&site.database);
        site.postgres.psql(&copy, "UPDATE users SET checkpoint = NULL");
        let output = site.output_from(&copy, &["export", "states"], "");
        site.postgres.remove(&copy);
        assert!(output.status.success(), "every base opens: {}", stderr(&output));
        same_lines(stdout(&output), &states, "the states that bases lead to");
        site.sql(
            "INSERT INTO event_records SELECT * FROM dropped_records;
             DELETE FROM base_checkpoints; DROP TABLE dropped_records CASCADE;
             DROP TRIGGER keep_dropped ON event_records",
        );
    }
}
