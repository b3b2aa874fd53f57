//! The durable log of the sidecar: append, acknowledge after commit, read from a cursor, cursors, dead letters,
//! retention, check. One SQLite file, one thread that writes it.
#![forbid(unsafe_code)]

pub mod config;
pub mod dead_letter;
pub mod error;
pub mod journal;
pub mod local;
pub mod offline;
pub mod reader;
pub mod report;
pub mod session;

mod ballast;
#[cfg(test)]
mod fault;
mod group;
mod intake;
mod open_state;
mod recent;
mod registry;
mod retention;
mod row;
mod salvage;
mod schema;
mod shared;
mod store;
mod writer;

pub use config::{JournalConfig, JournalSettings, WhenFull};
pub use dead_letter::{DeadLetter, KeptLetter};
pub use error::{AppendError, JournalError, OpenError};
pub use journal::Journal;
pub use local::{LocalRun, LocalState, MAX_LOCAL_RUN_BYTES};
pub use reader::{JournalReader, Tail};
pub use registry::{EXPIRY_GRACE, MAX_OPEN_SESSIONS, SESSION_EXPIRES_AFTER};
pub use report::{Head, JournalHealth, JournalStats, OpenReport, Salvage, SessionInfo};
pub use session::{MAX_RUN_BYTES, MalformedFrame, OpenSession, OpenedSession, Run, SessionWriter, carries_state};
