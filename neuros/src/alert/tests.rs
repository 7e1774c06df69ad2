//! Facts about alerts. Each is told by a person whose devices send messages, by operators and by time; and each is
//! told twice: once with everything kept in memory, once brought back from its bytes before each step.

use super::{Book, Change, Held, Meeting, Order, Quiet, Refusal, Status};
use crate::outcome::Kind;
use crate::policy::{Loaded, Policy};
use crate::state::State;
use crate::step::{Explain, step};
use crate::time::{Micros, Timestamp};
use crate::wire::{self, Intake, Message};

/// 2025-03-03T08:00:00Z, a Monday; times here are minutes from it.
const START: i64 = 1_740_988_800_000_000;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_micros(START) + Micros::from_minutes(minute)
}

fn minute(time: Timestamp) -> i64 {
    (time - at(0)).0 / 60_000_000
}

struct Person {
    policy: Policy,
    state: Option<State>,
    book: Book,
    message_number: i64,
    changes: Vec<Change>,
    held: [u32; Held::ALL.len()],
    due: Option<Timestamp>,
    restarts: bool,
}

impl Person {
    fn new(policy: &str, restarts: bool) -> Self {
        Self {
            policy: Loaded::from_yaml(policy).expect("a policy").policy,
            state: None,
            book: Book::default(),
            message_number: 0,
            changes: Vec::new(),
            held: [0; Held::ALL.len()],
            due: None,
            restarts,
        }
    }

    fn restart(&mut self) {
        if self.restarts {
            let bytes = postcard::to_stdvec(&self.book).expect("bytes");
            self.book = postcard::from_bytes(&bytes).expect("a book");
            let state = self.state.as_ref().map(State::to_checkpoint);
            self.state = state.map(|bytes| State::from_checkpoint(&bytes).expect("a state"));
        }
    }

    /// Everything that is due by then happens, a little late as it does.
    fn until(&mut self, minute: i64) {
        while let Some(due) = self.due.filter(|due| *due <= at(minute)) {
            let due = due + Micros::from_seconds(2);
            self.due = self.order(&Order::Tick, due).expect("a tick is always carried out");
            assert!(self.due.is_none_or(|next| next > due), "a tick leaves nothing due");
        }
    }

    fn order(&mut self, order: &Order, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
        self.restart();
        let state = self.state.as_ref().expect("a state");
        let mut meeting = Meeting {
            policy: &self.policy,
            state,
            arrived: now,
            now,
            message_number: &mut self.message_number,
            changes: &mut self.changes,
            held: &mut self.held,
        };
        self.book.obey(order, &mut meeting)
    }

    fn asks(&mut self, minute: i64, order: &Order) -> Result<(), Refusal> {
        self.until(minute);
        if let Some(due) = self.order(order, at(minute))? {
            self.due = Some(due);
        }
        Ok(())
    }

    /// A reading that arrives so many minutes after it was taken.
    fn late(&mut self, minute: i64, late: i64, metric: &str, value: f64) {
        self.until(minute + late);
        self.restart();
        let json = format!(
            r#"{{"user_id":"u","device_id":"d","event_type":"e","timestamp":"{}","metrics":{{"{metric}":{value}}}}}"#,
            at(minute)
        );
        let message = Message {
            value: json.as_bytes(),
            headers: wire::Headers::default(),
            record_time: Some(at(minute + late)),
        };
        let record = wire::decode(&message, &Intake::default()).expect("a record").into_owned();
        let state = self.state.get_or_insert_with(|| State::born(&record));
        let mut outcomes = Vec::new();
        step(&self.policy, state, &record, Explain::Switches, &mut outcomes);
        let mut meeting = Meeting {
            policy: &self.policy,
            state,
            arrived: record.record_time,
            now: record.record_time,
            message_number: &mut self.message_number,
            changes: &mut self.changes,
            held: &mut self.held,
        };
        self.book.begin(&mut meeting);
        let mut evaluated = false;
        for outcome in &outcomes {
            evaluated |= !matches!(outcome.kind, Kind::Duplicate | Kind::NotEvaluated);
            self.book.meet(outcome, &mut meeting);
        }
        if let Some(due) = self.book.finish(evaluated, &mut meeting) {
            self.due = Some(due);
        }
    }

