//! Sources inside the process: the contract of a bridge, and the supervision that starts one again when it fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use sidecar_core::{BoxError, BoxFuture, Clock, ErrorChain, Status};
use sidecar_journal::Journal;
use tokio::time::Instant;

use crate::burst::Burst;
use crate::drain::Drain;
use crate::health::ComponentHealth;
use crate::retry::{AfterFailure, RetryPolicy};

/// A bridge that worked for so long before it failed begins its backoff anew.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Makes events from something that does not publish them, and appends them with [`Journal::append_local`].
pub trait Bridge: Send + 'static {
    /// The publisher name of its events, if that is not its own name. No connection may publish under it: the listener
    /// refuses the name as `unauthorized`, since it is bound to the bridge.
    fn publisher(&self) -> Option<&str> {
        None
    }

    /// Works until the drain is requested, then returns `Ok`. After an error or a panic it is called again with backoff,
    /// so it begins from what it committed last. It says by `context.health` whether it is healthy.
    fn run(&mut self, context: BridgeContext) -> BoxFuture<'_, Result<(), BoxError>>;
}

/// What a bridge works with.
#[derive(Debug, Clone)]
pub struct BridgeContext {
    /// Its name: its key in `[bridges.NAME]`, under which it keeps its state in the journal.
    pub name: Arc<str>,
    /// Where its events go.
    pub journal: Journal,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// When to stop.
    pub drain: Drain,
    /// Where it says how it fares.
    pub health: ComponentHealth,
}

/// Runs a bridge until the drain is requested.
pub(crate) async fn supervise(mut bridge: Box<dyn Bridge>, context: BridgeContext) {
    let policy = RetryPolicy::default();
    let lines = Burst::default();
    let mut attempts = 0;
    while !context.drain.is_requested() {
        attempts += 1;
        let began = Instant::now();
        let error = match run(&mut *bridge, context.clone()).await {
            Ok(()) if context.drain.is_requested() => break,
            Ok(()) => "the bridge ended without being asked to".to_owned(),
            Err(error) => ErrorChain(&*error).to_string(),
        };
        if let Some(silent) = lines.pass(Instant::now()) {
            tracing::warn!(bridge = %context.name, error, silent, "a bridge failed; it is started again");
        }
        context.health.fail(Status::Retrying, error);
        if began.elapsed() >= STABLE_AFTER {
            attempts = 1;
        }
        if let AfterFailure::RetryAfter(pause) = policy.after_failure(attempts, Duration::ZERO, rand::random()) {
            tokio::select! {
                () = context.drain.requested() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
    context.health.set(Status::Stopping);
    context.health.set(Status::Stopped);
}

/// One run, its panic made an error.
async fn run(bridge: &mut dyn Bridge, context: BridgeContext) -> Result<(), BoxError> {
    let mut future =
        catch_unwind(AssertUnwindSafe(|| bridge.run(context))).map_err(|_| BoxError::from("the bridge panicked"))?;
    std::future::poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)))
            .unwrap_or_else(|_| Poll::Ready(Err(BoxError::from("the bridge panicked"))))
    })
    .await
}
