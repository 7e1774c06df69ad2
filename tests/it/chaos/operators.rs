//! What operators do while things go wrong: commands of the program, which may fail when a server is away; but
//! what was accepted is carried out, once.

use std::collections::BTreeSet;
use std::process::{Child, Output};
use std::thread::sleep;

use super::plan::Order;
use super::run::{Run, SETTLE};
use super::traffic::{GROUPS, people_of};
use crate::service::site::LANES;
use crate::support::{stderr, stdout};

/// Exit codes of a command that has done nothing, or not all, and says why: a server is away, or what it is
/// about is not there.
const GIVEN_UP: [i32; 2] = [69, 78];

/// How often it is looked whether a command has ended, at most: it waits for servers itself.
const LOOKS_MAX: u32 = 400;

/// People who are put in quarantine at once.
const PUT_ASIDE: usize = 3;

/// Commands of a run.
#[derive(Default)]
pub(super) struct Operators {
    under_way: Vec<(Order, Child)>,
    /// What was accepted, by the commands' own numbers.
    accepted: BTreeSet<i64>,
    given_up: usize,
    killed: usize,
    expansions: usize,
}

impl Operators {
    /// Ends what is still under way, and gives what it has said.
    pub(super) fn last_words(&mut self) -> String {
        let mut text = String::new();
        for (order, mut child) in std::mem::take(&mut self.under_way) {
            // It may have ended already.
            child.kill().ok();
            let Ok(output) = child.wait_with_output() else { continue };
            let (said, complaint) = (stdout(&output), stderr(&output));
            text += &format!("{order:?}, {}:\n{said}{complaint}\n", output.status);
        }
        text
    }

    /// Kills the commands that add partitions (SIGKILL), in the middle of it: what they told lanes ends with
    /// their lease.
    pub(super) fn kill_expansions(&mut self) {
        for (_, child) in self.under_way.iter_mut().filter(|(order, _)| *order == Order::Expand) {
            if child.try_wait().expect("it is our child").is_none() {
                child.kill().expect("it can be killed");
                self.killed += 1;
            }
        }
    }
}

