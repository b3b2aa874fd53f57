//! Addresses to listen on, as written in the file.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, de};

/// An address and a port, such as `127.0.0.1:4000`. Names are not resolved: a listener must not depend on DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) SocketAddr);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.trim().parse().map(Self).map_err(|_| {
            de::Error::custom(format!(
                "\"{text}\" is no address to listen on; write it like \"127.0.0.1:4000\" or \"[::1]:4000\""
            ))
        })
    }
}

/// Whether two listeners would be in each other's way: the same port on the same address, or on every address.
pub(crate) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let every = |ip: IpAddr| ip.is_unspecified();
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || every(a.ip()) || every(b.ip()))
}
