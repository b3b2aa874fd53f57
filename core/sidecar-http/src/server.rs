//! The listener: connections, their limits and their end, on a thread and a runtime of its own, so that no question slows
//! the pipeline and answers come under load too.
//!
//! HTTP/1 only: browsers speak HTTP/2 only over TLS, which belongs to the proxy in front, and a connection whose version is
//! still being guessed would escape the deadline for request heads. What is served here is only read: the bodies of
//! requests are left unread, so that nobody can send one slowly.

use std::io;
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
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tower_service::Service;

use crate::listen::HttpError;
use crate::network::Network;
use crate::places::{Places, per_address};

/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// How long open requests may take to end when the listener stops, and then what they do on blocking threads.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may take of a listener.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Connections at a time; further ones wait to be accepted.
    pub max_connections: usize,
    /// Connections at a time from one client address; further ones are closed at once, so that others find a place.
    pub max_connections_per_address: usize,
    /// Reverse proxies, over whose connections many clients come: only `max_connections` limits theirs.
    pub trusted_proxies: Vec<Network>,
    /// How long a client may take to send its request's head, and to begin the next one on an open connection.
    pub head_timeout: Duration,
    /// How long a client may take no byte of an answer.
    pub write_timeout: Duration,
    /// A connection is closed after so long, whatever it does: who reads slowly must not hold a place for ever. `None`
    /// where an answer may be a stream without end.
    pub max_connection_age: Option<Duration>,
    /// Threads on which handlers may block, with `spawn_blocking`.
    pub max_blocking_threads: usize,
}

/// Connections at a time unless somebody chose otherwise.
const MAX_CONNECTIONS: usize = 256;

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            max_connections_per_address: per_address(MAX_CONNECTIONS),
            trusted_proxies: Vec::new(),
            head_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(20),
            max_connection_age: None,
            max_blocking_threads: 16,
        }
    }
}

/// The address of a request's client; among the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// A listener at work. It ends when it is dropped, which waits as [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    runtime: Handle,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Answers on a bound listener, on a thread of this name.
    pub fn start(name: &str, listener: TcpListener, limits: HttpLimits, router: Router) -> Result<Self, HttpError> {
        Self::spawn_thread(name, listener, limits, router).map_err(HttpError::Start)
    }

    fn spawn_thread(name: &str, listener: TcpListener, limits: HttpLimits, router: Router) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(limits.max_blocking_threads)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let listener = {
            let _runtime = handle.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopping) = watch::channel(false);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(serve(listener, &limits, &router, stopping));
            // Cuts off whoever is still open.
            runtime.shutdown_timeout(STOP_TIMEOUT);
        })?;
        Ok(Self { address, runtime: handle, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs something beside the connections, on the same thread; it ends with the listener.
    pub fn spawn(&self, beside: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(beside));
    }

    /// Accepts no more, lets open requests end for a moment, and returns once the port is free and the thread has ended.
    /// Streams without end must be ended before by whoever serves them, or they are cut off.
    pub async fn stop(self) {
        // Waiting for a thread blocks.
        if let Err(error) = tokio::task::spawn_blocking(move || drop(self)).await {
            tracing::error!(%error, "stopping a listener was interrupted");
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(address = %self.address, "a listener's thread panicked");
        }
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    limits: &HttpLimits,
    router: &Router,
    mut stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let of_clients = Places::new(limits.max_connections_per_address);
    let open = GracefulShutdown::new();
    let stopping = stopping.wait_for(|stopping| *stopping);
    tokio::pin!(stopping);
    loop {
        let accepted = tokio::select! {
            _ = &mut stopping => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let is_proxy = limits.trusted_proxies.iter().any(|network| network.contains(peer.ip()));
        let of_client = if is_proxy { None } else { of_clients.take(peer.ip()) };
        if !is_proxy && of_client.is_none() {
            tracing::debug!(%peer, max = of_clients.each(), "a connection was refused: its address has too many");
            continue;
        }
        let connection = open.watch(connection(stream, peer, limits, router.clone()));
        let max_age = limits.max_connection_age.unwrap_or(Duration::MAX);
        // The runtime owns the task and ends with the listener.
        tokio::spawn(async move {
            match tokio::time::timeout(max_age, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, %peer, "a connection ended"),
                Err(_) => tracing::debug!(%peer, "a connection was closed for its age"),
            }
            drop((place, of_client));
        });
    }
    drop(listener);
    drop(tokio::time::timeout(STOP_TIMEOUT, open.shutdown()).await);
}

async fn accept(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Small answers and events should not wait for each other.
    stream.set_nodelay(true)?;
    Ok((stream, peer, place))
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    limits: &HttpLimits,
    router: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + 'static {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_timeout));
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(|_| Body::empty());
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
}
