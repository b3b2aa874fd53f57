//! How an answer is written: JSON, or CSV where it is a table; and where the rows behind it are.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use form_urlencoded::Serializer;
use serde::Serialize;

use super::csv::{self, Format, Table};
use super::problem::Problem;
use super::range::limit;
use crate::answers::MAX_ANSWER;

/// Rows of a page in JSON at most.
pub(crate) const MAX_PAGE: u32 = 1_000;
/// Rows of a file, unless fewer are asked for: people want all of a table, and so much can be given at once.
pub(crate) const MAX_FILE: u32 = 10_000;

/// What a handler returns.
pub(crate) type Answered = Result<Response, Problem>;

/// The head of a request, as far as it decides the form of the answer.
#[derive(Debug)]
pub(crate) struct Asking {
    uri: Uri,
    headers: HeaderMap,
}

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self { uri: parts.uri.clone(), headers: parts.headers.clone() })
    }
}

impl Asking {
    /// The form that is wanted, by `format` or else by `Accept`.
    pub(crate) fn form(self, format: Option<&str>) -> Result<Form, Problem> {
        Ok(Form { format: Format::asked(format, &self.headers)?, uri: self.uri })
    }
}

/// The form of an answer.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) format: Format,
    uri: Uri,
}

impl Form {
    /// Rows of a page: as many as are asked for, up to `most` in JSON and [`MAX_FILE`] in CSV.
    pub(crate) fn rows(&self, asked: Option<u32>, usual: u32, most: u32) -> Result<u32, Problem> {
        match self.format {
            Format::Json => limit(asked, usual, most),
            Format::Csv => limit(asked, MAX_FILE, MAX_FILE),
        }
    }

    /// As what the client wants.
    pub(crate) fn table<T: Serialize + Table>(&self, value: &T) -> Answered {
        let mut response = match self.format {
            Format::Json => json(value)?,
            Format::Csv => {
                let body = csv::write(value).map_err(|error| {
                    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the table cannot be written: {error}"))
                })?;
                if body.len() > MAX_ANSWER {
                    return Err(Problem::bad_request(
                        "the table is too large for one file: ask for fewer rows by `limit`",
                    ));
                }
                let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
                ([(header::CONTENT_TYPE, kind)], body).into_response()
            }
        };
        if let Some(next) = value.next_cursor().and_then(|cursor| self.link_to(&cursor)) {
            response.headers_mut().insert(header::LINK, next);
        }
        Ok(response)
    }

    /// The same question about the next page (RFC 8288): a file cannot say in itself that it goes on.
    fn link_to(&self, cursor: &str) -> Option<HeaderValue> {
        let pairs = form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        let same = pairs.filter(|(name, _)| name != "cursor");
        let query = Serializer::new(String::new()).extend_pairs(same).append_pair("cursor", cursor).finish();
        HeaderValue::from_str(&format!("<{}?{query}>; rel=\"next\"", self.uri.path())).ok()
    }
}

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
