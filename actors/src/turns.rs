//! Forwarded records that came before their turn. What must come first comes again, unless it was lost:
//! that is a gap, which stops the lane instead of being passed over.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::batch::End;
use crate::lane::{Lane, Progress};
use crate::ports::Ports;

/// What a lane's forwarded records wait for.
#[derive(Default)]
pub(crate) struct Turns {
    /// By origin partition.
    waiting: BTreeMap<i32, Waiting>,
    /// Where the lane reads on in its by-user partition.
    position: i64,
}

struct Waiting {
    /// The offset at the origin of the record that must come first.
    previous: i64,
    /// The end of the by-user partition, noted after the origin's commit past that record was seen:
    /// by then it must have come.
    end: Option<i64>,
}

impl Turns {
    /// A record of `origin` came before the one at offset `previous` there.
    pub(crate) fn wait_for(&mut self, origin: i32, previous: i64) {
        self.waiting.entry(origin).or_insert(Waiting { previous, end: None });
    }

    /// The lane has come on.
    pub(crate) fn moved(&mut self, progress: &Progress) {
        self.position = progress.positions.by_user;
        self.waiting.retain(|origin, waiting| {
            progress.marks.get(origin).is_none_or(|mark| *mark < waiting.previous)
        });
    }

    fn gap(&self) -> Option<(i32, i64)> {
        let missing = |waiting: &Waiting| waiting.end.is_some_and(|end| self.position >= end);
        let found = self.waiting.iter().find(|(_, waiting)| missing(waiting));
        found.map(|(origin, waiting)| (*origin, waiting.previous))
    }
}

/// How often the origins of missing records are asked about.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Looks after what is waited for until `stop`, or until there is a gap.
pub(crate) async fn watch(
    lane: Lane,
    ports: Ports,
    turns: Rc<RefCell<Turns>>,
    end: mpsc::Sender<End>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
        let gap = turns.borrow().gap();
        if let Some((origin, previous)) = gap {
            let problem = format!(
                "the record at offset {previous} of partition {origin} was forwarded to this lane and \
                 has not arrived; what follows it waits. Look for whoever writes to or deletes from \
                 the by-user topic; `biometric-bridge topics adopt` gives the record up"
            );
            // The first reason to end counts.
            let _later = end.try_send(End::Halted { problem });
            return;
        }
        let asked: Vec<(i32, i64)> = {
            let turns = turns.borrow();
            let unsure = turns.waiting.iter().filter(|(_, waiting)| waiting.end.is_none());
            unsure.map(|(origin, waiting)| (*origin, waiting.previous)).collect()
        };
        for (origin, previous) in asked {
            let last = ports.store.last_forwarded(Lane(origin), lane).await;
            if !last.is_ok_and(|last| last >= previous) {
                continue;
            }
            let Ok(noted) = ports.log.by_user_end(lane).await else { continue };
            if let Some(waiting) = turns.borrow_mut().waiting.get_mut(&origin)
                && waiting.previous == previous
            {
                waiting.end = Some(noted);
            }
        }
    }
}
