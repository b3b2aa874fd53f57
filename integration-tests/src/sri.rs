//! The unmodified SRI applications: where their binaries come from, and a pool and a translator as processes.

mod install;
mod pool;
mod translator;

pub use install::{Counterpart, InstallError, fetch_all};
pub(crate) use install::{build_folder, cache_folder, create_folder, lock};
pub use pool::{Pool, PoolBuilder};
pub use translator::{Translator, TranslatorBuilder};

/// The authority key pair of SRI's example configurations: public knowledge, good for loopback only.
const AUTHORITY_PUBLIC_KEY: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";
const AUTHORITY_SECRET_KEY: &str = "mkDLTBBRxdBv998612qipDYoTK3YUrqLe8uWw7gu3iXbSrn2n";

/// Start-up of a debug build on a loaded two-core machine takes seconds; this is for the worst of them.
const READY_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// The monitoring API copies its snapshot at most this often; 0 panics the task that does it.
const MONITORING_REFRESH_SECS: u32 = 1;
