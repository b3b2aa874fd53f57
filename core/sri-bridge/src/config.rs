//! The settings of a bridge: its table in the configuration.

use std::fmt;

use hyper::Uri;
use serde::{Deserialize, Deserializer, de};
use sidecar_core::Period;
use stats_sv2::{Role, Text};

/// Polling faster than the program refreshes its numbers yields nothing.
const MIN_EVERY: Period = Period::from_millis(200);
/// Slower polls would let the session look silent.
const MAX_EVERY: Period = Period::from_secs(60);

/// The settings of a bridge, without its name and type.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SriBridgeSettings {
    /// Where the monitoring API listens, such as `http://127.0.0.1:9090`.
    pub url: MonitoringUrl,
    /// Time between polls. Default 5s.
    #[serde(default = "default_every", deserialize_with = "every")]
    pub every: Period,
    /// What the program is; detected when absent.
    #[serde(default)]
    pub role: Option<SriRole>,
    /// Name under which the events appear; the bridge's own name when absent.
    #[serde(default, deserialize_with = "publisher")]
    pub publisher: Option<String>,
}

/// Which of the two SRI programs is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SriRole {
    /// `pool_sv2`: clients and their channels.
    Pool,
    /// `translator_sv2`: channels to the upstream, and SV1 miners.
    Proxy,
}

impl From<SriRole> for Role {
    fn from(role: SriRole) -> Self {
        match role {
            SriRole::Pool => Self::Pool,
            SriRole::Proxy => Self::Proxy,
        }
    }
}

/// The address of a monitoring API: plain HTTP, as SRI serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoringUrl {
    /// Host and port.
    pub(crate) authority: String,
    /// Path before `/api/v1`, without a slash at the end.
    pub(crate) prefix: String,
}

/// Why a text is no [`MonitoringUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MonitoringUrlError {
    /// It is no URL.
    #[error("\"{text}\" is no URL; write it like \"http://127.0.0.1:9090\"")]
    Malformed {
        /// The text.
        text: String,
    },
    /// It names another scheme.
    #[error("\"{text}\" is not plain HTTP, which alone SRI serves; write it like \"http://127.0.0.1:9090\"")]
    NotHttp {
        /// The text.
        text: String,
    },
}

impl std::str::FromStr for MonitoringUrl {
    type Err = MonitoringUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MonitoringUrlError::Malformed { text: text.to_owned() };
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) => return Err(MonitoringUrlError::NotHttp { text: text.to_owned() }),
            None => return Err(malformed()),
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(malformed)?;
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if uri.query().is_some() || has_user {
            return Err(malformed());
        }
        Ok(Self {
            authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for MonitoringUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

impl<'de> Deserialize<'de> for MonitoringUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn default_every() -> Period {
    Period::from_secs(5)
}

fn every<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
    let every = Period::deserialize(deserializer)?;
    if !(MIN_EVERY..=MAX_EVERY).contains(&every) {
        return Err(de::Error::custom(format!("every is {every}, between {MIN_EVERY} and {MAX_EVERY} is needed")));
    }
    Ok(every)
}

fn publisher<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() {
        return Err(de::Error::custom("the publisher's name is empty"));
    }
    Text::new(name.as_str()).map_err(de::Error::custom)?;
    Ok(Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(table: &str) -> Result<SriBridgeSettings, String> {
        let table = toml::de::ValueDeserializer::parse(table).unwrap();
        SriBridgeSettings::deserialize(table).map_err(|error| error.to_string())
    }

    #[test]
    fn settings() {
        let minimal = parse("{ url = 'http://127.0.0.1:9090' }").unwrap();
        assert_eq!((minimal.every, minimal.role, minimal.publisher), (Period::from_secs(5), None, None));
        assert_eq!(minimal.url.to_string(), "http://127.0.0.1:9090");
        let full = parse("{ url = 'http://[::1]/x/', every = '1s', role = 'proxy', publisher = 'eu' }").unwrap();
        assert_eq!(full.url.to_string(), "http://[::1]:80/x");
        assert_eq!((full.role, full.publisher.as_deref()), (Some(SriRole::Proxy), Some("eu")));
        for (table, part) in [
            ("{}", "url"),
            ("{ url = 'https://a' }", "plain HTTP"),
            ("{ url = '127.0.0.1:9090' }", "no URL"),
            ("{ url = 'http://user@host:1' }", "no URL"),
            ("{ url = 'http://a', every = '1ms' }", "between"),
            ("{ url = 'http://a', every = '2h' }", "between"),
            ("{ url = 'http://a', role = 'mint' }", "unknown variant"),
            ("{ url = 'http://a', publisher = '' }", "empty"),
            ("{ url = 'http://a', evry = '1s' }", "unknown field"),
        ] {
            let error = parse(table).unwrap_err();
            assert!(error.contains(part), "{table}: {error}");
        }
    }
}
