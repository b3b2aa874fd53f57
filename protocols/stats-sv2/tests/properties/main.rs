//! What holds for all messages, frames and states, under random input.
#![allow(clippy::unwrap_used, reason = "a test that meets what it did not expect fails there")]

mod entropy;
mod frames;
mod messages;
mod open_objects;
