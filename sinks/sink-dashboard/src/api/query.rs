//! What stands behind the `?` of an address. What cannot be read there is a problem document, as every other error is.

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The parameters of a request.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(&parts.uri).map(Self).map_err(Problem::bad_request)
    }
}

/// The parameters of this address, or which of them cannot be read and why.
pub(crate) fn read<T: DeserializeOwned>(uri: &Uri) -> Result<T, String> {
    let read = axum::extract::Query::try_from_uri(uri);
    read.map(|axum::extract::Query(parameters)| parameters).map_err(|rejection| {
        let cause = std::error::Error::source(&rejection).map(ToString::to_string);
        format!("the parameters cannot be read: {}", cause.unwrap_or_else(|| rejection.body_text()))
    })
}
