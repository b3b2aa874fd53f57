//! Errors as RFC 9457 problem documents. What failed is said; zeros are never sent instead.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sidecar_core::ErrorChain;
use sink_sqlite::query::QueryError;

use super::range::NONE_HEARD;
use crate::history::ReadError;

/// `application/problem+json`.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct Problem {
    /// What kind of problem: always `about:blank`, so that `title` and `status` say it.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// The words of the status.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do.
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// What was asked for does not exist.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Query(QueryError::UnknownPublisher { publisher }) if publisher == NONE_HEARD => {
                return Self::not_found("no publisher was heard yet");
            }
            // The question names what is not there: that it could not be answered adds nothing.
            ReadError::Query(unknown @ (QueryError::UnknownPublisher { .. } | QueryError::UnknownSubject { .. })) => {
                return Self::not_found(unknown.to_string());
            }
            _ => {}
        }
        let status = match &error {
            ReadError::NotThere { .. } | ReadError::Busy | ReadError::Ended => StatusCode::SERVICE_UNAVAILABLE,
            ReadError::TooSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
            ReadError::Query(QueryError::EmptyRange { .. }) => StatusCode::BAD_REQUEST,
            ReadError::Query(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::warn!(error = %ErrorChain(&error), "a question to the history failed");
        }
        Self::new(status, ErrorChain(&error).to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
