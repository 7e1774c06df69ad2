//! A batch that is being filled: what each record comes to before anybody's state is asked. It reads nothing itself.

use neuros::time::Timestamp;

use crate::batch::Dead;
use crate::defect::Defect;
use crate::incoming::Incoming;
use crate::intake::{self, Application, Forward, Intake, QUARANTINED, Skip, Verdict};
use crate::lane::{PerSource, Progress, Provenance};
use crate::ports::BatchRules;
use crate::suspects::{QUARANTINE, Suspects};
use crate::taken::{Entry, Taken};
use crate::trace::{Trace, Tracer, Trail};

/// A batch that is being filled.
#[derive(Default)]
pub(crate) struct Filling {
    pub(crate) applications: Vec<Taken>,
    pub(crate) dead_letters: Vec<Dead>,
    pub(crate) quarantine: Vec<String>,
    pub(crate) forwards: Vec<Forward>,
    /// Origin and the offset there that must come first.
    pub(crate) out_of_turn: Vec<(i32, i64)>,
    pub(crate) oldest: Option<Timestamp>,
    /// Records of users who were erased.
    pub(crate) refused: PerSource<i64>,
    pub(crate) trail: Trail,
    pub(crate) records: usize,
    bytes: usize,
}

impl Filling {
    /// Whether nothing more goes in.
    pub(crate) fn is_full(&self, rules: &BatchRules) -> bool {
        self.records >= rules.records_max || self.bytes >= rules.bytes_max
    }

    /// Takes a record, which moves `progress` on; what becomes of it is judged here.
    pub(crate) fn take(
        &mut self,
        incoming: &Incoming<'_>,
        intake: &Intake,
        tracer: &dyn Tracer,
        progress: &mut Progress,
        suspects: &mut Suspects,
    ) {
        self.records += 1;
        if !Defect::BytesUncounted.is_on() {
            self.bytes += incoming.bytes();
        }
        let (source, offset) = (incoming.source, incoming.offset);
        let followed = self.trail.take(tracer, intake.lane(), incoming);
        let verdict = intake.judge(incoming, progress);
        if suspects.refuses(&verdict, progress.counts.of_mut(source)) {
            *self.refused.of_mut(source) += 1;
            return;
        }
        match verdict {
            Verdict::Apply(application) => {
                let Application { record, traceparent } = application;
                let record_time = record.record_time;
                self.oldest =
                    Some(self.oldest.map_or(record_time, |oldest| oldest.min(record_time)));
                if suspects.hold_back(source, offset, &record.user_id, &mut self.quarantine) {
                    progress.counts.of_mut(source).dead_letter += 1;
                    let user_id = Some(record.user_id.to_string());
                    let letter =
                        intake::letter(incoming, Some(record_time), QUARANTINED, QUARANTINE);
                    self.dead_letters.push(Dead { source, offset, user_id, letter });
                } else {
                    // A batch has at most `records_max` records.
                    let position = i32::try_from(self.applications.len()).unwrap_or(i32::MAX);
                    let (provenance, letter) = (Provenance::Log(source, offset), None);
                    let entry = Entry::Record(record);
                    let trace = Trace { traceparent, followed };
                    self.applications.push(Taken { position, provenance, letter, trace, entry });
                }
            }
            Verdict::Forward(forward) => self.forwards.push(*forward),
            Verdict::DeadLetter(letter) => {
                self.dead_letters.push(Dead { source, offset, user_id: None, letter: *letter });
            }
            Verdict::Skip(skip) => {
                if let Skip::OutOfTurn { origin, previous } = skip {
                    self.out_of_turn.push((origin, previous));
                }
                tracing::debug!(source = ?source, offset, ?skip, "a forwarded record is skipped");
            }
        }
    }
}
