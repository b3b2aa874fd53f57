//! The sink: batches into the file, rotation in between.

use std::num::NonZeroU64;

use sidecar_core::{Batch, BlockingSink, SinkContext, SinkError, SinkStart};
use stats_sv2::UnixMillis;

use crate::config::LogFileSettings;
use crate::encoder::LineEncoder;
use crate::error::LogFileError;
use crate::open_file::{Followed, OpenFile, folder_of, sync_folder};
use crate::rotation;

/// Writes events as JSON lines. Blocking: it runs on a thread of its own.
#[derive(Debug)]
pub struct LogFileSink {
    settings: LogFileSettings,
    context: SinkContext,
    encoder: LineEncoder,
    open: Option<OpenFile>,
}

impl LogFileSink {
    /// A sink that has opened nothing yet.
    #[must_use]
    pub fn new(settings: LogFileSettings, context: SinkContext) -> Self {
        Self { settings, context, encoder: LineEncoder::default(), open: None }
    }

    /// The file that the path leads to, opened now if it is not, or no longer.
    fn opened(&mut self) -> Result<&mut OpenFile, LogFileError> {
        let followed = self.open.as_mut().map(OpenFile::follow);
        if followed == Some(Followed::Gone) {
            tracing::info!(
                sink = %self.context.name,
                path = %self.settings.path.display(),
                "the log file was moved away or deleted; a new one begins"
            );
            self.open = None;
        }
        if let Some(ref mut open) = self.open {
            return Ok(open);
        }
        let (opened, cut) = OpenFile::open(&self.settings.path, self.context.durability)?;
        if cut > 0 {
            tracing::warn!(
                sink = %self.context.name,
                path = %self.settings.path.display(),
                bytes = cut,
                "cut off the half-written end that a crash left in the log file; its events come again"
            );
        }
        Ok(self.open.insert(opened))
    }

    /// Moves a file that is full, or of an earlier period, aside and begins a new one.
    fn rotate_if_due(&mut self, now: UnixMillis) -> Result<(), LogFileError> {
        let (rotate_size, every) = (self.settings.rotate_size.0, self.settings.rotate_every.0);
        let every = u64::try_from(every.as_millis()).ok().and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MAX);
        let open = self.opened()?;
        let of_an_earlier_period = open.last_written().0 / every < now.0 / every;
        if open.length() == 0 || !(open.length() >= rotate_size || of_an_earlier_period) {
            return Ok(());
        }
        self.rotate(now)
    }

    fn rotate(&mut self, now: UnixMillis) -> Result<(), LogFileError> {
        let path = &self.settings.path;
        let rotate_error = |source| LogFileError::Rotate { path: path.clone(), source };
        if let Some(open) = &self.open {
            open.sync()?;
        }
        let existing = rotation::rotated_files(path).map_err(rotate_error)?;
        let aside = rotation::next_name(path, &existing, now);
        std::fs::rename(path, &aside).map_err(rotate_error)?;
        sync_folder(folder_of(path)).map_err(rotate_error)?;
        self.open = None;
        tracing::debug!(sink = %self.context.name, rotated = %aside.display(), "rotated the log file");
        self.opened()?;
        if let Err(error) = rotation::expire(&self.settings.path, self.settings.keep) {
            // Nothing is lost: the next rotation tries again.
            tracing::warn!(
                sink = %self.context.name,
                path = %self.settings.path.display(),
                %error,
                "cannot delete old log files"
            );
        }
        Ok(())
    }
}

impl BlockingSink for LogFileSink {
    fn start(&mut self) -> Result<SinkStart, SinkError> {
        self.opened()?;
        Ok(SinkStart { joins_batches: true, ..SinkStart::default() })
    }

    fn deliver(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let now = self.context.clock.now();
        self.rotate_if_due(now)?;
        let durability = self.context.durability;
        self.opened()?;
        let Self { encoder, open: Some(open), .. } = self else {
            return Err(SinkError::Transient { what: "the log file is not open".to_owned(), source: None });
        };
        let rejected = open.append(durability, now, |write| encoder.encode(batch, write))?;
        if rejected.is_empty() { Ok(()) } else { Err(SinkError::Partial { rejected, retry_from: None }) }
    }

    fn maintain(&mut self, now: UnixMillis) -> Result<(), SinkError> {
        Ok(self.rotate_if_due(now)?)
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        // The old file goes first: its lock would keep the new one out where both are the same.
        self.open = None;
        self.opened()?;
        Ok(())
    }

    fn close(&mut self) -> Result<(), SinkError> {
        match self.open.take() {
            Some(open) => Ok(open.sync()?),
            None => Ok(()),
        }
    }
}
