//! What the users' states take by themselves: the same events folded into states by a process of its own that
//! holds nothing else, counted as the kernel counts it.

use std::io::{BufRead as _, Write as _};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use neuros::wire::{Intake, Message, decode};
use neuros::{Explain, Policy, State, step};

use super::clock;
use super::load::Rounds;

/// Bytes of memory for each state, measured by starting this program again.
pub(super) fn measure(users: u64, events: u64) -> anyhow::Result<f64> {
    let program = std::env::current_exe()?;
    let output = Command::new(program)
        .args(["states", &users.to_string(), &events.to_string()])
        .stdin(Stdio::null())
        .output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = output.stdout.lines().next().context("no answer about states")??;
    Ok(line.trim().parse()?)
}

/// Holds the states of a drain and prints what each of them takes, in bytes.
///
/// # Errors
///
/// When an event is refused, or the kernel does not say what is used.
pub fn hold(users: u64, events: u64) -> anyhow::Result<()> {
    let rounds = Rounds { users, events, until: clock::micros() };
    let (policy, intake) = (Policy::default(), Intake::default());
    let mut states: Vec<Option<Box<State>>> = Vec::new();
    states.resize_with(usize::try_from(users)?, || None);
    let (mut text, mut outcomes) = (String::new(), Vec::new());
    // One user's first step brings in all that is there once only.
    let before = std::cell::OnceCell::new();
    for i in 0..events {
        rounds.write(i, &mut text)?;
        let message = Message { value: text.as_bytes(), ..Message::default() };
        let record = decode(&message, &intake).ok().context("an event is refused")?;
        if let Some(slot) = states.get_mut(usize::try_from(i % users)?) {
            let state = slot.get_or_insert_with(|| Box::new(State::born(&record)));
            step(&policy, state, &record, Explain::Switches, &mut outcomes);
        }
        outcomes.clear();
        if i == 0 {
            before.get_or_init(|| clock::resident(std::process::id()).unwrap_or_default());
        }
    }
    let used = clock::resident(std::process::id())?;
    let used = used.saturating_sub(before.get().copied().unwrap_or_default());
    anyhow::ensure!(states.iter().all(Option::is_some), "there are users without events");
    Ok(writeln!(std::io::stdout(), "{:.1}", used as f64 / users as f64)?)
}
