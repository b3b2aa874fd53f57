//! The listener: `/metrics` over plain HTTP/1, few connections, every wait limited, nothing but reading.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::access::{AuthSetting, Token};
use crate::config::PrometheusSettings;
use crate::error::PrometheusError;
use crate::text_format::Format;

/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// A connection is closed after so long, whatever it does: who reads slowly must not hold a place for ever.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);
/// How long open requests may take to end when the listener stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const INDEX: &str = "hashpool-sidecar\n  /metrics  the mining domain for Prometheus\n";

/// The listener at work. Dropped without [`stop`](Self::stop) it ends at once, with whoever is connected.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// Makes the text in a format.
pub(crate) type Render = Arc<dyn Fn(Format) -> String + Send + Sync>;

#[derive(Clone)]
struct Pages {
    render: Render,
    token: Option<Token>,
}

impl Server {
    /// Binds the address and answers.
    pub(crate) async fn start(settings: &PrometheusSettings, render: Render) -> Result<Self, PrometheusError> {
        let token = settings.auth.as_ref().map_or(Ok(None), AuthSetting::load)?;
        let listen = settings.listen;
        let bound = TcpListener::bind(listen).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|source| PrometheusError::Listen { listen, source })?;
        let (stop, stopped) = watch::channel(false);
        let pages = Router::new()
            .route("/", get(|| async { INDEX }))
            .route("/metrics", get(metrics))
            .with_state(Pages { render, token });
        let places = Arc::new(Semaphore::new(settings.max_connections.get() as usize));
        let task = tokio::spawn(serve(listener, pages, places, settings.head_timeout.0, stopped));
        Ok(Self { address, stop, task: Some(task) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets open requests end, and returns once the port is free.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the metrics listener's task failed");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn serve(
    listener: TcpListener,
    pages: Router,
    places: Arc<Semaphore>,
    head_timeout: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(pages);
    let open = GracefulShutdown::new();
    // Ends its tasks when it is dropped.
    let mut connections = JoinSet::new();
    let stopped = stopped.wait_for(|stopped| *stopped);
    tokio::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a metrics connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service.clone());
        let connection = open.watch(connection);
        connections.spawn(async move {
            if let Ok(Err(error)) = tokio::time::timeout(MAX_CONNECTION_AGE, connection).await {
                tracing::debug!(%error, "a metrics connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    // Whoever is still open after that is cut off with the set.
    drop(tokio::time::timeout(STOP_TIMEOUT, open.shutdown()).await);
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn metrics(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    if let Some(token) = &pages.token
        && !token.admits(&headers)
    {
        let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
        return (StatusCode::UNAUTHORIZED, challenge, "send the token as `Authorization: Bearer TOKEN`\n")
            .into_response();
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::for_accept(accept);
    let headers = [(header::CONTENT_TYPE, format.content_type()), (header::CACHE_CONTROL, "no-store")];
    (headers, (pages.render)(format)).into_response()
}
