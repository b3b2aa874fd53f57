//! The one set of hooks of a process.

use std::io;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};

use super::PoolHooks;
use crate::start::{self, StartError};

static STARTED: OnceLock<PoolHooks> = OnceLock::new();
static OFF: LazyLock<PoolHooks> = LazyLock::new(PoolHooks::off);

/// The hooks of this process; they do nothing before [`start_pool`].
#[must_use]
pub fn pool() -> &'static PoolHooks {
    STARTED.get().unwrap_or_else(|| &OFF)
}

/// Starts the hooks of this process from the host's configuration file. `version` is the host's,
/// `env!("CARGO_PKG_VERSION")`.
///
/// # Errors
/// When a table cannot be used, or the hooks run already; the words say where and why.
pub fn start_pool(config: &Path, version: &str) -> io::Result<()> {
    let hooks = start::read(config).and_then(|text| PoolHooks::from_toml_str(&text, version));
    let started = hooks.and_then(|hooks| STARTED.set(hooks).map_err(|_| StartError::AlreadyStarted));
    started.map_err(|error| error.into_io(config))
}
