//! What holds for all messages, frames and states under random input, and the byte-level vectors.
#![allow(clippy::unwrap_used, reason = "a test that meets what it did not expect fails there")]

#[path = "../../examples/vectors/document.rs"]
mod document;
mod entropy;
#[path = "../../examples/vectors/every_message.rs"]
mod every_message;
mod frames;
mod from_json;
#[path = "../../examples/vectors/json.rs"]
mod json;
mod messages;
mod open_objects;
#[path = "../../examples/vectors/sessions.rs"]
mod sessions;
mod spec;
mod vectors;
