//! The present: who is connected and what they submit, as told by the events that are delivered to the sink; and the
//! messages that go to the clients of the live stream.

pub(crate) mod message;

use std::sync::Mutex;

use sidecar_core::Batch;

/// The present, shared by the sink, which writes it, and the handlers, which read it.
#[derive(Debug, Default)]
pub(crate) struct Live {
    state: Mutex<()>,
}

impl Live {
    /// Takes what was delivered.
    pub(crate) fn apply(&self, batch: &Batch) {
        let _ = batch;
        drop(self.state.lock());
    }
}
