//! What is kept of a run that failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::run::Run;
use crate::servers::Server as _;

impl Run<'_> {
    /// Keeps what there is to look at after a failure, and says where.
    pub(super) fn keep(&mut self, seed: u64) {
        let site = self.site;
        let mut texts = vec![
            ("steps.log".to_owned(), self.lines.join("\n")),
            ("operators.log".to_owned(), self.operators.last_words()),
            ("kafka.log".to_owned(), site.kafka.log()),
            ("postgres.log".to_owned(), site.postgres.log()),
            ("keys.txt".to_owned(), std::fs::read_to_string(&site.key_file).unwrap_or_default()),
        ];
        let logs = self.fleet.logs().into_iter().enumerate();
        texts.extend(logs.map(|(instance, log)| (format!("bridge-{instance}.log"), log)));
        let up = catch_unwind(AssertUnwindSafe(|| self.heal_servers()));
        if up.is_ok()
            && let Ok(dump) =
                catch_unwind(AssertUnwindSafe(|| site.postgres.dump(&site.database, &[])))
        {
            texts.push(("database.sql".to_owned(), dump));
        }
        let folder = write(seed, &texts);
        let last = self.lines.len().saturating_sub(12);
        let last = self.lines[last..].join("\n");
        let said = format!("FAILED with CHAOS_SEED={seed}; logs: {}\n{last}", folder.display());
        self.say(&said);
    }

    /// The database runs, so that it can be looked at.
    fn heal_servers(&self) {
        self.free_disk();
        if !self.site.postgres.runs() {
            self.site.postgres.start_again();
        }
    }
}

/// Writes texts to a folder of the run, and gives where that is.
fn write(seed: u64, texts: &[(String, String)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}"));
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    for (name, text) in texts {
        std::fs::write(folder.join(name), text).expect("a log can be kept");
    }
    folder
}
