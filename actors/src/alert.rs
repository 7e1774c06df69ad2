//! The alert actor: makes messages of the changes of alerts that a batch has led to, and lines up everything of the
//! batch that must leave. Which changes those are, each person's alerts have decided.

use actix::{Actor, Addr, Context, Handler};
use tokio::sync::mpsc;

use crate::audit::Audit;
use crate::batch::{Alerted, Decided, End, Leaving};
use crate::capacity::BATCH_MAILBOX;
use crate::log::Outgoing;
use crate::message::{message_id, to_json};
use crate::notice::Notice;
use crate::places::{alert_place, outbox_place};
use crate::ports::Ports;
use crate::rows::{AlertRow, Sink};
use crate::user::Switch;

/// Finds what leaves of one lane's batches.
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
        let of_letters = leaving.len();
        leaving.extend(decided.switches.iter_mut().map(of_switch));
        let mut alerts = Vec::with_capacity(decided.notices.len());
        for notice in &decided.notices {
            let (row, left) = self.line_up(notice);
            alerts.push(row);
            leaving.push(left);
        }
        if let Some(of_users) = leaving.get_mut(of_letters..) {
            of_users.sort_unstable_by_key(|leaving| (leaving.user, leaving.n));
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

/// What leaves for a mode change.
fn of_switch(switch: &mut Switch) -> Leaving {
    let (user, n) = (switch.row.user, switch.row.n);
    let message = std::mem::take(&mut switch.message);
    let key = Some(std::mem::take(&mut switch.user_id).into_bytes());
    let trace = switch.trace.take();
    Leaving {
        number: 0,
        sink: Sink::Transitions,
        user: Some(user),
        n: Some(n),
        sealed: Some(switch.outgoing.clone()),
        outgoing: Outgoing { key, value: Some(message), headers: Vec::new(), trace },
    }
}

impl Alerts {
    fn line_up(&self, notice: &Notice) -> (AlertRow, Leaving) {
        let (user, n) = (notice.user, notice.change.n);
        let _alert = notice.trace.alert();
        let json = to_json(&notice.message());
        let seal = |place| self.ports.seal.seal(&notice.key, place, &json);
        let row = AlertRow {
            user,
            n,
            record_number: notice.record_number,
            // Of the first that was said of the episode: the alert's own id would say which rule it is.
            alert_id: message_id(&notice.user_id, notice.change.episode),
            message_id: notice.message_id(),
            status: notice.change.status.as_str(),
            started_at: notice.change.started_at,
            updated_at: notice.change.updated_at,
            ended_at: notice.change.ended_at,
            body: seal(alert_place(user, n)),
        };
        let sealed = Some(seal(outbox_place(user, n)));
        let key = Some(notice.user_id.as_bytes().to_vec());
        let trace = notice.trace.continued();
        let outgoing = Outgoing { key, value: Some(json), headers: Vec::new(), trace };
        let leaving = Leaving {
            number: 0,
            sink: Sink::Alerts,
            user: Some(user),
            n: Some(n),
            sealed,
            outgoing,
        };
        (row, leaving)
    }
}
