//! The HTTP server: its own runtime on its own threads, few connections, every wait limited.
//!
//! HTTP/1 only: browsers speak HTTP/2 only over TLS, which belongs to the proxy in front, and a connection whose version is
//! still being guessed would escape the deadline for request heads.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tower_service::Service;

use crate::live::{Live, updater};
use crate::router;
use crate::security::auth::Token;
use crate::state::AppState;

/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// How long a client may take to send its request's head, and to begin the next one on an open connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take no byte of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long open requests may take to end when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after a connection could not be accepted, as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address of a request's client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The server at work.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds and serves. The clients of the live stream are ended by `stop`, like everything else.
    pub(crate) fn start(state: AppState, token: Option<Token>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(state.settings.listen)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(usize::try_from(state.settings.readers.get()).unwrap_or(usize::MAX))
            .thread_name("dashboard")
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let max_connections = state.settings.max_connections.get() as usize;
        let live = Arc::clone(&state.live);
        live.hub().set_open(true);
        let updates = updater::run(state.clone());
        let router = router::router(state, token);
        let thread = std::thread::Builder::new().name("dashboard".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, router, max_connections, stopped, &live) => {}
                    () = updates => {}
                }
            });
            // A question to the history may be under way; its own time limit ends it.
            runtime.shutdown_timeout(STOP_TIMEOUT);
        })?;
        tracing::info!(%address, "dashboard: http://{address}/");
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server and waits for it.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the dashboard's thread panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(
    listener: TcpListener,
    router: Router,
    max_connections: usize,
    mut stopped: watch::Receiver<bool>,
    live: &Live,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the dashboard's listener cannot be used"),
    };
    let places = Arc::new(Semaphore::new(max_connections));
    let open = GracefulShutdown::new();
    let stopped = stopped.wait_for(|stopped| *stopped);
    tokio::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection to the dashboard cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let router = router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            router.clone().call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection = open.watch(connection);
        // The runtime owns the task and ends with the server.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "a connection to the dashboard ended");
            }
            drop(place);
        });
    }
    // A stream has no end of its own.
    live.hub().set_open(false);
    // Whoever is still open after that is cut off with the runtime.
    drop(tokio::time::timeout(STOP_TIMEOUT, open.shutdown()).await);
}

async fn accept(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Small answers and events should not wait for each other.
    stream.set_nodelay(true)?;
    Ok((stream, peer, place))
}
