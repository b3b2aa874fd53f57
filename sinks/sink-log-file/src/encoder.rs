//! From a batch to lines of text, through one buffer that is handed on whenever it is full.

use std::io;

use sidecar_core::event_json::write_event_json;
use sidecar_core::{Batch, RecordKind, RejectedEvent};

/// Bytes that are written at once: large enough that the system call costs nothing beside the formatting.
const WRITE_BYTES: usize = 1 << 20;

/// The buffer, kept from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct LineEncoder {
    buffer: Vec<u8>,
}

impl LineEncoder {
    /// Hands the lines of a batch to `write`, whole lines at a time. Returns the events that have no line because their
    /// bytes are damaged. An announcement has no events.
    pub(crate) fn encode(
        &mut self,
        batch: &Batch,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Vec<RejectedEvent>> {
        let mut rejected = Vec::new();
        self.buffer.clear();
        for (index, envelope) in batch.envelopes().enumerate() {
            if envelope.record.kind == RecordKind::Announcement {
                continue;
            }
            match write_event_json(&envelope, &mut self.buffer) {
                Ok(()) => self.buffer.push(b'\n'),
                Err(error) => rejected.push(RejectedEvent { index: index as u64, reason: error.to_string() }),
            }
            if self.buffer.len() >= WRITE_BYTES {
                write(&self.buffer)?;
                self.buffer.clear();
            }
        }
        if !self.buffer.is_empty() {
            write(&self.buffer)?;
        }
        Ok(rejected)
    }
}
