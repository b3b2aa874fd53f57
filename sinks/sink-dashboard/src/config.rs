//! The sink's settings: its table `[sinks.NAME]` with `type = "dashboard"`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use sidecar_core::{Claim, Period, Reference, SettingProblem, Sink, SinkContext, SinkError, SinkSettings};
use sidecar_http::{access_problem, bind, listen_address, per_address};

pub use sidecar_http::{AuthSetting, Network};

use crate::sink::DashboardSink;

/// Where the dashboard answers unless its table says otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The settings as they are written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DashboardSettings {
    /// Where browsers and programs connect.
    #[serde(default = "default_listen", deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// Name of the sink of type `sqlite` whose history is shown.
    pub history: String,
    /// Who may look. Needed for an address that other hosts can reach.
    #[serde(default)]
    pub auth: Option<AuthSetting>,
    /// What is left out of every page and answer.
    #[serde(default)]
    pub redact: Vec<Redacted>,
    /// Connections at a time; further ones wait to be accepted.
    #[serde(default = "default_max_connections")]
    pub max_connections: NonZeroU32,
    /// Of these, connections from one client address; further ones are closed. A quarter if absent, but at least 8.
    #[serde(default)]
    pub max_connections_per_address: Option<NonZeroU32>,
    /// Clients of the live stream at a time.
    #[serde(default = "default_max_live_clients")]
    pub max_live_clients: u32,
    /// Of these, clients with one address; further ones have to poll. A quarter if absent, but at least 8.
    #[serde(default)]
    pub max_live_clients_per_address: Option<NonZeroU32>,
    /// Requests a second from one client address, over a burst of ten seconds' worth.
    #[serde(default = "default_requests_per_second")]
    pub requests_per_second: NonZeroU32,
    /// Reverse proxies, as addresses or networks such as `127.0.0.1` or `10.0.0.0/8`: over their connections the client's
    /// address is the last one in `X-Forwarded-For`. Otherwise all clients of a proxy share what one client may take.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,
    /// Connections to the history, and so questions that are answered at a time.
    #[serde(default = "default_readers")]
    pub readers: NonZeroU32,
    /// How long one question to the history may take.
    #[serde(default = "default_query_timeout")]
    pub query_timeout: Period,
    /// Facts about the source that it does not tell itself.
    #[serde(default)]
    pub source: SourceFacts,
}

/// What the compatibility endpoints say about the source where the source's own SourceInfo events say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceFacts {
    /// Where the pool listens for miners.
    pub listen_address: Option<String>,
    /// The network, such as `mainnet` or `testnet4`.
    pub network: Option<String>,
    /// The pool that a translator is connected to.
    pub upstream_address: Option<String>,
    /// The address of the mint.
    pub mint_address: Option<String>,
    /// The address of the job declarator.
    pub job_declarator_address: Option<String>,
}

/// Something that public pages should not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redacted {
    /// Network addresses of miners, pools and services.
    Addresses,
    /// Names of workers and miners: each gets a pseudonym that is good until the next start.
    Names,
}

fn default_listen() -> SocketAddr {
    DEFAULT_LISTEN
}

fn default_max_connections() -> NonZeroU32 {
    const { NonZeroU32::new(256).expect("not zero") }
}

fn default_max_live_clients() -> u32 {
    200
}

fn default_requests_per_second() -> NonZeroU32 {
    const { NonZeroU32::new(50).expect("not zero") }
}

fn default_readers() -> NonZeroU32 {
    // Each has a thread, and a few megabytes in SQLite's cache and the allocator.
    const { NonZeroU32::new(2).expect("not zero") }
}

fn default_query_timeout() -> Period {
    Period(Duration::from_secs(5))
}

