//! The service against real servers: what it promises, and what becomes of the promise when things go
//! wrong. Whatever did its work is checked by [`check::all`] in the end. Never looks inside the program.

mod check;
mod commands;
mod dead_letters;
mod faults;
mod feed;
mod frozen;
mod golden;
mod guide;
mod instances;
mod messages;
mod notices;
mod outages;
mod producers;
mod rejected;
mod secrets;
mod site;
mod start;
