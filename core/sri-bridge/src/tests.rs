//! The arithmetic over any history of polls, and the bridge against a program that answers as SRI does.

mod against_api;
mod any_history;
mod fake_program;
mod replay;
