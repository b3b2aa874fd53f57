//! What a page says when it cannot be made: the reason in words and a status that is an error, never zeros.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::html;
use sidecar_core::ErrorChain;
use sink_sqlite::query::QueryError;

use super::numbers;
use super::shell::{Frame, Page, respond};
use crate::history::ReadError;

/// Why a page cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum PageError {
    /// Nothing of this name is known.
    #[error("{what} is not known here")]
    Unknown {
        /// What was asked for; may be text from the network.
        what: String,
    },
    /// The address cannot be understood.
    #[error("{why}")]
    Asked {
        /// What cannot be read, and why; holds words of the address.
        why: String,
    },
    /// The answer is larger than any may be.
    #[error("{why}")]
    TooLarge {
        /// In words.
        why: String,
    },
    /// The history did not answer.
    #[error("the history did not answer")]
    Read(#[source] ReadError),
}

impl From<ReadError> for PageError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Query(QueryError::UnknownPublisher { publisher }) => Self::Unknown { what: publisher },
            ReadError::Query(QueryError::UnknownSubject { subject, .. }) => Self::Unknown { what: subject },
            other => Self::Read(other),
        }
    }
}

impl PageError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unknown { .. } => StatusCode::NOT_FOUND,
            Self::Asked { .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Read(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The page that says so.
    fn page(&self) -> Response {
        let now_ms = stats_sv2::UnixMillis::now().0;
        let frame = Frame { page: Page::Overview, source: None, now_ms, is_final: self.status().is_client_error() };
        let title = match self {
            Self::Unknown { .. } => "Not found",
            Self::Asked { .. } => "Not understood",
            Self::TooLarge { .. } => "Too large",
            Self::Read(_) => "No answer from the history",
        };
        let content = html! {
            h1 { (title) }
            @match self {
                Self::Unknown { what } => {
                    p.notice.is-bad { (numbers::untrusted_inline(what)) " is not known here." }
                    p { a href="/" { "To the overview" } }
                }
                Self::Asked { why } => {
                    p.notice.is-bad { "Of this address " (numbers::visible(why)) "." }
                    p { a href="/" { "To the overview" } }
                }
                Self::TooLarge { why } => {
                    p.notice.is-bad { "It cannot be shown: " (numbers::visible(why)) "." }
                    p { a href="/" { "To the overview" } }
                }
                Self::Read(error) => {
                    p.notice.is-bad role="alert" { (ErrorChain(error).to_string()) }
                    p {
                        "No number is shown, because none is known. The sidecar's log says more; events that arrive meanwhile "
                        "wait in the journal."
                    }
                }
            }
        };
        respond(self.status(), frame.document(title, &content))
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        self.page()
    }
}
