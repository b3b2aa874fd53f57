//! The listener: `/metrics`, nothing but reading, and only for who has the token where one is set.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sidecar_core::SinkError;
use sidecar_http::{AuthSetting, HttpLimits, HttpServer, Token, bind, metrics_response, per_address};

use crate::config::PrometheusSettings;

/// No scrape takes so long.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);

const INDEX: &str = "hashpool-sidecar\n  /metrics  the mining domain for Prometheus\n";

/// Makes the text, in OpenMetrics.
pub(crate) type Render = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
struct Pages {
    render: Render,
    token: Option<Token>,
}

/// Binds the address and answers.
pub(crate) fn start(settings: &PrometheusSettings, render: Render) -> Result<HttpServer, SinkError> {
    let token = settings.auth.as_ref().map_or(Ok(None), AuthSetting::load);
    let token = token.map_err(|error| SinkError::fatal("cannot tell who may read the metrics", error))?;
    let max_connections = settings.max_connections.get() as usize;
    let limits = HttpLimits {
        max_connections,
        max_connections_per_address: per_address(max_connections),
        head_timeout: settings.head_timeout.0,
        max_connection_age: Some(MAX_CONNECTION_AGE),
        ..HttpLimits::default()
    };
    let pages = Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/metrics", get(metrics))
        .with_state(Pages { render, token });
    Ok(HttpServer::start("metrics", bind(settings.listen)?, limits, pages)?)
}

async fn metrics(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    if let Some(token) = &pages.token
        && !token.admits(&headers)
    {
        let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
        return (StatusCode::UNAUTHORIZED, challenge, "send the token as `Authorization: Bearer TOKEN`\n")
            .into_response();
    }
    metrics_response(&headers, (pages.render)())
}
