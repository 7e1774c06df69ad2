//! What is usual for a person on a device: running sums by UTC day over a short window.

use smol_str::SmolStr;

use crate::policy::{self, Policy};
use crate::signal::Signal;
use crate::time::{Day, Timestamp};

/// The segments of one signal, one for each device, by device id.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Segments(pub(crate) Vec<Segment>);

/// One device's share of a signal.
#[derive(Clone, PartialEq)]
pub(crate) struct Segment {
    pub(crate) device_id: SmolStr,
    /// By day, the oldest first; never empty.
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) last_added: Timestamp,
}

/// What one UTC day contributes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) day: Day,
    pub(crate) samples: u32,
    pub(crate) sum: f64,
}

/// The usual value at the time of a reading, the reading itself not included.
#[derive(Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Baseline {
    pub(crate) mean: f64,
    pub(crate) samples: u32,
    pub(crate) days: u32,
}

impl Baseline {
    /// Whether it rests on enough: one night must not calibrate itself, so overnight HRV counts
    /// days only.
    pub(crate) fn is_calibrated(&self, signal: Signal, policy: &policy::Baseline) -> bool {
        self.days >= policy.min_days
            || (signal != Signal::OvernightHrv && self.samples >= policy.min_samples)
    }
}

impl Segments {
    /// The baseline for a reading of `day` on `device_id`; `None` when its window is empty.
    pub(crate) fn baseline(&self, device_id: &str, day: Day, policy: &Policy) -> Option<Baseline> {
        let segment = self.0.iter().find(|segment| segment.device_id == device_id)?;
        segment.baseline(first_day(day, policy)..=day)
    }

    /// Adds a reading to the bucket of its day, unless it comes too close to the one added last or
    /// its day has left the window.
    pub(crate) fn add(&mut self, device_id: &str, time: Timestamp, value: f64, policy: &Policy) {
        match self.0.iter_mut().find(|segment| segment.device_id == device_id) {
            Some(segment) => segment.add(time, value, policy),
            None => self.begin(device_id, time, value, policy),
        }
    }

    fn begin(&mut self, device_id: &str, time: Timestamp, value: f64, policy: &Policy) {
        let segments_max = usize::try_from(policy.baseline.max_segments).unwrap_or(usize::MAX);
        while self.0.len() >= segments_max {
            // The segments are ordered by device id, and of equals the first is taken.
            let ages = self.0.iter().enumerate();
            let Some((oldest, _)) = ages.min_by_key(|(_, segment)| segment.last_added) else {
                break;
            };
            self.0.remove(oldest);
        }
        let segment = Segment {
            device_id: device_id.into(),
            buckets: vec![Bucket { day: time.day(), samples: 1, sum: value }],
            last_added: time,
        };
        let place = self.0.partition_point(|other| other.device_id.as_str() < device_id);
        self.0.insert(place, segment);
    }
}

impl Segment {
    /// The mean over all buckets within `days`.
    pub(crate) fn baseline(&self, days: std::ops::RangeInclusive<Day>) -> Option<Baseline> {
        let mut total = Bucket { day: 0, samples: 0, sum: 0.0 };
        let mut count = 0;
        for bucket in self.buckets.iter().filter(|bucket| days.contains(&bucket.day)) {
            total.samples = total.samples.saturating_add(bucket.samples);
            total.sum += bucket.sum;
            count += 1;
        }
        let mean = total.sum / f64::from(total.samples);
        (count > 0).then_some(Baseline { mean, samples: total.samples, days: count })
    }

    fn add(&mut self, time: Timestamp, value: f64, policy: &Policy) {
        let day = time.day();
        let newest = self.buckets.last().map_or(day, |bucket| bucket.day);
        if (time - self.last_added).abs() < policy.baseline.min_spacing
            || day < first_day(newest, policy)
        {
            return;
        }
        self.last_added = time;
        match self.buckets.binary_search_by_key(&day, |bucket| bucket.day) {
            Ok(place) => {
                if let Some(bucket) = self.buckets.get_mut(place) {
                    bucket.samples = bucket.samples.saturating_add(1);
                    bucket.sum += value;
                }
            }
            Err(place) => self.buckets.insert(place, Bucket { day, samples: 1, sum: value }),
        }
        let first = first_day(newest.max(day), policy);
        self.buckets.retain(|bucket| bucket.day >= first);
    }
}

/// The first day of the window that ends with `day`.
fn first_day(day: Day, policy: &Policy) -> Day {
    let days = Day::try_from(policy.baseline.window_days).unwrap_or(Day::MAX);
    day.saturating_sub(days.saturating_sub(1))
}
