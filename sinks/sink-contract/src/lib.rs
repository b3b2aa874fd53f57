//! The test kit that every sink passes: what the driver may rely on, as checks over a real sink in a temporary folder.
//!
//! ```no_run
//! use sink_contract::{Contract, Guarantee, Stored};
//! # use std::path::Path;
//! # fn make_my_sink(_: &Path) -> Box<dyn sidecar_core::Sink> { unimplemented!() }
//! # fn read_my_store(_: &Path) -> Vec<sidecar_core::StableId> { unimplemented!() }
//!
//! Contract::new(
//!     Guarantee::ExactlyOnce,
//!     |folder: &Path| make_my_sink(&folder.join("store")),
//!     |folder: &Path| Stored::Ids(read_my_store(&folder.join("store"))),
//! )
//! .check();
//! ```
//!
//! A sink that keeps sums instead of events answers [`Stored::Count`] and says with [`Contract::counting`] which events
//! are in its count. [`SyntheticJournal`], [`Draw`] and the functions of [`strategies`] make records, events and
//! batches for any other test.
//!
//! The kit is for tests: it panics where a sink breaks its contract, naming the check.
#![forbid(unsafe_code)]

mod checks;
mod contract;
mod events;
pub mod strategies;
mod synthetic;
#[cfg(test)]
mod tests;
mod trial;

pub use contract::{Contract, Guarantee, Stored};
pub use events::{Draw, derived_kinds, published_kinds};
pub use synthetic::{SyntheticJournal, SyntheticSession, batch};
