//! How hooks start: the host's file is read once, its tables become a publisher, and what is wrong is said in one line.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use stats_publisher::event::SourceInfo;
use stats_publisher::{Role, StatsConfig, StatsPublisher, Text, UnixMillis};

/// How long closing waits for the sidecar, and for a mint, that are connected.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Why hooks do not start. A host that is told so should not start either: later nothing of ours can fail it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The host's file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The table `[stats]` cannot be used.
    #[error("the table [stats] cannot be used")]
    Stats(#[source] stats_publisher::ConfigError),
    /// The table `[quotes]` cannot be used.
    #[cfg(feature = "pool")]
    #[error("the table [quotes] cannot be used")]
    Quotes(#[source] quote_dispatcher::ConfigError),
    /// There is one set of hooks in a process, and it runs.
    #[error("the hooks of this process were started before")]
    AlreadyStarted,
}

impl StartError {
    /// The error with its causes in one line, as the error that almost every host's own error type converts from: so
    /// that a host needs no more than a question mark.
    pub(crate) fn into_io(self, path: &Path) -> io::Error {
        let mut words = format!("{}: {self}", path.display());
        let mut cause = std::error::Error::source(&self);
        while let Some(error) = cause {
            words.push_str(": ");
            words.push_str(&error.to_string());
            cause = error.source();
        }
        io::Error::new(ErrorKind::InvalidInput, words)
    }
}

/// The text of the host's file. A host may run without a file, configured by its environment: then it has no table of ours.
pub(crate) fn read(path: &Path) -> Result<String, StartError> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|source| StartError::Read { path: path.to_owned(), source }),
    }
}

/// Starts the publisher that the text's table `[stats]` describes. `version` is the host's.
pub(crate) fn start_stats(text: &str, role: Role, version: &str) -> Result<StatsPublisher, StartError> {
    let config = StatsConfig::from_toml_str(text).map_err(StartError::Stats)?;
    let stats = config.start(role, &vendor(version)).map_err(StartError::Stats)?;
    // Both of SRI's applications have such a key, and other hosts may; a file that was understood above is TOML.
    if let Ok(HostFile { listen_address: Some(toml::Value::String(address)) }) = toml::from_str(text) {
        tell(&stats, "listen_address", &address);
    }
    Ok(stats)
}

/// Publishes a fact about the host that pages show.
pub(crate) fn tell(stats: &StatsPublisher, name: &str, value: &str) {
    stats.publish(SourceInfo { timestamp: UnixMillis::now(), name: Text::cut(name), value: Text::cut(value) });
}

/// Name and version of the host program.
pub(crate) fn vendor(version: &str) -> String {
    let program = std::env::current_exe().ok();
    let name = program.as_deref().and_then(Path::file_stem).map(|name| name.to_string_lossy().into_owned());
    format!("{} {version}", name.as_deref().unwrap_or("unknown"))
}

/// What is read of the host's own keys.
#[derive(Deserialize)]
struct HostFile {
    listen_address: Option<toml::Value>,
}
