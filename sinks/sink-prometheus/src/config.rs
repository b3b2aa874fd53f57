//! The settings of the sink: its table in the configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, de};
use sidecar_core::{Claim, Period, SettingProblem, Sink, SinkContext, SinkError, SinkSettings};
use sidecar_http::{AuthSetting, access_problem, bind, listen_address};

use crate::sink::PrometheusSink;

/// Where the metrics are unless the table says otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4020);

/// The settings of the metrics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrometheusSettings {
    /// Where `/metrics` is answered. Default 127.0.0.1:4020.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// Who may read. Needed for an address that other hosts can reach.
    pub auth: Option<AuthSetting>,
    /// Connections at a time; further ones wait to be accepted. Default 64.
    pub max_connections: NonZeroU32,
    /// How long a client may take to send the head of a request. Default 10s.
    #[serde(deserialize_with = "positive")]
    pub head_timeout: Period,
    /// Publishers with series of their own; later ones share the name `(other)`. Default 64.
    pub max_sources: NonZeroU32,
    /// Workers with series of their own over all publishers: those with the most work. The rest shares the name `(other)`.
    /// Default 200.
    pub max_workers: u32,
    /// The series of a worker or a publisher end after so long without any sign of it. Default 24h.
    #[serde(deserialize_with = "positive")]
    pub expire_after: Period,
}

impl Default for PrometheusSettings {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            auth: None,
            max_connections: const { NonZeroU32::new(64).expect("not zero") },
            head_timeout: Period::from_secs(10),
            max_sources: const { NonZeroU32::new(64).expect("not zero") },
            max_workers: 200,
            expire_after: Period::from_secs(24 * 3_600),
        }
    }
}

impl SinkSettings for PrometheusSettings {
    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Listen(self.listen)]
    }

    fn problems(&self) -> Vec<SettingProblem> {
        access_problem(self.listen, self.auth.as_ref(), "metrics").into_iter().collect()
    }

    /// Prometheus gives a counter's increase the time of the scrape: the past would come as one jump.
    fn starts_at_latest(&self) -> bool {
        true
    }

    fn probe(&self) -> Result<(), SinkError> {
        Ok(bind(self.listen).map(drop)?)
    }

    fn build(&self, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(PrometheusSink::new(self.clone(), context)))
    }
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
    let period = Period::deserialize(deserializer)?;
    if period.0.is_zero() {
        return Err(de::Error::custom("0s is no time at all; write it like \"10s\" or \"24h\""));
    }
    Ok(period)
}
