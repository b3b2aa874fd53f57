//! The hooks of a translator from SV1 miners to an SV2 pool.

use std::io;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};

use stats_publisher::{Role, StatsPublisher};

use crate::start::{self, CLOSE_DEADLINE, StartError};

static STARTED: OnceLock<TranslatorHooks> = OnceLock::new();
static OFF: LazyLock<TranslatorHooks> = LazyLock::new(TranslatorHooks::off);

/// The hooks of this process; they do nothing before [`start_translator`].
#[must_use]
pub fn translator() -> &'static TranslatorHooks {
    STARTED.get().unwrap_or_else(|| &OFF)
}

/// Starts the hooks of this process from the host's configuration file.
///
/// # Errors
/// When the table cannot be used, or the hooks run already; the words say where and why.
pub fn start_translator(config: &Path, version: &str) -> io::Result<()> {
    let hooks = start::read(config).and_then(|text| TranslatorHooks::from_toml_str(&text, version));
    let started = hooks.and_then(|hooks| STARTED.set(hooks).map_err(|_| StartError::AlreadyStarted));
    started.map_err(|error| error.into_io(config))
}

/// What a translator tells. Clones are handles of the same hooks.
#[derive(Debug, Clone)]
pub struct TranslatorHooks {
    stats: StatsPublisher,
}

impl TranslatorHooks {
    /// Hooks that do nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { stats: StatsPublisher::disabled() }
    }

    /// Starts what the tables in the text of a host's configuration file describe. `version` is the host's.
    ///
    /// # Errors
    /// When a table cannot be used.
    pub fn from_toml_str(text: &str, version: &str) -> Result<Self, StartError> {
        Ok(Self { stats: start::start_stats(text, Role::Proxy, version)? })
    }

    /// Delivers what was told, at most for [`CLOSE_DEADLINE`], and ends. For the host's own end; blocks the thread.
    pub fn close(&self) {
        self.stats.close(CLOSE_DEADLINE);
    }
}
