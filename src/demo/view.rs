//! What the demo shows: on a terminal a table of the people that is redrawn, above it the mode changes as
//! they come; elsewhere one plain line for each mode change.

use std::collections::BTreeMap;
use std::io::{self, Write};

use console::{Term, measure_text_width, style, truncate_str};

use super::feed::ModeChange;

/// Shows mode changes.
pub struct View {
    term: Option<Term>,
    people: BTreeMap<String, Person>,
    changes: u64,
    drawn: usize,
    footer: String,
}

/// A person of the table.
#[derive(Default)]
struct Person {
    mode: String,
    changes: u64,
    newest: i64,
    reason: String,
}

impl View {
    /// A view of `people`, on standard output.
    pub fn of(people: impl Iterator<Item = String>) -> Self {
        let term = Term::stdout();
        let people = people.map(|name| (name, Person::default())).collect();
        Self {
            term: term.is_term().then_some(term),
            people,
            changes: 0,
            drawn: 0,
            footer: String::new(),
        }
    }

    /// How many mode changes were shown.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Shows lines that stay.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        writeln!(io::stdout(), "{text}")
    }

    /// Shows a mode change; one that came already is not shown again.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn show(&mut self, change: &ModeChange) -> io::Result<()> {
        let person = self.people.entry(change.user_id.clone()).or_default();
        if change.n <= person.newest {
            return Ok(());
        }
        person.newest = change.n;
        person.changes += 1;
        person.mode.clone_from(&change.mode);
        person.reason.clone_from(&change.reason_text);
        self.changes += 1;
        let when = change.time.get(..16).unwrap_or(&change.time).replace('T', " ");
        let line = format!(
            "{when}  {:<12} {:>10} → {:<10}  {}",
            change.user_id, change.previous_mode, change.mode, change.reason_text
        );
        if self.term.is_none() {
            return writeln!(io::stdout(), "{line}");
        }
        self.clear()?;
        let width = self.width();
        writeln!(io::stdout(), "{}", truncate_str(&line, width, "…"))?;
        let footer = std::mem::take(&mut self.footer);
        self.draw(&footer)
    }

    /// Draws the table anew, with a line about what is going on below it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn draw(&mut self, footer: &str) -> io::Result<()> {
        if self.term.is_none() {
            return Ok(());
        }
        self.clear()?;
        let width = self.width();
        let mut lines = vec![style("─".repeat(width.min(100))).dim().to_string()];
        for (name, person) in &self.people {
            let mode = match person.mode.as_str() {
                "" => style("pattern").dim(),
                "reflex" => style("reflex").red().bold(),
                "guardian" => style("guardian").yellow(),
                "hypothesis" => style("hypothesis").magenta(),
                other => style(other).green(),
            };
            let padding =
                " ".repeat(11_usize.saturating_sub(measure_text_width(&mode.to_string())));
            let changes = person.changes;
            let line = format!("{name:<12} {mode}{padding} {changes:>4}  {}", person.reason);
            lines.push(truncate_str(&line, width, "…").into_owned());
        }
        lines.push(truncate_str(&style(footer).dim().to_string(), width, "…").into_owned());
        let mut out = io::stdout().lock();
        for line in &lines {
            writeln!(out, "{line}")?;
        }
        self.drawn = lines.len();
        footer.clone_into(&mut self.footer);
        out.flush()
    }

    fn clear(&mut self) -> io::Result<()> {
        if let Some(term) = &self.term
            && self.drawn > 0
        {
            term.clear_last_lines(self.drawn)?;
            self.drawn = 0;
        }
        Ok(())
    }

    fn width(&self) -> usize {
        self.term.as_ref().map_or(usize::MAX, |term| usize::from(term.size().1).max(20))
    }
}
