//! A line drawn with fewer points: the first, the lowest, the highest and the last of each of so many equal parts of
//! the time (M4: Jugel, Jerzak, Hackenbroich and Markl, VLDB 2014). It makes no value up, and loses no extreme.

use neuros::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A value at a time.
#[derive(Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(super) struct Point {
    #[schema(value_type = DateTime<Utc>)]
    pub(super) time: Timestamp,
    pub(super) value: f64,
}

/// The name of the method.
pub(super) const METHOD: &str = "m4";

/// The points of a line between `from` and, exclusively, `to`, in order of time, at most `most` and at least four.
pub(super) fn m4(
    mut points: Vec<Point>,
    from: Timestamp,
    to: Timestamp,
    most: usize,
) -> Vec<Point> {
    // Points of one time stay in the order in which they came.
    points.sort_by_key(|point| point.time);
    if points.len() <= most {
        return points;
    }
    let parts = (most / 4).max(1) as i128;
    let length = i128::from((to - from).0).max(1);
    let part = |point: &Point| i128::from((point.time - from).0) * parts / length;
    let mut kept = Vec::with_capacity(most);
    for points in points.chunk_by(|a, b| part(a) == part(b)) {
        kept.extend(four(points));
    }
    kept
}

/// The first, lowest, highest and last, each once and in order.
fn four(points: &[Point]) -> impl Iterator<Item = Point> {
    let by_value = |a: &usize, b: &usize| points[*a].value.total_cmp(&points[*b].value);
    let places = || 0..points.len();
    let mut kept = [Some(0), places().min_by(by_value), places().max_by(by_value), places().last()];
    kept.sort_unstable();
    let mut last = None;
    kept.into_iter().flatten().filter_map(move |place| {
        let is_new = last != Some(place);
        last = Some(place);
        points.get(place).copied().filter(|_| is_new)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point((micros, value): (i64, f64)) -> Point {
        Point { time: Timestamp::from_micros(micros), value }
    }

    proptest! {
        #[test]
        fn fewer_points_keep_both_ends_every_extreme_and_their_order(
            given in proptest::collection::vec((0..1_000_i64, -1e3..1e3_f64), 0..400),
            most in 4..64_usize,
        ) {
            let (from, to) = (Timestamp::from_micros(0), Timestamp::from_micros(1_000));
            let given: Vec<Point> = given.into_iter().map(point).collect();
            let kept = m4(given.clone(), from, to, most);
            prop_assert!(kept.len() <= most.max(4));
            prop_assert!(kept.iter().all(|point| given.contains(point)), "none is made up");
            prop_assert!(kept.is_sorted_by_key(|point| point.time));
            if given.len() <= most {
                prop_assert_eq!(kept.len(), given.len());
            }
            let ends = |points: &[Point]| {
                let times = points.iter().map(|point| point.time);
                let values = || points.iter().map(|point| point.value);
                let edge = (values().reduce(f64::min), values().reduce(f64::max));
                (times.clone().min(), times.max(), edge)
            };
            prop_assert!(ends(&kept) == ends(&given));
        }
    }
}
