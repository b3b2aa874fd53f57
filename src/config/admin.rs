//! `[admin]`: where the sidecar answers questions about itself.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;

use super::listen::Listen;
use super::problem::{Problem, Problems};
use super::short_form::ShortForm;
use super::table::Section;

/// Where the admin listener is unless the file says otherwise.
pub(crate) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4010);

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdminConfig {
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AdminTable {
    listen: Option<Listen>,
    allow_remote: bool,
}

pub(crate) fn read(section: &Section<'_>, short: Option<&ShortForm>, problems: &mut Problems) -> Option<AdminConfig> {
    let table: AdminTable = section.read(problems)?;
    if section.lost("listen", &table.listen) {
        return None;
    }
    let listen = table
        .listen
        .map(|Listen(address)| address)
        .or_else(|| short.and_then(ShortForm::admin))
        .unwrap_or(DEFAULT_LISTEN);
    if !listen.ip().is_loopback() && !table.allow_remote {
        problems.push(
            Problem::error(section.value_span("listen"), format!("the admin address {listen} can be reached from other hosts"))
                .help("it shows sources, paths and live events to everybody: listen on 127.0.0.1, or write `allow_remote = true` if that is wanted"),
        );
        return None;
    }
    Some(AdminConfig { listen })
}
