//! The service against real servers: what it promises, and what becomes of the promise when things go
//! wrong. Every test ends with [`check::all`]. Never looks inside the program.

mod check;
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
