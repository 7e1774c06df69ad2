//! The integration tests: the program and its files as a user meets them, in one binary.

mod command_line;
mod documents;
mod golden;
mod house;
mod replay;
mod support;
