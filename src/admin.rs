//! The admin listener: the sidecar's answers about itself, on a thread and a runtime of their own, so that they come under
//! load too. Plain HTTP/1, few connections, every wait limited.

mod live_events;
mod metrics;
mod pages;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use sidecar_http::{HttpError, HttpLimits, HttpServer};
use sidecar_pipeline::{MAX_TAPS, PipelineStatus, TapSource};
use stats_sv2::UnixMillis;
use tokio::sync::watch;

/// The listener at work.
#[derive(Debug)]
pub(crate) struct AdminServer {
    phase: watch::Sender<Phase>,
    http: HttpServer,
}

/// How far the sidecar's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Working,
    /// The pipeline hands over what it has.
    Stopping,
    /// The listener itself ends.
    Stopped,
}

/// What the pages are made from.
#[derive(Debug, Clone)]
struct AdminState {
    status: Arc<PipelineStatus>,
    tap: TapSource,
    phase: watch::Receiver<Phase>,
    started: UnixMillis,
}

impl AdminServer {
    /// Answers on a bound listener.
    pub(crate) fn start(listener: TcpListener, status: Arc<PipelineStatus>, tap: TapSource) -> Result<Self, HttpError> {
        let (phase, phases) = watch::channel(Phase::Working);
        let state = AdminState { status, tap, phase: phases, started: UnixMillis::now() };
        // Each tap reads the journal on a thread that may block, and so does the page that lists dead letters.
        let limits = HttpLimits { max_blocking_threads: MAX_TAPS + 1, ..HttpLimits::default() };
        let http = HttpServer::start("admin", listener, limits, pages::router(state))?;
        tracing::info!(address = %http.address(), "admin listener");
        Ok(Self { phase, http })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.http.address()
    }

    /// From now on the sidecar is not ready.
    pub(crate) fn say_stopping(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Ends the listener and waits for it.
    pub(crate) async fn stop(self) {
        self.phase.send_replace(Phase::Stopped);
        self.http.stop().await;
    }
}
