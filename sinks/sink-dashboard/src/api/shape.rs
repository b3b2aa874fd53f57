//! How an answer is written: JSON, or CSV where it is a table.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::csv::{self, Format, Table};
use super::problem::Problem;

/// What a handler returns.
pub(crate) type Answered = Result<Response, Problem>;

/// As JSON.
pub(crate) fn json(value: &impl Serialize) -> Answered {
    json_with(StatusCode::OK, value)
}

/// As JSON, with another status.
pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Answered {
    let body = serde_json::to_vec(value).map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {error}"))
    })?;
    Ok((status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// As what the client wants.
pub(crate) fn table<T: Serialize + Table>(value: &T, format: Option<&str>, headers: &HeaderMap) -> Answered {
    match Format::asked(format, headers)? {
        Format::Json => json(value),
        Format::Csv => {
            let body = csv::write(value).map_err(|error| {
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the table cannot be written: {error}"))
            })?;
            let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
            Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
        }
    }
}
