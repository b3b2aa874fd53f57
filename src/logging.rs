//! Where log lines go: standard error, filtered by `RUST_LOG` or else by the configuration.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Begins logging. Called once, before the first line.
pub(crate) fn begin(filter: &str) {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(filter)).unwrap_or_default();
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Only a second call could fail, and there is none.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(colour)
            .with_target(false)
            .try_init(),
    );
}
