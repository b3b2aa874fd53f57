//! The address to listen on: how it is written, and why it may not be had.

use std::io::{self, ErrorKind::AddrNotAvailable, ErrorKind::PermissionDenied};
use std::net::{SocketAddr, TcpListener};

use serde::{Deserialize, Deserializer, de};
use sidecar_core::SinkError;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The address could not be bound.
    #[error("cannot listen on {listen}; check that the address is this host's and that nothing else uses the port")]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The listener's thread could not be started.
    #[error("cannot start the thread of a listener")]
    Start(#[source] io::Error),
}

impl From<HttpError> for SinkError {
    fn from(error: HttpError) -> Self {
        let what = error.to_string();
        match error {
            // Neither comes by waiting; everything else may pass, as when another instance stops.
            HttpError::Bind { source, .. } if matches!(source.kind(), AddrNotAvailable | PermissionDenied) => {
                Self::fatal(what, source)
            }
            HttpError::Bind { source, .. } | HttpError::Start(source) => Self::transient(what, source),
        }
    }
}

/// Binds an address.
pub fn bind(listen: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(listen).map_err(|source| HttpError::Bind { listen, source })
}

/// Reads an address and a port, such as `127.0.0.1:8080`; for serde's `deserialize_with`. Names are not resolved: a
/// listener must not depend on DNS.
pub fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.trim().parse().map_err(|_| {
        de::Error::custom(format!(
            "\"{text}\" is no address to listen on; write it like \"127.0.0.1:8080\" or \"[::1]:8080\""
        ))
    })
}
