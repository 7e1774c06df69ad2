//! The table of a run of the benchmarks: every figure under a name of its own, with what we require of it and
//! what we aim for. Printed for people, kept as JSON, and compared with the table of another run.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A run's figures, in the order of their making.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// When the run began, RFC 3339.
    pub began: String,
    /// What it ran on.
    pub machine: String,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Names it, the same in every run.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Of what it is: `events/s`, `µs/event`, `ratio`, ….
    pub unit: String,
    /// What we want of it; most figures are only what a ratio is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

/// What we want of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// Whether more is better.
    pub more: bool,
    /// What we require.
    pub must: f64,
    /// What we aim for.
    pub aim: f64,
}

impl Goal {
    /// At least `must`, better `aim`.
    pub const fn at_least(must: f64, aim: f64) -> Option<Self> {
        Some(Self { more: true, must, aim })
    }

    /// At most `must`, better `aim`.
    pub const fn at_most(must: f64, aim: f64) -> Option<Self> {
        Some(Self { more: false, must, aim })
    }

    /// How far a value comes, in a word.
    pub fn verdict(&self, value: f64) -> &'static str {
        let reaches = |goal| if self.more { value >= goal } else { value <= goal };
        match (reaches(self.aim), reaches(self.must)) {
            (true, _) => "aim",
            (false, true) => "must",
            (false, false) => "MISSED",
        }
    }
}

impl Table {
    /// Adds a figure.
    pub fn put(&mut self, name: impl Into<String>, value: f64, unit: &str) {
        self.judge(name, value, unit, None);
    }

    /// Adds a figure of which we want something.
    pub fn judge(&mut self, name: impl Into<String>, value: f64, unit: &str, goal: Option<Goal>) {
        self.figures.push(Figure { name: name.into(), value, unit: unit.to_owned(), goal });
    }

    /// The figure of that name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// The table for people, what is judged last.
    pub fn text(&self) -> String {
        let mut text = format!("{}, {}\n\n", self.machine, self.began);
        let (judged, plain): (Vec<_>, Vec<_>) =
            self.figures.iter().partition(|figure| figure.goal.is_some());
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max();
        let width = width.unwrap_or(0);
        for Figure { name, value, unit, .. } in plain {
            text += &format!("{name:width$}  {:>12} {unit}\n", number(*value));
        }
        text += &format!("\n{:width$}  {:>12} {:>9} {:>9}\n", "judged", "", "must", "aim");
        for Figure { name, value, unit, goal } in judged {
            let Some(goal) = goal else { continue };
            let (must, aim) = (number(goal.must), number(goal.aim));
            let verdict = goal.verdict(*value);
            text += &format!(
                "{name:width$}  {:>12} {must:>9} {aim:>9}  {verdict:6} {unit}\n",
                number(*value)
            );
        }
        text
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = std::fs::File::create(path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        serde_json::to_writer_pretty(&mut file, self)?;
        Ok(file.write_all(b"\n")?)
    }

    /// Reads what [`Table::write`] wrote.
    ///
    /// # Errors
    ///
    /// When there is no such file, or it is no table.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is no table of `make bench`", path.display()))
    }
}

/// What changed from one run to another, a line for each figure of either.
pub fn changes(before: &Table, after: &Table) -> String {
    let mut text = String::new();
    let names =
        before.figures.iter().chain(&after.figures).map(|figure| figure.name.chars().count());
    let width = names.max().unwrap_or(0);
    for figure in &after.figures {
        let Figure { name, value, unit, goal } = figure;
        let Some(earlier) = before.figure(name) else {
            text +=
                &format!("{name:width$}  {:>12}    {:>12}  new      {unit}\n", "", number(*value));
            continue;
        };
        let percent = (value / earlier.value - 1.0) * 100.0;
        let mut line = format!(
            "{name:width$}  {:>12} -> {:>12}  {percent:+6.1} %",
            number(earlier.value),
            number(*value)
        );
        if let Some(goal) = goal {
            let verdicts = (goal.verdict(earlier.value), goal.verdict(*value));
            let better = (*value > earlier.value) == goal.more;
            let way = if better { "better" } else { "worse" };
            // A string takes whatever is written.
            write!(line, "  {way}, {} -> {}", verdicts.0, verdicts.1).ok();
        }
        text += &format!("{line}  {unit}\n");
    }
    for figure in before.figures.iter().filter(|figure| after.figure(&figure.name).is_none()) {
        text +=
            &format!("{:width$}  {:>12}    {:>12}  gone\n", figure.name, number(figure.value), "");
    }
    text
}

/// With as many digits as say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(ratio: f64) -> Table {
        let mut table = Table { began: "2026-01-01T00:00:00Z".to_owned(), ..Table::default() };
        table.put("events", 1_234.5, "events/s");
        table.judge("ratio", ratio, "ratio", Goal::at_least(0.5, 0.8));
        table
    }

    #[test]
    fn a_goal_is_reached_from_its_side() {
        let least = Goal::at_least(0.5, 0.8).expect("a goal");
        assert_eq!([0.4, 0.5, 0.9].map(|value| least.verdict(value)), ["MISSED", "must", "aim"]);
        let most = Goal::at_most(4.0, 2.0).expect("a goal");
        assert_eq!([4.1, 3.0, 2.0].map(|value| most.verdict(value)), ["MISSED", "must", "aim"]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("table.json");
        table(0.6).write(&path).expect("written");
        assert_eq!(Table::read(&path).expect("read"), table(0.6));
        let complaint = Table::read(&folder.path().join("none")).expect_err("there is none");
        assert!(complaint.to_string().contains("none cannot be read"));
    }

    #[test]
    fn changes_name_what_is_new_gone_better_and_worse() {
        let (before, mut after) = (table(0.6), table(0.4));
        after.put("more", 1.0, "MiB");
        let text = changes(&before, &after);
        assert!(
            text.contains(
                "ratio           0.60 ->         0.40   -33.3 %  worse, must -> MISSED  ratio"
            ),
            "{text}"
        );
        assert!(text.contains("new      MiB"), "{text}");
        assert!(changes(&after, &before).contains("gone"));
    }
}