impl Run<'_> {
    /// Begins what operators do; gives what is to be told of it.
    pub(super) fn operate(&mut self, order: Order, group: usize) -> String {
        let cold = (group + GROUPS / 2) % GROUPS;
        let somebody = format!("g{group}-{}", self.steps % PUT_ASIDE);
        let wait = ["--wait", "0s"];
        let arguments: Vec<String> = match order {
            Order::Quarantine => return self.put_aside(cold),
            Order::Redrive => words(&["dlq", "redrive", "--reason", "missing_timestamp"], &wait),
            Order::Discard => words(&["dlq", "discard", "--reason", "not_json"], &wait),
            Order::Rebuild => words(&["state", "rebuild", &somebody], &wait),
            Order::Release => {
                let users = self.quarantined();
                if users.is_empty() {
                    return "nobody is in quarantine, ".to_owned();
                }
                let users: Vec<&str> = users.iter().map(String::as_str).collect();
                words(&[&["quarantine", "release"], &users[..]].concat(), &wait)
            }
            Order::Expand => {
                self.operators.expansions += 1;
                words(&["topics", "expand", "--rest-at-most", "8s"], &self.more())
            }
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.operators.under_way.push((order, self.site.spawn(&arguments)));
        String::new()
    }

    /// How an expansion says how far it goes.
    fn more(&self) -> [&'static str; 4] {
        const PARTITIONS: [&str; 3] = ["3", "4", "5"];
        let partitions = PARTITIONS[self.operators.expansions];
        assert_eq!(partitions.parse(), Ok(LANES + self.operators.expansions));
        ["--partitions", partitions, "--metadata-age", "1s"]
    }

    /// Puts some people in quarantine whom no process remembers, as if their evaluation had failed.
    fn put_aside(&mut self, group: usize) -> String {
        let people = people_of(group);
        let sql = format!(
            "UPDATE users SET quarantined_at = now() WHERE user_number IN (
                 SELECT user_number FROM users WHERE user_id LIKE '{people}'
                 ORDER BY user_number LIMIT {PUT_ASIDE})"
        );
        self.patiently(&sql);
        String::new()
    }

    fn quarantined(&self) -> Vec<String> {
        let users = "SELECT user_id FROM users WHERE quarantined_at IS NOT NULL ORDER BY 1";
        let users = self.site.postgres.try_psql(&self.site.database, users).unwrap_or_default();
        users.lines().map(str::to_owned).collect()
    }

    /// With all servers there: waits until every command has ended, releases who is still in quarantine,
    /// ends an expansion that was given up, and checks that all that was accepted was done.
    pub(super) fn operators_finish(&mut self) {
        for (order, child) in std::mem::take(&mut self.operators.under_way) {
            let output = ended(child);
            let (said, complaint) = (stdout(&output), stderr(&output));
            match output.status.code() {
                Some(0) => self.operators.accepted.extend(numbers(said)),
                None if order == Order::Expand && self.operators.killed > 0 => {}
                Some(code) if GIVEN_UP.contains(&code) => self.operators.given_up += 1,
                _ => panic!("{order:?} ended with {}: {complaint}", output.status),
            }
        }
        self.site.wait_sql("SELECT count(*) = 0 FROM lane_commands WHERE applied_batch IS NULL");
        let users = self.quarantined();
        if !users.is_empty() {
            let users: Vec<&str> = users.iter().map(String::as_str).collect();
            self.site.run(&[&["quarantine", "release"], &users[..]].concat());
        }
        assert_eq!(self.quarantined(), [""; 0], "everybody is released");
        if self.operators.expansions > 0 {
            self.site.wait_sql("SELECT coalesce(expansion_until < now(), true) FROM routing");
            let output = self.site.run(&[&["topics", "expand"][..], &self.more()].concat());
            self.say(output.trim_end());
            self.new_homes_are_known(output.starts_with("generation"));
        }
        self.commands_were_carried_out();
    }

    /// Waits until every instance that finds users in new homes has ended by itself and begun anew, so that
    /// who is told to end next does not end of this.
    fn new_homes_are_known(&mut self, moved: bool) {
        let before = self.fleet.by_themselves;
        let wanted = if moved { self.fleet.running_count() } else { 0 };
        for _ in 0..LOOKS_MAX {
            self.fleet.revive();
            if self.fleet.by_themselves >= before + wanted {
                return;
            }
            sleep(SETTLE);
        }
        panic!("not every instance has begun anew with users in new homes");
    }

    /// What was accepted has an outcome; and what the outcomes of giving up letters add up to has become of
    /// that many letters, but for those that an owner had given up who did not come to the end.
    fn commands_were_carried_out(&mut self) {
        let done = "SELECT id FROM lane_commands WHERE applied_batch IS NOT NULL
                        AND outcome IS NOT NULL";
        let done: BTreeSet<i64> = numbers(&self.site.sql(done)).collect();
        let missing: Vec<&i64> = self.operators.accepted.difference(&done).collect();
        assert!(missing.is_empty(), "accepted and not carried out: {missing:?}");
        // An owner that goes on with a command does not find what the one before it has given up.
        let said = |pattern| {
            self.site.number(&format!(
                "SELECT coalesce(sum(substring(outcome FROM '{pattern}')::int), 0)
                 FROM lane_commands WHERE kind = 'discard'"
            ))
        };
        let (discarded, missing) = (said("^[0-9]+"), said("([0-9]+) were not there"));
        let letters = "SELECT count(*) FROM dead_letters WHERE fate = 'discarded'";
        let letters = self.site.number(letters);
        assert!(
            (discarded..=discarded + missing).contains(&letters),
            "{letters} letters were given up, {discarded} by those who ended a command, who missed {missing}"
        );
        let Operators { accepted, given_up, killed, .. } = &self.operators;
        let said = format!(
            "{} commands were accepted and carried out, {given_up} gave up, {killed} were killed, \
             {letters} letters were discarded",
            accepted.len()
        );
        self.say(&said);
    }
}

fn words(first: &[&str], then: &[&str]) -> Vec<String> {
    first.iter().chain(then).map(|&word| word.to_owned()).collect()
}

/// Whole numbers that stand alone or end a line.
fn numbers(text: &str) -> impl Iterator<Item = i64> {
    let last = text.lines().filter_map(|line| line.split_whitespace().last());
    last.filter_map(|word| word.parse().ok())
}

/// Waits until a command has ended.
fn ended(mut child: Child) -> Output {
    for _ in 0..LOOKS_MAX {
        if child.try_wait().expect("it is our child").is_some() {
            return child.wait_with_output().expect("it has ended");
        }
        sleep(SETTLE);
    }
    child.kill().ok();
    let output = child.wait_with_output().expect("it has ended");
    panic!("a command does not end: {}{}", stdout(&output), stderr(&output));
}
