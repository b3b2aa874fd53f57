//! The SRI bridge under the pipeline's supervision: its store is the journal, its state is the component's health.

use std::sync::Arc;

use sidecar_core::{BoxError, BoxFuture, Status};
use sidecar_journal::{Journal, LocalRun};
use sidecar_pipeline::{Bridge, BridgeContext, ComponentHealth};
use sri_bridge::{BridgeRun, BridgeStatus, BridgeStore, SavedState, SriBridge, SriBridgeSettings};
use tokio::sync::watch;

/// A bridge that can be started again from what the journal holds of it.
#[derive(Debug)]
pub(crate) struct SupervisedSriBridge {
    settings: SriBridgeSettings,
}

impl SupervisedSriBridge {
    pub(crate) fn new(settings: SriBridgeSettings) -> Self {
        Self { settings }
    }
}

impl Bridge for SupervisedSriBridge {
    fn publisher(&self) -> Option<&str> {
        self.settings.publisher.as_deref()
    }

    fn run(&mut self, context: BridgeContext) -> BoxFuture<'_, Result<(), BoxError>> {
        let bridge = SriBridge::new(&*context.name, self.settings.clone(), Arc::clone(&context.clock));
        Box::pin(async move {
            let status = bridge.status();
            let store = JournalStore(context.journal.clone());
            let drain = context.drain.clone();
            let working = bridge.run(&store, async move { drain.requested().await });
            tokio::select! {
                ended = working => Ok(ended?),
                // Its sender lives as long as the bridge, so this branch never ends first.
                () = report(status, &context.health) => Ok(()),
            }
        })
    }
}

/// Turns what the bridge says of its polls into the component's health.
async fn report(mut status: watch::Receiver<BridgeStatus>, health: &ComponentHealth) {
    let mut failed_polls = 0;
    loop {
        if status.changed().await.is_err() {
            return std::future::pending().await;
        }
        let now = status.borrow_and_update().clone();
        match now.error {
            Some(error) if now.failed_polls > failed_polls => health.fail(Status::Retrying, error),
            Some(_) => {}
            None => health.set(Status::Healthy),
        }
        failed_polls = now.failed_polls;
    }
}

#[derive(Debug)]
struct JournalStore(Journal);

impl BridgeStore for JournalStore {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<SavedState>, BoxError>> {
        Box::pin(async move {
            let saved = self.0.local_state(name)?;
            Ok(saved.map(|local| SavedState { session_id: local.session_id, state: local.state }))
        })
    }

    fn append(&self, run: BridgeRun) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let local = LocalRun {
                name: run.name.into(),
                publisher: run.publisher.into(),
                role: run.role,
                session_id: run.session_id,
                vendor: run.vendor,
                frames: run.frames,
                count: run.count,
                state: run.state,
            };
            // No timeout: the journal commits what it was handed however long the disk is full. A bridge that gave up
            // would load its old state and count the same span again.
            self.0.append_local(local).await?;
            Ok(())
        })
    }
}
