//! The door: who may ask, how, and how often. Everything behind it only reads.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sidecar_http::{AuthSetting, Peer, Token};

use crate::api::problem::Problem;
use crate::config::{DashboardSettings, Network};
use crate::security::rate::RateLimit;

/// Bytes of a request's body. Nothing here reads one.
const MAX_BODY: u64 = 64 << 10;

/// Whose request it is, by address; among the extensions of every request that came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) IpAddr);

/// The rules of the door.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Option<Token>,
    rate: RateLimit,
    /// Of requests that only ask for the health.
    probe_rate: RateLimit,
    trusted_proxies: Vec<Network>,
    /// A page of another site that a browser was tricked to take for ours must not be answered.
    checks_host: bool,
}

impl Guard {
    pub(crate) fn new(settings: &DashboardSettings, token: Option<Token>) -> Self {
        let is_open = matches!(settings.auth, Some(AuthSetting::Everybody));
        Self {
            checks_host: token.is_none() && !is_open,
            token,
            rate: RateLimit::per_second(settings.requests_per_second),
            probe_rate: RateLimit::per_second(settings.requests_per_second),
            trusted_proxies: settings.trusted_proxies.clone(),
        }
    }

    /// Whose request it is.
    fn client(&self, request: &Request) -> IpAddr {
        let peer = request.extensions().get::<Peer>().map(|Peer(address)| address.ip());
        let peer = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        if self.trusted_proxies.iter().any(|network| network.contains(peer)) {
            forwarded_for(request.headers()).unwrap_or(peer)
        } else {
            peer
        }
    }

    /// What a request is answered that may not come in.
    fn refusal(&self, request: &Request, client: IpAddr) -> Option<Response> {
        // Before the token is looked at, so that nobody can try many of them.
        let rate = if is_probe(request.uri()) { &self.probe_rate } else { &self.rate };
        if let Err(wait) = rate.check(client) {
            let seconds = HeaderValue::from(wait.as_secs() + 1);
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests from this address");
            return Some(([(header::RETRY_AFTER, seconds)], problem).into_response());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let problem =
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here: only GET and HEAD");
            return Some(([(header::ALLOW, HeaderValue::from_static("GET, HEAD"))], problem).into_response());
        }
        if body_length(request.headers()).is_some_and(|length| length > MAX_BODY) {
            return Some(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "a request here needs no body").into_response());
        }
        if self.checks_host && !is_local(request.headers()) {
            let problem = Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "without `auth` the dashboard is answered under localhost and IP addresses only; behind a proxy set `auth`",
            );
            return Some(problem.into_response());
        }
        if let Some(token) = &self.token
            && !token.admits(request.headers())
        {
            let challenge = HeaderValue::from_static("Basic realm=\"hashpool-sidecar\", charset=\"UTF-8\"");
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "a token is needed");
            return Some(([(header::WWW_AUTHENTICATE, challenge)], problem).into_response());
        }
        None
    }
}

/// Lets a request in, or answers it here.
pub(crate) async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let client = guard.client(&request);
    match guard.refusal(&request, client) {
        None => {
            request.extensions_mut().insert(Client(client));
            next.run(request).await
        }
        Some(refusal) => refusal,
    }
}

/// Whether somebody asks only for the health, which has an allowance of its own: behind a proxy everybody may have one address,
/// and a probe that is refused because of others' pages would take the sidecar for down.
pub(crate) fn is_probe(uri: &Uri) -> bool {
    matches!(uri.path(), "/health" | "/api/v1/health") && uri.query().is_none()
}

fn body_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The last address in `X-Forwarded-For`, which the proxy wrote itself; those before it are what the client told the proxy.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    let address = last.to_str().ok()?.rsplit(',').next()?.trim();
    // Some proxies write the port too.
    address.parse().ok().or_else(|| address.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

/// Whether `Host` is one that only leads here where the browser's user means it: a name that anybody can point at
/// 127.0.0.1 is not (DNS rebinding).
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_trusted_proxy_wrote_tells_the_client() {
        let mut settings = DashboardSettings::new("history");
        settings.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let guard = Guard::new(&settings, None);
        let client = |peer: &str, headers: &[&str]| {
            let mut request = Request::new(axum::body::Body::empty());
            request.extensions_mut().insert(Peer(std::net::SocketAddr::new(peer.parse().unwrap(), 1)));
            for header in headers {
                request.headers_mut().append("x-forwarded-for", header.parse().unwrap());
            }
            guard.client(&request).to_string()
        };
        assert_eq!(client("10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 192.0.2.7"]), "192.0.2.7", "the first is the client's own word");
        assert_eq!(client("10.0.0.1", &["198.51.100.1", "192.0.2.7:4711"]), "192.0.2.7");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        for header in ["", "unknown", "192.0.2.7,"] {
            assert_eq!(client("10.0.0.1", &[header]), "10.0.0.1", "{header:?}");
        }
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("192.0.2.1", &["192.0.2.7"]), "192.0.2.1", "anybody can write a header");
    }

    #[test]
    fn foreign_names_are_not_ours() {
        let local = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_local(&headers)
        };
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "192.0.2.7", "pool.localhost:1"] {
            assert!(local(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert!(!local(host), "{host}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }
}
