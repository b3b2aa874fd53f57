//! The bytes of the protocol: vectors, properties over any value, and any bytes at all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod document;
mod properties;
mod vectors;
