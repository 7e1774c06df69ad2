//! The alert actor: turns entries into reflex and guardian, and the ways out of them, into changes of
//! alerts, and lines up everything of a batch that must leave. It knows no baseline and no rule.

use actix::{Actor, Addr, Context, Handler};
use tokio::sync::mpsc;

use crate::audit::Audit;
use crate::batch::{Alerted, Decided, End, Leaving};
use crate::capacity::BATCH_MAILBOX;
use crate::lane::UserNumber;
use crate::log::Outgoing;
use crate::message::{self, Alert, AlertCause, to_json};
use crate::ports::Ports;
use crate::rows::{AlertRow, Sink};
use crate::user::{Switch, alert_place, outbox_place};

/// Finds the alerts of one lane's batches.
pub(crate) struct Alerts {
    pub(crate) ports: Ports,
    pub(crate) audit: Addr<Audit>,
    pub(crate) end: mpsc::Sender<End>,
}

impl Actor for Alerts {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(BATCH_MAILBOX);
    }
}

impl Handler<Decided> for Alerts {
    type Result = ();

    fn handle(&mut self, mut decided: Decided, _: &mut Self::Context) {
        let mut leaving: Vec<Leaving> = decided
            .dead_letters
            .iter_mut()
            .map(|(row, outgoing)| Leaving {
                number: row.outbox,
                sink: Sink::DeadLetters,
                user: None,
                n: None,
                sealed: None,
                outgoing: std::mem::take(outgoing),
            })
            .collect();
        let mut alerts = Vec::new();
        for switch in &mut decided.switches {
            self.line_up(switch, &mut alerts, &mut leaving);
        }
        for (leaving, number) in leaving.iter_mut().zip(decided.before.outbox + 1..) {
            leaving.number = number;
        }
        if self.audit.try_send(Alerted { decided, alerts, leaving }).is_err() {
            // Whoever has ended the next actor has said why, unless nobody has.
            let _later = self.end.try_send(End::Claim { fenced: false });
        }
    }
}

impl Alerts {
    fn line_up(&self, switch: &mut Switch, alerts: &mut Vec<AlertRow>, leaving: &mut Vec<Leaving>) {
        let user = switch.row.user;
        let cause = &switch.alert;
        let message = std::mem::take(&mut switch.message);
        let sealed = switch.outgoing.clone();
        leaving.push(leave(Sink::Transitions, user, cause, switch.row.n, sealed, message));
        for alert in message::alerts_of(cause) {
            let json = to_json(&alert);
            let seal = |place| self.ports.seal.seal(&switch.key, place, &json);
            let sealed = seal(outbox_place(user, alert.n));
            alerts.push(row(
                &alert,
                user,
                switch.row.record_number,
                seal(alert_place(user, alert.n)),
            ));
            leaving.push(leave(Sink::Alerts, user, cause, alert.n, sealed, json));
        }
    }
}

fn leave(
    sink: Sink,
    user: UserNumber,
    cause: &AlertCause,
    n: i64,
    sealed: crate::seal::Sealed,
    message: Vec<u8>,
) -> Leaving {
    let key = Some(cause.user_id.as_bytes().to_vec());
    let outgoing = Outgoing { key, value: Some(message), headers: Vec::new() };
    Leaving { number: 0, sink, user: Some(user), n: Some(n), sealed: Some(sealed), outgoing }
}

fn row(
    alert: &Alert<'_>,
    user: UserNumber,
    record_number: i64,
    body: crate::seal::Sealed,
) -> AlertRow {
    AlertRow {
        user,
        n: alert.n,
        record_number,
        alert_id: alert.id,
        message_id: alert.message_id,
        status: alert.status,
        started_at: alert.started_at,
        updated_at: alert.updated_at,
        ended_at: alert.ended_at,
        body,
    }
}
