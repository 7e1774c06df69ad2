//! The audit actor: says of every batch who wrote how many people's records where, in a row of the same
//! transaction, chained to the row of the batch before. A batch without that row is not written.

use std::fmt::Write as _;

use actix::{Actor, Addr, Context, Handler};
use tokio::sync::mpsc;

use crate::batch::{Alerted, Audited, Decided, Effects, End};
use crate::capacity::BATCH_MAILBOX;
use crate::hash_chain::{Content, Head, writer_of};
use crate::lane::{Lane, Source};
use crate::persist::Persist;
use crate::rows::{AuditRow, Batch, OutboxRow};

/// Audits the batches of one lane.
pub(crate) struct Audit {
    pub(crate) writer: Writer,
    pub(crate) persist: Addr<Persist>,
    pub(crate) end: mpsc::Sender<End>,
}

/// Writes a lane's chain on from where the claim found it.
pub(crate) struct Writer {
    name: String,
    accessor_id: String,
    /// The row of the newest batch that came by; batches commit in that order or not at all.
    head: Head,
}

impl Actor for Audit {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(BATCH_MAILBOX);
    }
}

impl Handler<Alerted> for Audit {
    type Result = ();

    fn handle(&mut self, alerted: Alerted, _: &mut Self::Context) {
        let audited = self.audited(alerted);
        if self.persist.try_send(audited).is_err() {
            // Whoever has ended the next actor has said why, unless nobody has.
            let _later = self.end.try_send(End::Claim { fenced: false });
        }
    }
}

impl Audit {
    fn audited(&mut self, alerted: Alerted) -> Audited {
        let audit = self.writer.row(&alerted.decided);
        let Alerted { decided, alerts, leaving } = alerted;
        let Decided { passport, before, after, records, users, bases, switches, .. } = decided;
        let mut outbox = Vec::with_capacity(leaving.len());
        let mut messages = Vec::with_capacity(leaving.len());
        for leaving in leaving {
            let (number, sink) = (leaving.number, leaving.sink);
            let (user, n, body) = (leaving.user, leaving.n, leaving.sealed);
            outbox.push(OutboxRow { number, sink, user, n, body });
            messages.push((number, sink, leaving.outgoing));
        }
        let batch = Batch {
            lane: passport.lane,
            token: passport.token,
            before,
            after,
            records,
            users,
            bases,
            transitions: switches.into_iter().map(|switch| switch.row).collect(),
            alerts,
            dead_letters: decided.dead_letters.into_iter().map(|(row, _)| row).collect(),
            outbox,
            audit,
            released: decided.released,
            commands: decided.commands,
            looks: decided.looks,
            erasures: decided.erasures,
        };
        let (states, forgotten) = (decided.states, decided.forgotten);
        let effects = Effects { messages, states, forgotten };
        Audited { passport, batch, effects }
    }
}

impl Writer {
    pub(crate) fn new(lane: Lane, owner: &str, head: Head) -> Self {
        Self { name: writer_of(lane), accessor_id: owner.to_owned(), head }
    }

    /// The row of the batch that comes next.
    fn row(&mut self, decided: &Decided) -> AuditRow {
        let (access_type, table_name) = ("INSERT", "biometric_events");
        let record_id = self.what_is_written(decided);
        let records = i64::try_from(decided.records.len()).unwrap_or(i64::MAX);
        let time = decided.passport.stamp;
        let content = Content {
            user_id: None,
            accessor_id: &self.accessor_id,
            access_type,
            table_name,
            record_id: Some(&record_id),
            records,
            time_us: time.as_micros(),
        };
        let link = self.head.follow(&self.name, &content);
        self.head = link.head();
        let (writer, accessor_id) = (self.name.clone(), self.accessor_id.clone());
        AuditRow { writer, link, accessor_id, access_type, table_name, record_id, records, time }
    }

    /// The lane, the offsets, how many of what, and the numbers of the keys: of many users not each, for a
    /// row must stay small, but how many they are and from which number to which.
    fn what_is_written(&self, decided: &Decided) -> String {
        let Decided { passport, before, after, keys, .. } = decided;
        let mut text = format!("lane {} batch {}", passport.lane, after.batch);
        let mut add = |part: std::fmt::Arguments<'_>| {
            // Writing to a text does not fail.
            _ = text.write_fmt(part);
        };
        for source in Source::ALL {
            let (from, to) = (before.positions.of(source), after.positions.of(source));
            if from < to {
                add(format_args!("; {} {from} to {}", source.as_str(), to - 1));
            }
        }
        for (count, what) in [
            (keys.users, "users"),
            (decided.users.iter().filter(|row| row.is_new).count() as u64, "new users"),
            (decided.switches.len() as u64, "mode changes"),
            (decided.notices.len() as u64, "alert changes"),
            (decided.dead_letters.len() as u64, "dead letters"),
            (decided.released.len() as u64, "released"),
            (decided.commands.len() as u64, "commands"),
        ] {
            if count > 0 {
                add(format_args!("; {count} {what}"));
            }
        }
        if let Some((lowest, highest)) = keys.numbers {
            add(format_args!("; users' keys {lowest} to {highest}"));
        }
        if let Some(number) = keys.service {
            add(format_args!("; service's key {number}"));
        }
        text
    }
}
