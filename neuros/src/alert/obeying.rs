//! What people ask of alerts, and time with them: orders, and what each changes. Only ever on an episode that is
//! open.

use super::book::{Book, Meeting};
use super::episode::{Episode, Phase, Slot, Snooze};
use super::order::{Order, Refusal};
use super::passing::dismissed;
use super::rule::Rule;
use super::words;
use crate::policy::Policy;
use crate::time::Timestamp;

impl Book {
    /// Carries out an order, at the meeting's time. Only a tick makes time pass: what people do says nothing of
    /// what may still be on its way. Gives whether it was, and when to look again: after a tick
    /// always, else if that is earlier than was said before.
    ///
    /// # Errors
    ///
    /// When there is nothing to do; then nothing has changed, and the order takes no place among the records.
    pub fn obey(
        &mut self,
        order: &Order,
        meeting: &mut Meeting<'_>,
    ) -> Result<Option<Timestamp>, Refusal> {
        meeting.now = self.clock.max(meeting.now);
        self.refuse(order, meeting)?;
        match order {
            Order::Tick => {
                self.begin(meeting);
                self.resume(meeting);
                self.scheduled = self.due(meeting);
                return Ok(self.scheduled);
            }
            Order::Quiet(quiet) => self.quiet = quiet.clone().map(Box::new),
            Order::Acknowledge { episode, by } => self.acknowledge(*episode, by, meeting),
            Order::Snooze { episode, until, by } => {
                self.snooze(*episode, Timestamp::from_micros(*until), by, meeting);
            }
            Order::Resolve { episode, by } => self.dismiss(*episode, by, meeting),
        }
        Ok(self.finish(false, meeting))
    }

    /// Why an order comes to nothing.
    fn refuse(&self, order: &Order, meeting: &Meeting<'_>) -> Result<(), Refusal> {
        let (now, rules) = (meeting.now, &meeting.policy.alerts.rules);
        let is_ruled = |place: usize| self.slots.get(place).and_then(|slot| rules.of(&slot.rule));
        let open = |number: i64| {
            let found = self.open(number).filter(|(place, _)| is_ruled(*place).is_some());
            found.ok_or(Refusal::NotOpen)
        };
        match order {
            Order::Tick => Ok(()),
            Order::Quiet(quiet) if quiet.as_ref() == self.quiet.as_deref() => Err(Refusal::Already),
            Order::Quiet(_) => Ok(()),
            Order::Acknowledge { episode, .. } => match open(*episode)?.1.is_acknowledged {
                true => Err(Refusal::Already),
                false => Ok(()),
            },
            Order::Snooze { episode, until, .. } => {
                open(*episode)?;
                if *until > now.as_micros() { Ok(()) } else { Err(Refusal::Past) }
            }
            Order::Resolve { episode, .. } => open(*episode).map(|_| ()),
        }
    }

    fn open(&self, number: i64) -> Option<(usize, &Episode)> {
        self.slots.iter().enumerate().find_map(|(place, slot)| match &slot.phase {
            Phase::Open(episode) if episode.number == number => Some((place, &**episode)),
            _ => None,
        })
    }

    /// The slot of an episode that an order is about, taken out of its place, with its rule. The policy may no longer
    /// have that.
    fn take<'p>(&mut self, number: i64, policy: &'p Policy) -> Option<(&'p Rule, Slot)> {
        let (place, _) = self.open(number)?;
        let rule = policy.alerts.rules.of(&self.slots.get(place)?.rule)?;
        Some((rule, self.slots.remove(place)))
    }

    fn acknowledge(&mut self, number: i64, by: &str, meeting: &mut Meeting<'_>) {
        let Some((rule, mut slot)) = self.take(number, meeting.policy) else { return };
        if let Phase::Open(episode) = &mut slot.phase {
            episode.is_acknowledged = true;
            meeting.say(rule, episode, slot.snooze, words::ACKNOWLEDGED.to_owned(), Some(by));
        }
        self.put(slot);
    }

    fn snooze(&mut self, number: i64, until: Timestamp, by: &str, meeting: &mut Meeting<'_>) {
        let Some((rule, mut slot)) = self.take(number, meeting.policy) else { return };
        if let Phase::Open(episode) = &mut slot.phase {
            slot.snooze = Some(Snooze { until, severity: episode.severity });
            // When it ends, it is as if nobody had been told.
            episode.notified_at = None;
            meeting.say(rule, episode, slot.snooze, words::SNOOZED.to_owned(), Some(by));
        }
        self.put(slot);
    }

    fn dismiss(&mut self, number: i64, by: &str, meeting: &mut Meeting<'_>) {
        let Some((rule, mut slot)) = self.take(number, meeting.policy) else { return };
        if let Phase::Open(episode) = &mut slot.phase {
            let detail = words::RESOLVED.to_owned();
            meeting.end(rule, episode, meeting.now, detail, Some(by));
            slot.phase = dismissed(episode, true);
        }
        self.put(slot);
    }
}
