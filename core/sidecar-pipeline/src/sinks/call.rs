//! One call of a sink: its panics become errors, and it does not take longer than it may.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::Duration;

use sidecar_core::{BoxFuture, SinkError};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the sink panicked: {0}")]
    Panic(String),
}

/// Makes a call. After a timeout the call is dropped; a sink with a thread of its own finishes it there before it begins
/// the next, so deliveries never overlap (delivery rule 25).
pub(crate) async fn call<'s, T>(
    at_most: Duration,
    make: impl FnOnce() -> BoxFuture<'s, Result<T, SinkError>>,
) -> Result<T, CallError> {
    // The sink is asked again after a panic only through `close` and `start`, which have to cope with any state.
    let mut future = catch_unwind(AssertUnwindSafe(make)).map_err(panicked)?;
    let guarded =
        std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(|result| result.map_err(CallError::Sink)),
            Err(payload) => Poll::Ready(Err(panicked(payload))),
        });
    match tokio::time::timeout(at_most, guarded).await {
        Ok(result) => result,
        Err(_) => Err(CallError::Timeout(at_most)),
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> CallError {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    CallError::Panic(text.unwrap_or_else(|| "without a message".to_owned()))
}
