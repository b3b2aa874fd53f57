//! `/api/v1/openapi.json`: the description of the API, made from the handlers and their types.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;
use utoipa::OpenApi;

use super::{described, stream};
use crate::compat;
use crate::state::AppState;

const ABOUT: &str = "\
Statistics of Stratum V2 pools and translators. Everything is read with GET.

Times are Unix milliseconds, hashrates hashes per second, difficulties those of SV1. Whole numbers that go beyond 2^53 (ehash) \
are decimal text. A hashrate comes with the ends of its 95 % interval and with the shares and the observed time that it rests \
on; what was not observed is null, never 0. A question that fails gets an RFC 9457 problem document and its status.

Tables and series are also CSV, by `?format=csv` or `Accept: text/csv`; what a spreadsheet would run gets an \
apostrophe in front there. A list comes in pages: `next_cursor` and the header `Link: <...>; rel=\"next\"` lead to the next one, for CSV as \
well, and are missing on the last. JSON has up to 1,000 rows of a list at once, CSV up to 10,000. A row whose place did not change \
meanwhile is on exactly one page; lists that are ordered by what changes, such as a hashrate, may show a row again or not at all \
when its value passes that of the last row of a page: ask for names, or for all at once as CSV. Names of workers, programs and \
addresses come from the network: escape them.

Answers carry an ETag and are good for a second. With `auth` configured every request needs `Authorization: Bearer TOKEN`, or \
the token as the password of basic authentication.

The paths outside `/api/v1` have the shapes of the original design and of hashpool's web-pool and web-proxy.";

#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "hashpool-sidecar dashboard", description = ABOUT, license(name = "MIT OR Apache-2.0")),
    paths(stream::live)
)]
struct Described;

/// The document.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Described::openapi();
    document.merge(described().split_for_parts().1);
    document.merge(compat::described().split_for_parts().1);
    document
}

pub(super) fn routes() -> Router<AppState> {
    // Made once: it is the same as long as the program runs.
    let text = document().to_json().expect("the document is made of plain types");
    let text = bytes::Bytes::from(text);
    Router::new().route(
        "/api/v1/openapi.json",
        get(async move || ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text.clone())),
    )
}