impl DashboardSettings {
    /// The defaults, over the history of this sink.
    #[must_use]
    pub fn new(history: impl Into<String>) -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            history: history.into(),
            auth: None,
            redact: Vec::new(),
            max_connections: default_max_connections(),
            max_connections_per_address: None,
            max_live_clients: default_max_live_clients(),
            max_live_clients_per_address: None,
            requests_per_second: default_requests_per_second(),
            trusted_proxies: Vec::new(),
            readers: default_readers(),
            query_timeout: default_query_timeout(),
            source: SourceFacts::default(),
        }
    }

    /// Connections of one client, and its clients of the live stream; unless somebody chose otherwise these leave it connections
    /// for pages.
    pub(crate) fn of_one_address(&self) -> (usize, usize) {
        let chosen = |own: Option<NonZeroU32>, usual: usize| own.map_or(usual, |own| count(own.get()));
        let (all, all_live) = (count(self.max_connections.get()), count(self.max_live_clients));
        let connections = chosen(self.max_connections_per_address, per_address(all).min(all));
        let live = per_address(all_live).min(all_live).min(connections.saturating_sub(1));
        (connections, chosen(self.max_live_clients_per_address, live))
    }

    /// Whether this is left out.
    pub(crate) fn redacts(&self, what: Redacted) -> bool {
        self.redact.contains(&what)
    }
}

/// A number of things in memory.
pub(crate) fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl SinkSettings for DashboardSettings {
    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Listen(self.listen)]
    }

    fn problems(&self) -> Vec<SettingProblem> {
        let mut problems: Vec<_> = access_problem(self.listen, self.auth.as_ref(), "dashboard").into_iter().collect();
        if self.query_timeout.0.is_zero() {
            problems.push(SettingProblem {
                key: "query_timeout",
                what: "`query_timeout` is zero: nothing could be answered".to_owned(),
                help: "write a duration such as \"5s\"".to_owned(),
            });
        }
        if self.max_live_clients >= self.max_connections.get() {
            problems.push(SettingProblem {
                key: "max_live_clients",
                what: format!(
                    "`max_live_clients` ({}) leaves no connection for anything else of the `max_connections` ({})",
                    self.max_live_clients, self.max_connections
                ),
                help: "make it smaller than `max_connections`".to_owned(),
            });
        }
        let (connections, live_clients) = self.of_one_address();
        if live_clients >= connections {
            problems.push(SettingProblem {
                key: "max_connections_per_address",
                what: format!(
                    "the live clients of one address ({live_clients}) leave it no connection for anything else of its {connections}"
                ),
                help: "make `max_live_clients_per_address` smaller than `max_connections_per_address`".to_owned(),
            });
        }
        problems
    }

    fn reads_histories_of(&self) -> Vec<Reference> {
        vec![Reference { key: "history", sink: self.history.clone() }]
    }

    fn starts_at_latest(&self) -> bool {
        true
    }

    fn probe(&self) -> Result<(), SinkError> {
        Ok(bind(self.listen).map(drop)?)
    }

    fn build(&self, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(DashboardSink::new(self.clone(), context)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_connections_left_for_pages() {
        let settings = |change: &dyn Fn(&mut DashboardSettings)| {
            let mut settings = DashboardSettings::new("history");
            change(&mut settings);
            settings
        };
        let number = |number: u32| number.try_into().ok();
        let usual = settings(&|_| {});
        assert_eq!((usual.of_one_address(), usual.problems().len()), ((64, 50), 0));
        let few = settings(&|settings| settings.max_connections_per_address = number(16));
        assert_eq!((few.of_one_address(), few.problems().len()), ((16, 15), 0));
        let small = settings(&|settings| {
            settings.max_connections = number(4).unwrap();
            settings.max_live_clients = 2;
        });
        assert_eq!((small.of_one_address(), small.problems().len()), ((4, 2), 0));
        let none_left = settings(&|settings| {
            settings.max_connections_per_address = number(16);
            settings.max_live_clients_per_address = number(16);
        });
        assert_eq!(none_left.problems()[0].key, "max_connections_per_address");
    }
}
