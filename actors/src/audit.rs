//! The audit actor: says of every batch who wrote how many people's records where, in a row of the same
//! transaction. A batch without that row is not written.

use actix::{Actor, Addr, Context, Handler};
use tokio::sync::mpsc;

use crate::batch::{Alerted, Audited, Decided, Effects, End};
use crate::capacity::BATCH_MAILBOX;
use crate::persist::Persist;
use crate::rows::{AuditRow, Batch, OutboxRow};

/// Audits the batches of one lane.
pub(crate) struct Audit {
    pub(crate) accessor_id: String,
    pub(crate) persist: Addr<Persist>,
    pub(crate) end: mpsc::Sender<End>,
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
    fn audited(&self, alerted: Alerted) -> Audited {
        let Alerted { decided, alerts, leaving } = alerted;
        let Decided { passport, before, after, records, users, switches, .. } = decided;
        let audit = AuditRow {
            accessor_id: self.accessor_id.clone(),
            access_type: "INSERT",
            table_name: "biometric_events",
            record_id: format!("lane {} batch {}", passport.lane, after.batch),
            user: None,
            records: i64::try_from(records.len()).unwrap_or(i64::MAX),
            time: passport.stamp,
        };
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
            transitions: switches.into_iter().map(|switch| switch.row).collect(),
            alerts,
            dead_letters: decided.dead_letters.into_iter().map(|(row, _)| row).collect(),
            outbox,
            audit,
            released: decided.released,
            commands: decided.commands,
            looks: decided.looks,
        };
        let effects = Effects { messages, states: decided.states };
        Audited { passport, batch, effects }
    }
}
