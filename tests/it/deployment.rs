//! How the bridge is put onto machines, and watched there: what is shipped beside the program is held against the
//! program. Never needs a cluster or a container engine.

mod alerts;
mod chart;
mod dashboards;
mod promql;
mod runbook;
mod watched;
