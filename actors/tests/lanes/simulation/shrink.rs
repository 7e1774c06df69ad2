//! Makes a plan that fails smaller: leaves out what it fails without. It changes nothing but the plan.

use super::plan::Plan;
use super::run::play;

/// Plans that are tried, at most.
const TRIES_MAX: usize = 600;

/// The smallest plan that was found to fail.
pub(super) fn shrink(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let mut tries = 0;
    let mut part = plan.actions.len().div_ceil(2);
    while part > 0 && tries < TRIES_MAX {
        let mut from = 0;
        let mut has_shrunk = false;
        while from < plan.actions.len() && tries < TRIES_MAX {
            let mut smaller = plan.clone();
            let to = (from + part).min(smaller.actions.len());
            smaller.actions.drain(from..to);
            tries += 1;
            if play(&smaller).violations.is_empty() {
                from += part;
            } else {
                plan = smaller;
                has_shrunk = true;
            }
        }
        if !has_shrunk || part > 1 {
            part /= 2;
        }
    }
    plan
}