    /// A live reading of a time before what has passed since.
    fn book_of_late(&mut self, minute: i64) {
        self.restart();
        let due = self.due.take();
        self.late(minute, 0, "heart_rate", 60.0);
        self.due = self.due.or(due);
    }

    fn sends(&mut self, minute: i64, metric: &str, value: f64) {
        self.late(minute, 0, metric, value);
    }

    fn newest(&self) -> i64 {
        self.changes.last().expect("a change").episode
    }

    fn held(&self, reason: Held) -> u32 {
        self.held[reason as usize]
    }
}

fn line(change: &Change) -> String {
    let told = if change.notify { " !" } else { "" };
    let suspended = if change.suspended { " suspended" } else { "" };
    format!(
        "{} {} {} {}{suspended}{told}",
        minute(change.updated_at),
        change.rule,
        change.status.as_str(),
        change.severity.as_str()
    )
}

/// What is said of a person to whom that happens, `!` where somebody is told.
fn told(policy: &str, happens: impl Fn(&mut Person)) -> (Vec<String>, Person) {
    let mut whole = Person::new(policy, false);
    happens(&mut whole);
    let mut restarted = Person::new(policy, true);
    happens(&mut restarted);
    assert!(whole.changes == restarted.changes, "a restart changes nothing");
    assert!(whole.book == restarted.book && whole.held == restarted.held);
    let numbers: Vec<i64> = whole.changes.iter().map(|change| change.n).collect();
    let due: Vec<i64> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, due, "numbered without gaps");
    (whole.changes.iter().map(line).collect(), whole)
}

fn by() -> String {
    "operator".to_owned()
}

#[test]
fn an_entry_fires_once_and_is_resolved_once_it_has_been_over_for_a_while() {
    let (lines, person) = told("", |person| {
        for minute in 0..4 {
            person.sends(minute, "stress_level", 0.9);
        }
        for minute in 4..12 {
            person.sends(minute, "stress_level", 0.2);
        }
        person.until(600);
    });
    assert_eq!(lines, ["0 mode_reflex firing high !", "18 mode_reflex resolved high"]);
    assert_eq!(person.held(Held::Firing), 3);
    assert_eq!(person.changes[1].suppressed_count, 3);
    assert_eq!(minute(person.changes[1].ended_at.expect("an end")), 8, "when the mode was left");
    assert!(person.book.slots.is_empty(), "nothing is kept of what is over");
}

