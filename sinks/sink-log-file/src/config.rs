//! The settings of the sink: its table in the configuration.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use serde::{Deserialize, Deserializer, de};
use sidecar_core::{ByteSize, Claim, OnThread, Period, Sink, SinkContext, SinkError, SinkSettings};

use crate::error::LogFileError;
use crate::sink::LogFileSink;

/// Smaller files would spend their time in renames.
const MIN_ROTATE_SIZE: ByteSize = ByteSize(64 << 10);

/// Shorter files would spend their time in renames.
const MIN_ROTATE_EVERY: Period = Period::from_secs(60);

/// The settings of a log file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFileSettings {
    /// The file that is written. Rotated files lie beside it, with the UTC time of their rotation before the extension.
    #[serde(deserialize_with = "file_path")]
    pub path: PathBuf,
    /// A file that has reached this size is rotated before the next delivery. Default 64 MiB.
    #[serde(default = "default_rotate_size", deserialize_with = "rotate_size")]
    pub rotate_size: ByteSize,
    /// A file holds events of one such period, counted from the Unix epoch: `"24h"` rotates at midnight UTC. Default 24h.
    #[serde(default = "default_rotate_every", deserialize_with = "rotate_every")]
    pub rotate_every: Period,
    /// Rotated files to keep; older ones are deleted. Default 16.
    #[serde(default = "default_keep")]
    pub keep: NonZeroU32,
}

impl LogFileSettings {
    /// The settings for a path, with the defaults for everything else.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            rotate_size: default_rotate_size(),
            rotate_every: default_rotate_every(),
            keep: default_keep(),
        }
    }
}

impl SinkSettings for LogFileSettings {
    fn claims(&self) -> Vec<Claim> {
        vec![Claim::File(self.path.clone())]
    }

    fn probe(&self) -> Result<(), SinkError> {
        match std::fs::metadata(&self.path) {
            Ok(found) if !found.is_file() => Err(LogFileError::NotAFile { path: self.path.clone() }.into()),
            Ok(_) => may(&self.path, Access::READ_OK | Access::WRITE_OK),
            Err(_) => {
                // The folders that are missing are made at start, under the nearest that exists.
                let nearest = self.path.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("."));
                may(nearest, Access::WRITE_OK | Access::EXEC_OK)
            }
        }
    }

    fn build(&self, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        let thread_name = format!("log {}", context.name);
        let on_thread = OnThread::new(&thread_name, LogFileSink::new(self.clone(), context))
            .map_err(|source| SinkError::transient("cannot start the log file's thread", source))?;
        Ok(Box::new(on_thread))
    }
}

fn may(path: &Path, access: Access) -> Result<(), SinkError> {
    // An empty parent stands for the current folder.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    rustix::fs::access(path, access)
        .map_err(|errno| LogFileError::Open { path: path.to_owned(), source: errno.into() }.into())
}

fn default_rotate_size() -> ByteSize {
    ByteSize::mib(64)
}

fn default_rotate_every() -> Period {
    Period::from_secs(24 * 3_600)
}

fn default_keep() -> NonZeroU32 {
    const { NonZeroU32::new(16).expect("sixteen is not zero") }
}

fn file_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    let ends_in_slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if path.file_name().is_none() || ends_in_slash {
        return Err(de::Error::custom(format!("{path:?} names no file; write it like \"state/events.jsonl\"")));
    }
    Ok(path)
}

fn rotate_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let size = ByteSize::deserialize(deserializer)?;
    if size < MIN_ROTATE_SIZE {
        return Err(de::Error::custom(format!("rotate_size is {size}, at least {MIN_ROTATE_SIZE} is needed")));
    }
    Ok(size)
}

fn rotate_every<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
    let period = Period::deserialize(deserializer)?;
    if period < MIN_ROTATE_EVERY {
        return Err(de::Error::custom(format!("rotate_every is {period}, at least {MIN_ROTATE_EVERY} is needed")));
    }
    Ok(period)
}
