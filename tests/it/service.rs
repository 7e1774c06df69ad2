//! The service against real servers: what it promises, and what becomes of the promise when things go
//! wrong. Whatever did its work is checked by [`check::all`] in the end. Never looks inside the program.

mod accounts;
mod alerts;
mod audit;
mod canary;
pub(crate) mod check;
mod coach;
mod commands;
mod dead_letters;
mod episodes;
mod erase;
mod expand;
mod faults;
pub(crate) mod feed;
mod frozen;
mod gaps;
mod golden;
mod guide;
mod http;
mod instances;
mod keys;
mod links;
mod messages;
mod notices;
mod obstacles;
mod outages;
mod pressure;
mod producers;
mod redrive;
mod rejected;
mod roles;
mod rolling;
pub(crate) mod site;
mod sockets;
mod start;
mod vault;
