//! The guide as commands: what stands in its blocks, what each prints, and what a block needs.

use crate::support::{read, root};

/// The pages, in the order in which they are walked.
pub(super) const PAGES: [&str; 2] = ["docs/deployment.md", "docs/scaling.md"];

/// What a block needs that tests have not: it is looked at and not run.
pub(super) const ELSEWHERE: [&str; 3] = ["docker", "cluster", "elsewhere"];
/// What names blocks that are run, for those who run them apart. `places` gives variables whose values are the
/// site's own.
pub(super) const NAMES: [&str; 6] =
    ["places", "backup", "physical", "keys-backup", "restore", "keys-restore"];

/// A command with what the guide shows of it.
pub(super) struct Command {
    /// Page and line.
    pub(super) place: String,
    pub(super) text: String,
    /// What it prints, as far as the guide shows it.
    pub(super) output: Vec<String>,
    pub(super) exit_code: i32,
}

/// A block of commands.
pub(super) struct Block {
    /// A word of [`ELSEWHERE`] or [`NAMES`], if it has one.
    pub(super) mark: Option<String>,
    pub(super) commands: Vec<Command>,
}

impl Block {
    /// Whether tests can run it.
    pub(super) fn runs_here(&self) -> bool {
        self.mark.as_deref().is_none_or(|mark| !ELSEWHERE.contains(&mark))
    }

    pub(super) fn is(&self, mark: &str) -> bool {
        self.mark.as_deref() == Some(mark)
    }
}

/// The blocks of the pages, in order.
pub(super) fn blocks() -> Vec<Block> {
    let of = |page: &str| blocks_of(page, &read(&root().join(page)));
    PAGES.into_iter().flat_map(of).collect()
}

fn blocks_of(page: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let inside: Vec<(usize, &str)> =
            lines.by_ref().take_while(|(_, line)| line.trim() != "```").collect();
        let mut words = info.split_whitespace();
        let kind = words.next();
        assert!(
            !matches!(kind, Some("bash" | "sh" | "shell") | None),
            "{page}:{number}: commands stand in `console` blocks, and every block says what it is"
        );
        if kind != Some("console") {
            continue;
        }
        let mark = words.next().map(str::to_owned);
        let is_known = |mark: &String| [&ELSEWHERE[..], &NAMES[..]].concat().contains(&&**mark);
        assert!(mark.iter().all(is_known) && words.next().is_none(), "{page}:{number}: {info}");
        let commands = commands(page, &inside);
        assert!(!commands.is_empty(), "{page}:{number}: no command begins with `$ `");
        blocks.push(Block { mark, commands });
    }
    blocks
}

/// What stands between backticks in the text of the pages, with its place.
pub(super) fn quoted() -> Vec<(String, String)> {
    let of = |page: &str| {
        let text = read(&root().join(page));
        let mut is_text = true;
        let mut quoted = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            is_text ^= line.trim_start().starts_with("```");
            let spans = line.split('`').skip(1).step_by(2).filter(|_| is_text);
            quoted.extend(spans.map(|span| (format!("{page}:{number}"), span.to_owned())));
        }
        quoted
    };
    PAGES.into_iter().flat_map(of).collect()
}

/// The first program in Python of the guide.
pub(super) fn program() -> String {
    let text = read(&root().join(PAGES[0]));
    let program = text.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
    program.expect("the guide has a program").to_owned()
}

/// Commands begin with `$ `, go on behind a backslash, and are followed by what they print.
fn commands(page: &str, lines: &[(usize, &str)]) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let mut goes_on = false;
    for (number, line) in lines {
        if let Some(text) = line.strip_prefix("$ ").filter(|_| !goes_on) {
            let exit_code = text.rsplit_once("# exit code ").map_or(0, |(_, code)| {
                code.trim().parse().unwrap_or_else(|_| panic!("{page}:{number}: {code}"))
            });
            let (place, text) = (format!("{page}:{number}"), text.to_owned());
            commands.push(Command { place, text, output: Vec::new(), exit_code });
        } else {
            let command = commands.last_mut();
            let command = command.unwrap_or_else(|| panic!("{page}:{number}: whose output is it?"));
            match goes_on {
                true => command.text.extend(["\n", line]),
                false => command.output.push((*line).to_owned()),
            }
        }
        let text = commands.last().map_or("", |command| command.text.as_str());
        goes_on = line.ends_with('\\') && text.ends_with(line.trim_start_matches("$ "));
    }
    commands
}

/// Whether a text is as shown: `…` in a line stands for anything in it, and a line of its own for any lines.
pub(super) fn is_as_shown(shown: &[&str], said: &[&str]) -> bool {
    match shown {
        [] => said.is_empty(),
        ["…", rest @ ..] => (0..=said.len()).any(|skipped| is_as_shown(rest, &said[skipped..])),
        [first, rest @ ..] => {
            let fits = said.first().is_some_and(|said| fits(first.trim_end(), said.trim_end()));
            fits && is_as_shown(rest, &said[1..])
        }
    }
}

fn fits(shown: &str, said: &str) -> bool {
    let Some((before, after)) = shown.split_once('…') else { return shown == said };
    let Some(rest) = said.strip_prefix(before) else { return false };
    let ends = rest.char_indices().map(|(end, _)| end).chain([rest.len()]);
    ends.into_iter().any(|end| fits(after, &rest[end..]))
}

#[test]
fn a_line_with_a_placeholder_fits_what_has_anything_there_and_nothing_else() {
    assert!(fits("made … events", "made       biometric.events events"));
    assert!(fits("…", "") && fits("a…", "ab") && fits("a…c…e", "abcde"));
    assert!(!fits("made …", "was there x") && !fits("a…c", "abcd"));
    assert!(is_as_shown(&["a", "…", "c"], &["a", "b", "b", "c"]));
    assert!(is_as_shown(&["…", "c"], &["c"]) && is_as_shown(&[], &[]));
    assert!(!is_as_shown(&["a", "…", "c"], &["a", "b"]) && !is_as_shown(&["a"], &["a", "b"]));
    assert!(!is_as_shown(&["a", "b"], &["a"]));
}

#[test]
fn commands_are_told_from_what_they_print() {
    let page = "```console\n$ one \\\n    more\nsaid\n$ two   # exit code 78\n```\n\n```yaml\n$ no\n```\n\
                ```console docker\n$ three\n```\n";
    let blocks = blocks_of("a page", page);
    let [here, there] = &blocks[..] else { panic!("there are two") };
    assert!(here.runs_here() && !there.runs_here() && there.is("docker"));
    let [one, two] = &here.commands[..] else { panic!("there are two") };
    assert_eq!((one.text.as_str(), one.exit_code), ("one \\\n    more", 0));
    assert_eq!((one.place.as_str(), two.place.as_str()), ("a page:2", "a page:5"));
    assert_eq!((&one.output[..], two.exit_code), (&["said".to_owned()][..], 78));
    assert!(two.output.is_empty());
}
