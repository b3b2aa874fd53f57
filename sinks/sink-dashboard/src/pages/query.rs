//! The parameters of a page's address; what cannot be read there is an error page.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::fault::PageError;
use crate::api::query::read;

/// The parameters of a page.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PageError> {
        read(&parts.uri).map(Self).map_err(|why| PageError::Asked { why })
    }
}
