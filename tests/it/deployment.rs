//! What an installation is made of and watched by, beside the program itself; and what operators are given, walked as
//! they walk it.

mod alerts;
mod dashboards;
mod guide;
mod promql;
mod runbook;
mod scale;
mod watched;
