//! The styles and scripts that the build made: their names carry a hash of their content, so they may be kept for ever.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::accept_encoding::takes;

/// One file, as it is and compressed.
#[derive(Debug)]
struct Asset {
    /// What pages call it, such as `app.js`.
    logical: &'static str,
    /// What it is called on the wire, such as `app-3FA2K4.js`.
    file: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
    brotli: &'static [u8],
}

// `static ASSETS: [Asset; N]`, written by the build script.
include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// A year, after which browsers ask again.
const KEEP: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Where the file is served that pages call so.
pub(super) fn path(logical: &str) -> String {
    let file = ASSETS.iter().find(|asset| asset.logical == logical).map_or(logical, |asset| asset.file);
    format!("/assets/{file}")
}

/// The files.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/assets/{file}", get(serve))
}

async fn serve(Path(file): Path<String>, request: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.file == file) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (body, encoding) = match () {
        () if takes(&request, "br") => (asset.brotli, Some(HeaderValue::from_static("br"))),
        () if takes(&request, "gzip") => (asset.gzip, Some(HeaderValue::from_static("gzip"))),
        () => (asset.plain, None),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(asset.logical)));
    headers.insert(header::CACHE_CONTROL, KEEP);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, encoding);
    }
    (headers, body).into_response()
}

fn content_type(logical: &str) -> &'static str {
    match logical.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzipped(ending: &str) -> usize {
        ASSETS.iter().filter(|asset| asset.logical.ends_with(ending)).map(|asset| asset.gzip.len()).sum()
    }

    #[test]
    fn the_budgets_hold() {
        let (scripts, styles) = (gzipped(".js"), gzipped(".css"));
        assert!(scripts > 1_000 && scripts <= 50_000, "all scripts, gzip: {scripts} bytes");
        assert!(styles > 1_000 && styles <= 10_000, "all styles, gzip: {styles} bytes");
    }

    #[test]
    fn names_change_with_the_content_and_every_page_finds_them() {
        for logical in ["app.js", "theme.js", "app.css", "icon.svg"] {
            let path = path(logical);
            let (stem, ending) = logical.split_once('.').unwrap();
            assert!(path.starts_with(&format!("/assets/{stem}-")) && path.ends_with(ending), "{path}");
        }
    }
}
