//! What an installation is made of and watched by, beside the program itself.

mod alerts;
mod dashboards;
mod promql;
mod runbook;
mod watched;
