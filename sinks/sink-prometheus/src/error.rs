//! What can fail at the listener, and whether trying again can help.

use std::io;
use std::net::SocketAddr;

use sidecar_core::SinkError;

use crate::access::AuthError;

/// A failure at the metrics listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrometheusError {
    /// The address could not be bound.
    #[error("cannot listen on {listen}; check that the address is this host's and that nothing else uses the port")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no token to ask for.
    #[error("cannot tell who may read the metrics")]
    Auth(#[from] AuthError),
}

impl From<PrometheusError> for SinkError {
    fn from(error: PrometheusError) -> Self {
        let what = error.to_string();
        match error {
            // A port in use may become free, as when another instance stops.
            PrometheusError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Self::transient(what, source)
            }
            PrometheusError::Listen { source, .. } => Self::fatal(what, source),
            PrometheusError::Auth(source) => Self::fatal(what, source),
        }
    }
}
