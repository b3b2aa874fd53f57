//! How to connect a miner to the source: the address that the source or the configuration tells, as text and as a QR code.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use qrcode::{EcLevel, QrCode};
use sink_sqlite::query::{Overview, SourceView};

use super::fault::PageError;
use super::query::Query;
use super::shell::{Frame, Page, respond};
use super::sources::is_miner_side;
use super::{SourceQuery, numbers};
use crate::security::redact::HIDDEN;
use crate::state::AppState;

/// What a source calls its address in its SourceInfo events.
const LISTEN_ADDRESS: &str = "listen_address";
/// The public half of its key, for the encrypted SV2 transport.
const AUTHORITY_KEY: &str = "authority_public_key";
/// Modules of the quiet border of a QR code.
const QUIET: usize = 4;

pub(super) async fn page(
    State(state): State<AppState>,
    Query(asked): Query<SourceQuery>,
) -> Result<Response, PageError> {
    let overview = state.overview().await?;
    let source = asked.of(&overview)?;
    let mut configured = state.settings.source.listen_address.clone();
    if let Some(address) = &mut configured {
        state.redaction.address(address);
    }
    Ok(respond(StatusCode::OK, document(&overview, source, configured.as_deref())))
}

fn document(overview: &Overview, source: Option<&SourceView>, configured: Option<&str>) -> Markup {
    let frame = Frame::new(Page::Connect, overview, source);
    let content = html! {
        (frame.heading(&html! { "Connect a miner" }))
        @match source {
            Some(source) => { (about(source, configured)) }
            None => { p.empty { "No source has connected yet." } }
        }
    };
    frame.document("Connect", &content)
}

fn about(source: &SourceView, configured: Option<&str>) -> Markup {
    let told = |name: &str| source.info.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let address = told(LISTEN_ADDRESS).or(configured).filter(|address| *address != HIDDEN);
    let url = address.map(|address| stratum_url(source, address, told(AUTHORITY_KEY)));
    html! {
        div.pair {
            section aria-labelledby="address" {
                div.section-head { h2 #address { "Address" } }
                @match (&url, address) {
                    (Some(url), Some(address)) => {
                        dl.facts {
                            dt { "URL" } dd { code { bdi { (numbers::visible(url)) } } }
                            dt { "Host and port" } dd { code { bdi { (numbers::visible(address)) } } }
                            dt { "Protocol" } dd { @if is_miner_side(source) { "Stratum V1, to the translator" } @else { "Stratum V2" } }
                            dt { "Worker name" } dd { "any; it is how the worker appears in the list" }
                        }
                        @if unspecified(address) {
                            p.notice { "This address means every interface of the host: put the host's own address in its place." }
                        }
                    }
                    _ => {
                        p.notice {
                            "The source has not told its address, or this page does not show it. Set " code { "source = { listen_address = \"host:port\" }" }
                            " in the dashboard's table of the configuration, or have the source publish SourceInfo "
                            code { (LISTEN_ADDRESS) } "."
                        }
                    }
                }
            }
            section aria-labelledby="code" {
                div.section-head { h2 #code { "QR code" } }
                @match url.as_deref().and_then(qr) {
                    Some(code) => { (code) p.note { "The URL, for miners that read it with a camera or a companion app." } }
                    None => { p.note { "Without an address there is none." } }
                }
            }
        }
        section.section aria-labelledby="told" {
            div.section-head { h2 #told { "What the source says about itself" } }
            @if source.info.is_empty() {
                p.note { "Nothing." }
            } @else {
                dl.facts {
                    @for (name, value) in &source.info { dt { (numbers::untrusted_inline(name)) } dd { (numbers::untrusted_inline(value)) } }
                }
            }
        }
    }
}

/// Translators speak SV1, pools SV2, whose URL ends with the pool's key.
fn stratum_url(source: &SourceView, address: &str, key: Option<&str>) -> String {
    let has_scheme = address.contains("://");
    match (has_scheme, is_miner_side(source), key) {
        (true, ..) => address.to_owned(),
        (false, true, _) => format!("stratum+tcp://{address}"),
        (false, false, Some(key)) => format!("stratum2+tcp://{address}/{key}"),
        (false, false, None) => format!("stratum2+tcp://{address}"),
    }
}

fn unspecified(address: &str) -> bool {
    address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_unspecified())
}

/// The code as one path of dark modules; `None` for a text that is too long.
fn qr(text: &str) -> Option<Markup> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let mut dark = String::new();
    for (index, color) in code.to_colors().into_iter().enumerate() {
        if color == qrcode::Color::Dark {
            dark.push_str(&format!("M{},{}h1v1h-1z", index % width + QUIET, index / width + QUIET));
        }
    }
    let side = width + 2 * QUIET;
    Some(html! {
        svg.qr viewBox=(format!("0 0 {side} {side}")) shape-rendering="crispEdges" role="img" aria-label="QR code of the URL" {
            path d=(dark) fill="#000" {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_as_large_as_its_version_says() {
        let code = qr("stratum2+tcp://203.0.113.7:3333/9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72").unwrap();
        // 86 bytes at level M need version 6: 41 modules, and a border of 4 on both sides.
        assert!(code.into_string().contains("viewBox=\"0 0 49 49\""));
        assert!(qr(&"x".repeat(5_000)).is_none(), "more than a code holds");
    }

    #[test]
    fn addresses_that_mean_every_interface_are_known() {
        assert!(unspecified("0.0.0.0:3333") && unspecified("[::]:3333"));
        assert!(!unspecified("192.0.2.1:3333") && !unspecified("pool.example:3333"));
    }
}
