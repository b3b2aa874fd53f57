//! Addresses to listen on, as written in the file.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use sidecar_http::listen_address;

/// An address and a port, such as `127.0.0.1:4000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Listen(#[serde(deserialize_with = "listen_address")] pub(crate) SocketAddr);

/// Whether two listeners would be in each other's way: the same port on the same address, or on every address.
pub(crate) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let every = |ip: IpAddr| ip.is_unspecified();
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || every(a.ip()) || every(b.ip()))
}
