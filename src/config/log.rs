//! `[log]`: what the sidecar says on standard error.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use super::problem::{Problem, Problems};
use super::table::Section;

/// The filter unless the file or `RUST_LOG` says otherwise.
pub(crate) const DEFAULT_FILTER: &str = "info";

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// Levels by target, as `tracing_subscriber::EnvFilter` reads them. `RUST_LOG` goes before it.
    pub(crate) filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: DEFAULT_FILTER.to_owned() }
    }
}

pub(crate) fn read(section: &Section<'_>, problems: &mut Problems) -> Option<LogConfig> {
    let config: LogConfig = section.read(problems)?;
    if let Err(error) = EnvFilter::try_new(&config.filter) {
        problems.push(
            Problem::error(section.value_span("filter"), format!("`{}` is no log filter: {error}", config.filter))
                .help(
                    "a level (error, warn, info, debug, trace), or levels by target, as \"info,sidecar_journal=debug\"",
                ),
        );
        return None;
    }
    Some(config)
}
