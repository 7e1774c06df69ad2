//! All that is held of one person, in the clear, one JSON object a line that says which part it is. Never anything
//! of somebody else.

use std::io::{self, Write};

use actors::incoming::Raw;
use actors::lane::Lane;
use actors::phi::Phi;
use actors::store::{Asked, Store as _, StoredUser};
use serde_json::{Value, json};

use super::{ExportError, Exported, Exporter, What};
use crate::letters::{Found, Owner};
use crate::store::{SealedLetter, SqlStore};

/// Dead letters that are opened at once; each may have the size of the largest message.
const LETTERS_PAGE: i64 = 64;
/// Accesses that are read at once.
const ACCESSES_PAGE: i64 = 2_000;

impl Exporter {
    /// Writes all that is held of a person; their keys are in `key_store`.
    ///
    /// # Errors
    ///
    /// See [`ExportError`]; what came before the fault is written.
    pub async fn person(
        &self,
        user_id: &str,
        key_store: &SqlStore,
        output: &mut impl Write,
    ) -> Result<Exported, ExportError> {
        let stored = self.store.users(Asked::Ids(&[user_id])).await?.into_iter().next();
        let mut done = Exported::default();
        if let Some(stored) = &stored {
            done = self.known(stored, key_store, output).await?;
        }
        let user = stored.map(|stored| stored.user);
        self.letters(Owner { user_id, user }, output).await?;
        for command in self.store.commands_about(user_id).await? {
            let command = json!({
                "kind": command.kind, "requested_by": command.requested_by,
                "requested_at": command.requested_at.to_string(), "outcome": command.outcome,
            });
            part("command", &command, output)?;
        }
        self.accesses(user_id, output).await?;
        output.flush()?;
        Ok(done)
    }

    /// What there is under a person's number.
    async fn known(
        &self,
        stored: &StoredUser,
        key_store: &SqlStore,
        output: &mut impl Write,
    ) -> Result<Exported, ExportError> {
        let erased_at = self.store.erased_at(&stored.user_id).await?;
        let person = json!({
            "user_id": stored.user_id,
            "user_number": stored.user.0,
            "record_number": stored.record_number,
            "message_number": stored.message_number,
            "quarantined": stored.quarantined,
            "erased_at": erased_at.map(|at| at.to_string()),
        });
        part("person", &person, output)?;
        for key in key_store.key_facts(stored.user).await? {
            let key = json!({
                "number": key.number, "wrapped_by": key.wrapped_by,
                "made_at": key.created_at.to_string(),
                "retired_at": key.retired_at.map(|at| at.to_string()),
                "destroyed_at": key.destroyed_at.map(|at| at.to_string()),
            });
            part("key", &key, output)?;
        }
        let mut done = Exported::default();
        for (name, what) in [
            ("record", What::Log),
            ("state", What::States),
            ("mode_change", What::Transitions),
            ("alert_change", What::Alerts),
            ("order", What::Orders),
            ("coach_message", What::CoachMessages),
        ] {
            let mut parts = Parts { name, line: Vec::new(), output: &mut *output };
            let written = self.write(what, &[stored.user], &mut parts).await?;
            done.lines += written.lines;
            done.erased = written.erased;
        }
        Ok(done)
    }

    async fn letters(&self, owner: Owner<'_>, output: &mut impl Write) -> Result<(), ExportError> {
        let service_key = self.keys.newest_service_key().await?;
        let mut after = (Lane(i32::MIN), 0);
        loop {
            let page = self.store.sealed_letters(after, LETTERS_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.letter.lane, last.letter.number);
            for letter in &page {
                if let Found::Theirs(raw) = owner.look_into(letter, &*self.seal, &service_key) {
                    part("dead_letter", &shown(letter, raw), output)?;
                }
            }
        }
    }

    async fn accesses(&self, user_id: &str, output: &mut impl Write) -> Result<(), ExportError> {
        let mut after = i64::MIN;
        loop {
            let page = self.store.accesses_of(user_id, after, ACCESSES_PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            for (_, access) in page {
                let access = json!({
                    "accessor_id": access.accessor_id, "access_type": access.access_type,
                    "table_name": access.table_name, "record_id": access.record_id,
                    "records": access.records, "access_time": access.time.to_string(),
                });
                part("access", &access, output)?;
            }
        }
    }
}

/// A dead letter as its record came; text where it is text.
fn shown(letter: &SealedLetter, raw: Option<Phi<Raw>>) -> Value {
    let raw = raw.as_ref().map(Phi::expose);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = raw.and_then(|raw| raw.value.as_deref()).map(text);
    let key = raw.and_then(|raw| raw.key.as_deref()).map(text);
    let headers = raw.map(|raw| {
        let pairs = raw.headers.iter();
        pairs.map(|(name, value)| (name.clone(), value.as_deref().map(text))).collect::<Vec<_>>()
    });
    json!({
        "name": letter.letter.to_string(),
        "reason": letter.reason,
        "record_time": letter.record_time.map(|at| at.to_string()),
        "key": key, "value": value, "headers": headers,
    })
}

fn part(name: &str, content: &Value, output: &mut impl Write) -> io::Result<()> {
    writeln!(output, "{}", json!({ "part": name, name: content }))
}

/// Lines on their way out, each put into an object that says which part it is.
struct Parts<'o, W> {
    name: &'static str,
    line: Vec<u8>,
    output: &'o mut W,
}

impl<W: Write> Write for Parts<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            if piece.ends_with(b"\n") {
                write!(self.output, r#"{{"part":"{0}","{0}":"#, self.name)?;
                self.output.write_all(&self.line)?;
                self.output.write_all(b"}\n")?;
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_which_part_it_is_however_it_was_written() {
        let mut output = Vec::new();
        let mut parts = Parts { name: "record", line: Vec::new(), output: &mut output };
        for piece in ["{\"a\"", ":1}", "\n{}\n", "{\"b\":\"\\n\"}\n"] {
            parts.write_all(piece.as_bytes()).expect("written");
        }
        let text = String::from_utf8(output).expect("text");
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let records = [json!({"a": 1}), json!({}), json!({"b": "\n"})];
        assert_eq!(lines, records.map(|record| json!({"part": "record", "record": record})));
    }
}
