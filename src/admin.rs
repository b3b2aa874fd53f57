//! The admin listener: the sidecar's answers about itself, on a thread and a runtime of their own, so that they come under
//! load too. Plain HTTP/1, few connections, every wait limited.

mod live_events;
mod metrics;
mod pages;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use sidecar_pipeline::{PipelineStatus, TapSource};
use stats_sv2::UnixMillis;
use tokio::sync::{Semaphore, watch};

/// Connections at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may take to end when the listener stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listener at work.
#[derive(Debug)]
pub(crate) struct AdminServer {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    thread: Option<JoinHandle<()>>,
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
    pub(crate) fn start(
        listener: TcpListener,
        status: Arc<PipelineStatus>,
        tap: TapSource,
    ) -> Result<Self, std::io::Error> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let (phase, phases) = watch::channel(Phase::Working);
        let state = AdminState { status, tap, phase: phases.clone(), started: UnixMillis::now() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(serve(listener, state, phases));
            // A tap's last read of the journal may be under way on a blocking thread.
            runtime.shutdown_timeout(STOP_TIMEOUT);
        })?;
        tracing::info!(%address, "admin listener");
        Ok(Self { address, phase, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the sidecar is not ready.
    pub(crate) fn say_stopping(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Ends the listener and waits for it.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.phase.send_replace(Phase::Stopped);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin listener's thread panicked");
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(listener: TcpListener, state: AdminState, mut phases: watch::Receiver<Phase>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin listener cannot be used"),
    };
    let service = TowerToHyperService::new(pages::router(state));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let open = GracefulShutdown::new();
    let stopped = phases.wait_for(|phase| *phase == Phase::Stopped);
    tokio::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "an admin connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service.clone());
        let connection = open.watch(connection);
        // The runtime owns the task and ends with the listener.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended");
            }
            drop(place);
        });
    }
    // Whoever is still open after that is cut off with the runtime.
    drop(tokio::time::timeout(STOP_TIMEOUT, open.shutdown()).await);
}

async fn accept(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}