#[test]
fn a_mode_that_comes_back_soon_is_the_same_episode() {
    let (lines, _) = told("selection: {cooldown: 0s}\nreturn: {after_calm: 1m}", |person| {
        for minute in 0..40 {
            let stress = if minute / 3 % 2 == 0 { 0.95 } else { 0.1 };
            person.sends(minute, "stress_level", stress);
        }
        person.sends(41, "stress_level", 0.1);
        person.sends(43, "stress_level", 0.1);
        person.until(600);
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with('!') && lines[1].contains("resolved"), "{lines:?}");
}

#[test]
fn severity_follows_the_table_and_only_a_rise_is_told() {
    let (lines, _) = told("", |person| {
        person.sends(0, "recovery_score", 30.0);
        person.sends(10, "recovery_score", 35.0);
        person.sends(20, "recovery_score", 15.0);
        person.sends(30, "recovery_score", 10.0);
        person.sends(40, "recovery_score", 30.0);
    });
    assert_eq!(lines, ["0 mode_guardian firing medium !", "20 mode_guardian firing high !"]);
}

#[test]
fn what_is_acknowledged_is_not_told_again_unless_it_becomes_more_serious() {
    let policy = "alerts: {rules: [{id: g, title: G, mode: guardian, remind_after: 1h, \
                  severity: [{is: high, of: recovery, below: 20}, {is: medium}]}]}";
    let (lines, _) = told(policy, |person| {
        person.sends(0, "recovery_score", 30.0);
        person.until(70);
        let order = Order::Acknowledge { episode: person.newest(), by: by() };
        assert_eq!(person.asks(80, &order), Ok(()));
        assert_eq!(person.asks(81, &order), Err(Refusal::Already));
        person.sends(90, "recovery_score", 30.0);
        person.until(300);
        person.sends(300, "recovery_score", 15.0);
        person.until(330);
    });
    assert_eq!(
        lines,
        [
            "0 g firing medium !",
            "60 g firing medium !",
            "80 g acknowledged medium",
            "300 g firing high !"
        ]
    );
}

#[test]
fn a_snooze_holds_against_new_readings_and_ends() {
    let (lines, person) = told("", |person| {
        person.sends(0, "recovery_score", 30.0);
        let order = |until| Order::Snooze { episode: 1, until: at(until).as_micros(), by: by() };
        assert_eq!(person.asks(5, &order(4)), Err(Refusal::Past));
        assert_eq!(person.asks(5, &order(65)), Ok(()));
        person.sends(10, "recovery_score", 25.0);
        person.sends(60, "recovery_score", 25.0);
        person.until(100);
    });
    assert_eq!(
        lines,
        [
            "0 mode_guardian firing medium !",
            "5 mode_guardian firing medium",
            "65 mode_guardian firing medium !"
        ]
    );
    assert_eq!(person.held(Held::Snoozed), 2);
}

#[test]
fn a_snooze_outlasts_its_episode_but_not_a_rise() {
    let (lines, _) = told("return: {after_calm: 0s}", |person| {
        person.sends(0, "recovery_score", 30.0);
        let until = at(600).as_micros();
        assert_eq!(person.asks(1, &Order::Snooze { episode: 1, until, by: by() }), Ok(()));
        person.sends(10, "recovery_score", 90.0);
        person.until(60);
        person.sends(100, "recovery_score", 30.0);
        person.sends(110, "recovery_score", 10.0);
    });
    assert_eq!(
        lines,
        [
            "0 mode_guardian firing medium !",
            "1 mode_guardian firing medium",
            "20 mode_guardian resolved medium",
            "100 mode_guardian firing medium",
            "110 mode_guardian firing high !"
        ]
    );
}

#[test]
fn what_was_resolved_by_hand_begins_anew_only_after_it_was_over() {
    let (lines, person) = told("return: {after_calm: 0s}", |person| {
        person.sends(0, "recovery_score", 30.0);
        let order = Order::Resolve { episode: 1, by: by() };
        assert_eq!(person.asks(5, &order), Ok(()));
        assert_eq!(person.asks(6, &order), Err(Refusal::NotOpen));
        person.sends(10, "recovery_score", 25.0);
        person.sends(20, "recovery_score", 90.0);
        person.sends(100, "recovery_score", 30.0);
    });
    assert_eq!(
        lines,
        [
            "0 mode_guardian firing medium !",
            "5 mode_guardian resolved medium",
            "100 mode_guardian firing medium !"
        ]
    );
    assert_eq!(person.held(Held::Dismissed), 1);
    assert_eq!(person.changes[1].by.as_deref(), Some("operator"));
}

#[test]
fn what_was_resolved_by_hand_is_not_news_when_the_mode_flaps() {
    let policy = "selection: {cooldown: 0s}\nreturn: {after_calm: 0s}";
    let (lines, _) = told(policy, |person| {
        person.sends(0, "stress_level", 0.95);
        assert_eq!(person.asks(1, &Order::Resolve { episode: 1, by: by() }), Ok(()));
        person.sends(2, "stress_level", 0.1);
        person.sends(8, "stress_level", 0.95);
        person.sends(9, "stress_level", 0.1);
        person.sends(30, "stress_level", 0.95);
    });
    let due = ["0 mode_reflex firing high !", "1 mode_reflex resolved high"];
    assert_eq!(lines[..2], due);
    assert_eq!(lines[2..], ["30 mode_reflex firing high !"], "over for ten minutes in between");
}

#[test]
fn what_another_reading_confirms_is_not_suspended() {
    let (lines, _) = told("heart_rate: {sustain_activity_unknown: 0s}", |person| {
        person.sends(0, "stress_level", 0.95);
        for minute in 5..60 {
            person.sends(minute, "heart_rate", 130.0);
        }
        person.until(62);
    });
    assert!(!lines.iter().any(|line| line.contains("suspended")), "{lines:?}");
}

#[test]
fn a_rule_that_needs_two_readings_is_suspended_by_the_older_one() {
    let policy = "selection: {min_confidence: 0}\nstep_down: {after: 0s}";
    let (lines, _) = told(policy, |person| {
        person.sends(0, "hrv", 15.0);
        for minute in 1..30 {
            person.sends(minute, "heart_rate", 45.0);
        }
    });
    assert!(lines[0].contains("low_hrv_low_hr firing"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("15 ") && line.contains("suspended")),
        "{lines:?}"
    );
}

#[test]
fn quiet_hours_wait_for_the_morning_except_for_what_cannot_wait() {
    let rules = "alerts: {through_quiet_hours: high, rules: [{id: g, title: G, mode: guardian, \
                 severity: [{is: high, of: recovery, below: 20}, {is: medium}]}]}";
    let (lines, person) = told(rules, |person| {
        person.sends(0, "recovery_score", 80.0);
        // 08:00 UTC is 09:00 in Berlin: quiet from 10:00 to 12:00.
        let quiet = Quiet::new("Europe/Berlin", 10 * 60, 12 * 60).expect("valid");
        assert_eq!(person.asks(1, &Order::Quiet(Some(quiet.clone()))), Ok(()));
        assert_eq!(person.asks(1, &Order::Quiet(Some(quiet))), Err(Refusal::Already));
        person.sends(70, "recovery_score", 30.0);
        person.until(200);
        person.sends(24 * 60 + 70, "recovery_score", 15.0);
    });
    assert_eq!(lines, ["70 g firing medium", "180 g firing medium !", "1510 g firing high !"]);
    assert_eq!(person.held(Held::QuietHours), 1);
}

#[test]
fn without_quiet_hours_of_their_own_nobody_has_any() {
    let (lines, _) = told("", |person| {
        person.sends(20 * 60, "recovery_score", 30.0);
    });
    assert_eq!(lines, ["1200 mode_guardian firing medium !"]);
}

#[test]
fn old_readings_neither_fire_nor_resolve() {
    let (lines, person) = told("", |person| {
        person.late(0, 120, "stress_level", 0.95);
        person.sends(121, "stress_level", 0.9);
        for minute in 0..30 {
            person.late(minute, 122, "stress_level", 0.1);
        }
    });
    assert_eq!(lines[0], "121 mode_reflex firing high !");
    assert!(lines[1..].iter().all(|line| line.contains("suspended")), "{lines:?}");
    assert!(person.held(Held::Backfill) > 0);
}

#[test]
fn stale_readings_suspend_and_fresh_ones_resume_and_it_expires_unconfirmed() {
    let (lines, _) = told("", |person| {
        person.sends(0, "stress_level", 0.9);
        person.sends(60, "stress_level", 0.9);
        person.until(2_000);
    });
    assert_eq!(
        lines,
        [
            "0 mode_reflex firing high !",
            "15 mode_reflex firing high suspended",
            "60 mode_reflex firing high",
            "75 mode_reflex firing high suspended",
            "420 mode_reflex expired high"
        ]
    );
}

#[test]
fn a_stale_alert_reminds_nobody() {
    let policy = "alerts: {rules: [{id: r, title: R, mode: reflex, severity: low, \
                  remind_after: 10m}]}";
    let (lines, person) = told(policy, |person| {
        person.sends(0, "stress_level", 0.9);
        person.until(60);
        person.sends(60, "stress_level", 0.2);
    });
    assert_eq!(lines[..3], ["0 r firing low !", "10 r firing low !", "15 r firing low suspended"]);
    assert!(person.changes[3..].iter().all(|change| !change.notify), "{lines:?}");
}

#[test]
fn a_reading_has_a_bound_and_a_way_back_of_its_own() {
    let policy = "alerts: {rules: [{id: fast, title: Fast, reading: heart_rate, above: 150, until: 120, \
                  severity: critical, fire_after: 2m, clear_after: 1m}]}";
    let (lines, person) = told(policy, |person| {
        for (minute, beats) in [160, 140, 160, 155, 151, 140, 121, 120, 119, 110].iter().enumerate()
        {
            person.sends(i64::try_from(minute).expect("few"), "heart_rate", f64::from(*beats));
        }
    });
    assert_eq!(lines, ["2 fast firing critical !", "8 fast resolved critical"]);
    assert_eq!(minute(person.changes[0].started_at), 0);
    assert_eq!(person.changes[0].evidence.limit, Some(150.0));
    assert_eq!(person.held(Held::Pending), 1, "the way back of 120 was not reached in between");
}

#[test]
fn what_does_not_last_or_is_not_seen_to_fires_nothing() {
    let policy = "alerts: {rules: [{id: fast, title: Fast, reading: heart_rate, above: 150, \
                  severity: low, fire_after: 5m}]}";
    let (lines, person) = told(policy, |person| {
        person.sends(0, "heart_rate", 160.0);
        person.sends(1, "heart_rate", 100.0);
        person.sends(30, "heart_rate", 160.0);
        person.late(30, 40, "heart_rate", 170.0);
        person.until(300);
        person.sends(300, "heart_rate", 160.0);
        person.sends(305, "heart_rate", 160.0);
    });
    assert_eq!(lines, ["305 fast firing low !"], "only two readings in a row say that it lasts");
    assert_eq!(minute(person.changes[0].started_at), 300);
    assert_eq!(person.held(Held::Pending), 3);
    assert_eq!(person.held(Held::Stale), 1);
}

#[test]
fn silence_of_somebody_who_had_data_daily_is_told_once_and_expires() {
    const DAY: i64 = 24 * 60;
    let (lines, person) = told("", |person| {
        for day in 0..8 {
            person.sends(day * DAY, "heart_rate", 60.0);
        }
        person.until(60 * DAY);
        person.sends(60 * DAY, "heart_rate", 60.0);
        person.until(90 * DAY);
    });
    let silent = 7 * DAY + 36 * 60;
    let expired = silent + 7 * DAY;
    assert_eq!(
        lines,
        [format!("{silent} no_data firing low !"), format!("{expired} no_data expired low")]
    );
    assert_eq!(minute(person.changes[0].started_at), 7 * DAY);
}

#[test]
fn silence_ends_with_live_data() {
    const DAY: i64 = 24 * 60;
    let (lines, _) = told("", |person| {
        for day in 0..8 {
            person.sends(day * DAY, "heart_rate", 60.0);
        }
        person.late(9 * DAY, DAY, "heart_rate", 60.0);
        person.sends(10 * DAY + 1, "heart_rate", 60.0);
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[1], format!("{} no_data resolved low", 10 * DAY + 1));
}

#[test]
fn what_has_expired_and_goes_on_is_no_news_unless_it_becomes_more_serious() {
    let (lines, person) = told("", |person| {
        person.sends(0, "recovery_score", 30.0);
        person.until(40 * 60);
        person.sends(40 * 60, "recovery_score", 30.0);
        person.sends(50 * 60, "recovery_score", 15.0);
    });
    assert_eq!(
        lines,
        [
            "0 mode_guardian firing medium !",
            "2160 mode_guardian expired medium",
            "3000 mode_guardian firing high !"
        ]
    );
    assert_eq!(person.held(Held::Dismissed), 1);
}

#[test]
fn silence_ends_when_somebody_was_heard_of_and_not_when_that_is_known() {
    const DAY: i64 = 24 * 60;
    let (lines, person) = told("", |person| {
        for day in 0..8 {
            person.sends(day * DAY, "heart_rate", 60.0);
        }
        person.until(10 * DAY);
        // Applied after all, with its own record time.
        person.book_of_late(9 * DAY);
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(minute(person.changes[1].ended_at.expect("an end")), 9 * DAY);
}

#[test]
fn a_rule_that_the_policy_no_longer_has_ends_its_episodes() {
    let (lines, _) = told("", |person| {
        person.sends(0, "recovery_score", 30.0);
        person.policy = Loaded::from_yaml("alerts: {rules: []}").expect("valid").policy;
        person.sends(1, "recovery_score", 30.0);
    });
    assert_eq!(lines, ["0 mode_guardian firing medium !", "1 mode_guardian resolved medium"]);
}

#[test]
fn an_order_that_comes_to_nothing_changes_nothing() {
    let mut person = Person::new("", false);
    person.sends(0, "heart_rate", 60.0);
    let before = person.book.clone();
    for order in [
        Order::Acknowledge { episode: 1, by: by() },
        Order::Resolve { episode: 1, by: by() },
        Order::Snooze { episode: 1, until: i64::MAX, by: by() },
    ] {
        assert_eq!(person.order(&order, at(500)), Err(Refusal::NotOpen));
    }
    assert_eq!(person.order(&Order::Quiet(None), at(500)), Err(Refusal::Already));
    assert!(person.book == before && person.changes.is_empty());
}

#[test]
fn no_built_in_rule_is_critical() {
    let is_critical = |status| status == super::Severity::Critical;
    let policy = Policy::default();
    let mut lines = policy.alerts.rules.iter().flat_map(|rule| &rule.severity);
    assert!(!lines.any(|line| is_critical(line.severity)));
    assert_eq!(Status::Firing.as_str(), "firing");
}
