//! Stories that take long to build: run by `cargo xtask heavy`, never by the default test run.
#![forbid(unsafe_code)]

mod cdk;
mod mining_device;
