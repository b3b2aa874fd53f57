//! HTTP GET over one connection, with a limit on everything. hyper's own client connection is enough: requests follow one
//! another, nothing is encrypted, no redirect is followed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use sidecar_core::BoxError;
use tokio::net::TcpStream;

use crate::config::MonitoringUrl;

/// Largest answer that is read. A full page of channels takes about 200 KiB.
pub(crate) const MAX_ANSWER: usize = 2 << 20;

/// How long one request may take, connecting included.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an answer could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Nobody listens, or the network is away.
    #[error("cannot connect to {authority}")]
    Connect {
        /// Host and port.
        authority: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke, or the other side does not speak HTTP.
    #[error("GET {path} failed")]
    Exchange {
        /// The path.
        path: String,
        /// Why.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("GET {path} took longer than {}", humantime_secs(*timeout))]
    TimedOut {
        /// The path.
        path: String,
        /// The limit.
        timeout: Duration,
    },
    /// The answer is too long, or its body broke off.
    #[error("the answer to GET {path} could not be read")]
    Body {
        /// The path.
        path: String,
        /// Why.
        source: BoxError,
    },
    /// Another status than 200 and 404.
    #[error("GET {path} answered {status}")]
    Status {
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
    },
    /// The answer is not the JSON that SRI gives.
    #[error("the answer to GET {path} is not understood")]
    Json {
        /// The path.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

fn humantime_secs(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}

/// One connection to a monitoring API. It has no task of its own: it moves while a request waits.
pub(crate) struct ApiClient<'u> {
    url: &'u MonitoringUrl,
    connected: Option<Connected>,
}

struct Connected {
    sender: SendRequest<Empty<Bytes>>,
    connection: Connection<TokioIo<TcpStream>, Empty<Bytes>>,
}

impl<'u> ApiClient<'u> {
    pub(crate) fn new(url: &'u MonitoringUrl) -> Self {
        Self { url, connected: None }
    }

    /// The answer as JSON; `None` for 404.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<Option<T>, HttpError> {
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(path))
            .await
            .map_err(|_| HttpError::TimedOut { path: path.to_owned(), timeout: REQUEST_TIMEOUT })??;
        answer
            .map(|body| {
                serde_json::from_slice(&body).map_err(|source| HttpError::Json { path: path.to_owned(), source })
            })
            .transpose()
    }

    async fn exchange(&mut self, path: &str) -> Result<Option<Bytes>, HttpError> {
        let exchange_error = |source| HttpError::Exchange { path: path.to_owned(), source };
        // A request that is given up takes its connection with it: the next one must not read its answer.
        let mut connected = match self.connected.take() {
            Some(connected) if !connected.sender.is_closed() => connected,
            _ => self.connect().await?,
        };
        let request = Request::get(format!("{}{path}", self.url.prefix))
            .header(HOST, &self.url.authority)
            .header(USER_AGENT, concat!("hashpool-sidecar/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .body(Empty::new())
            .expect("the parts were checked with the URL, and paths are our own");
        let Connected { sender, connection } = &mut connected;
        let answer = async {
            let response = sender.send_request(request).await.map_err(exchange_error)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(|source| HttpError::Body { path: path.to_owned(), source })?
                .to_bytes();
            Ok((status, body))
        };
        let (status, body) = {
            let mut answer = std::pin::pin!(answer);
            tokio::select! {
                biased;
                answer = &mut answer => answer?,
                // The connection has ended: the answer is there, or tells why it is not.
                _ = connection => answer.await?,
            }
        };
        self.connected = Some(connected);
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(HttpError::Status { path: path.to_owned(), status }),
        }
    }

    async fn connect(&self) -> Result<Connected, HttpError> {
        let connect_error = |source| HttpError::Connect { authority: self.url.authority.clone(), source };
        let stream = TcpStream::connect(&self.url.authority).await.map_err(connect_error)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| HttpError::Exchange { path: String::new(), source })?;
        Ok(Connected { sender, connection })
    }
}

/// Whether the answer was longer than [`MAX_ANSWER`].
#[cfg(test)]
pub(crate) fn is_too_long(error: &HttpError) -> bool {
    matches!(error, HttpError::Body { source, .. } if source.is::<http_body_util::LengthLimitError>())
}
