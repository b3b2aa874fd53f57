//! How a command ends: its exit code, and the one message that says what failed and what to do.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use sidecar_core::ErrorChain;

use crate::config::ConfigError;

/// The documented exit codes; clap itself ends with 2 on a wrong command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Failed, or stopped with something left to do.
    Failure = 1,
    /// The command line is wrong in a way that clap cannot know.
    Usage = 2,
    /// Not now; the same may succeed later (`EX_TEMPFAIL`).
    NotNow = 75,
    /// The configuration is wrong (`EX_CONFIG`).
    Config = 78,
}

/// Ended at once by a second signal: 128 + SIGINT, as a shell would say it.
pub(crate) const INTERRUPTED: i32 = 130;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    advice: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), advice: None }
    }

    /// The error with all its causes, once.
    pub(crate) fn from_error(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, ErrorChain(error).to_string())
    }

    /// A configuration that cannot be used.
    pub(crate) fn from_config(error: &ConfigError) -> Self {
        let failure = Self::from_error(Exit::Config, error);
        match error.advice() {
            Some(advice) => failure.advice(advice),
            None => failure,
        }
    }

    /// What the reader should do.
    pub(crate) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Tells it on standard error.
    #[expect(clippy::print_stderr, reason = "the last words of a command belong to standard error, log or no log")]
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("error: {self}");
        }
        ExitCode::from(self.exit as u8)
    }

    /// Everything was said already.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.advice {
            Some(advice) => write!(f, "\n  {advice}"),
            None => Ok(()),
        }
    }
}

/// Says so if there is no such file, before something less clear is said about it.
pub(crate) fn must_exist(path: &Path, advice: &str) -> Result<(), Failure> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::new(Exit::Failure, format!("there is no file {}", path.display())).advice(advice))
        }
        _ => Ok(()),
    }
}

/// What to do about an address that cannot be listened on.
pub(crate) fn listen_advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrNotAvailable => "name an address of this host, or 0.0.0.0 for all of them",
        std::io::ErrorKind::PermissionDenied => "name a port above 1023, or allow this user to use lower ones",
        _ => "is another sidecar running? else name another port",
    }
}

/// Turns an I/O error of standard output into the command's end: a reader that went away, as `head` does, is none.
pub(crate) fn output(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failure, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
