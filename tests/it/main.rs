//! The integration tests: the program and its files as a user meets them, in one binary.

mod command_line;
mod golden;
mod house;
mod replay;
mod support;
