//! One HTTP GET over plain TCP, for the loopback endpoints of processes under test.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

/// A loopback answer takes milliseconds; this only keeps a stopped process from hanging the story.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Far above the largest page of the monitoring API.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Status and body of `GET http://address/path`.
///
/// # Errors
/// When the connection fails, the answer is late, or the body is too large.
pub async fn get(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes)> {
    tokio::time::timeout(ANSWER_WITHIN, exchange(address, path))
        .await
        .with_context(|| format!("no answer from http://{address}{path} within {ANSWER_WITHIN:?}"))?
        .with_context(|| format!("GET http://{address}{path}"))
}

/// The body of a 200 answer as text.
///
/// # Errors
/// As [`get`], and for any other status.
pub async fn get_text(address: SocketAddr, path: &str) -> Result<String> {
    let (status, body) = get(address, path).await?;
    if status != StatusCode::OK {
        bail!("GET http://{address}{path} answered {status}: {}", String::from_utf8_lossy(&body));
    }
    String::from_utf8(body.into()).with_context(|| format!("GET http://{address}{path} answered no UTF-8"))
}

/// The body of a 200 answer as JSON.
///
/// # Errors
/// As [`get_text`], and when the JSON does not fit `T`.
pub async fn get_json<T: DeserializeOwned>(address: SocketAddr, path: &str) -> Result<T> {
    let text = get_text(address, path).await?;
    serde_json::from_str(&text).with_context(|| format!("GET http://{address}{path} answered unexpected JSON: {text}"))
}

/// One connection per request: a kept one would only hide a restart of the process under test.
async fn exchange(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(hyper::header::HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("the body broke off: {error}"))?
            .to_bytes();
        Ok((status, body))
    };
    tokio::pin!(connection, answer);
    // The connection makes progress only while it is polled; it may end first when the server closes at once.
    tokio::select! {
        result = &mut answer => result,
        ended = &mut connection => {
            ended?;
            answer.await
        }
    }
}
