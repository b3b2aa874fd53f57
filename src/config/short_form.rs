//! The short form of the original design: `[server] tcp_port, http_port, db_path`. It means exactly the two embedded sinks,
//! with the journal beside the database and the admin listener ten ports above the statistics port (4000 gives 4010,
//! 4001 gives 4011), so that both sides run on one host.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::problem::{Problem, Problems};
use super::table::Section;

/// The keys of the short form.
pub(crate) const KEYS: [&str; 3] = ["tcp_port", "http_port", "db_path"];

/// The admin port lies so far above `tcp_port`.
const ADMIN_PORT_OFFSET: u16 = 10;

/// The name of the sink that `db_path` means.
pub(crate) const HISTORY: &str = "history";

/// The name of the sink that `http_port` means.
pub(crate) const DASHBOARD: &str = "dashboard";

/// What the short form says.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ShortForm {
    tcp_port: Option<u16>,
    http_port: Option<u16>,
    db_path: Option<PathBuf>,
}

impl ShortForm {
    /// Reads the keys out of `[server]`; `None` if none of them is there.
    pub(crate) fn read(server: &Section<'_>, problems: &mut Problems) -> Option<Self> {
        let section = server.clone().split_off(&KEYS);
        if section.entries.is_empty() {
            return None;
        }
        // After an error nothing more is derived from the short form, but that it is meant is still known.
        let short: Self = section.read(problems).unwrap_or_default();
        if short.tcp_port.is_some() && server.entries.contains_key("listen") {
            problems.push(
                Problem::error(server.key_span("tcp_port"), "`tcp_port` and `listen` both say where to listen")
                    .related(server.key_span("listen"), "the other one")
                    .help("keep one of them"),
            );
        }
        if let Some(port) = short.http_port
            && short.db_path.is_none()
            && !server.entries.contains_key("db_path")
        {
            problems.push(
                Problem::warning(
                    server.key_span("http_port"),
                    format!("`http_port` without `db_path` shows nothing: no dashboard will answer on port {port}"),
                )
                .help("add `db_path`, or write [sinks.dashboard] with the name of a history"),
            );
        }
        Some(short)
    }

    /// Where publishers connect.
    pub(crate) fn listen(&self) -> Option<SocketAddr> {
        self.tcp_port.map(|port| (Ipv4Addr::LOCALHOST, port).into())
    }

    /// Where the admin listener is.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        let port = self.tcp_port?;
        // Port 0 stays "any free port"; above 65,525 the sum has no meaning and the default holds.
        let admin = if port == 0 { 0 } else { port.checked_add(ADMIN_PORT_OFFSET)? };
        Some((Ipv4Addr::LOCALHOST, admin).into())
    }

    /// The database of the sink `history`.
    pub(crate) fn database(&self) -> Option<&Path> {
        self.db_path.as_deref()
    }

    /// Where the sink `dashboard` answers.
    pub(crate) fn dashboard(&self) -> Option<SocketAddr> {
        self.http_port.map(|port| (Ipv4Addr::LOCALHOST, port).into())
    }

    /// The journal beside the database: `stats.db` has `stats.journal.db`, so that two databases in one folder have two.
    pub(crate) fn journal(&self) -> Option<PathBuf> {
        self.db_path.as_ref().map(|path| path.with_extension("journal.db"))
    }
}
