//! The frame of every page: head, navigation, the choice of the source, foot.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use sink_sqlite::query::{Overview, SourceView};

use super::address::Address;
use super::assets;
use super::banner;
use super::numbers;
use super::sources::{health, is_miner_side};

/// A page of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Overview,
    Workers,
    Connections,
    Quotes,
    Blocks,
    Pipeline,
    Connect,
}

impl Page {
    const ALL: [Self; 7] =
        [Self::Overview, Self::Workers, Self::Connections, Self::Quotes, Self::Blocks, Self::Pipeline, Self::Connect];

    /// Where it is.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Workers => "/workers",
            Self::Connections => "/connections",
            Self::Quotes => "/quotes",
            Self::Blocks => "/blocks",
            Self::Pipeline => "/pipeline",
            Self::Connect => "/connect",
        }
    }

    /// What it is called on this side: a translator has miners, a pool has workers.
    pub(super) fn title(self, source: Option<&SourceView>) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Workers if source.is_some_and(is_miner_side) => "Miners",
            Self::Workers => "Workers",
            Self::Connections => "Connections",
            Self::Quotes => "Quotes",
            Self::Blocks => "Blocks",
            Self::Pipeline => "Pipeline",
            Self::Connect => "Connect",
        }
    }
}

/// What the frame needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// The page, as the navigation marks it.
    pub(super) page: Page,
    /// The source that the page is about.
    pub(super) source: Option<&'a SourceView>,
    /// When the page was made.
    pub(super) now_ms: u64,
    /// The page says why its address is refused, as it will be each time: scripts do not read it again.
    pub(super) is_final: bool,
}

impl<'a> Frame<'a> {
    /// The frame of a page about a source of this overview.
    pub(super) fn new(page: Page, overview: &'a Overview, source: Option<&'a SourceView>) -> Self {
        Self { page, source, now_ms: overview.now_ms, is_final: false }
    }

    /// The address of a page about the same source. It is always named, though it may be the only one: a bookmark must not be
    /// about another when another comes.
    pub(super) fn address(&self, path: &'static str) -> Address {
        Address::new(path).with_some("source", self.source.map(|source| source.publisher.as_str()))
    }

    /// The address of a table of the API as a file, about the source of this page.
    pub(super) fn csv(&self, path: &'static str) -> Address {
        let source = self.source.map(|source| source.publisher.as_str());
        Address::new(path).with("format", "csv").with_some("source", source)
    }

    /// The whole document.
    pub(super) fn document(&self, title: &str, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="description" content="Hashrate, workers, quotes and blocks, each number with its window and its sample.";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · Hashpool Sidecar" }
                    link rel="icon" type="image/svg+xml" href=(assets::path("icon.svg"));
                    link rel="stylesheet" href=(assets::path("app.css"));
                    script src=(assets::path("theme.js")) {}
                    script src=(assets::path("app.js")) defer {}
                }
                body data-now=(self.now_ms) data-final=[self.is_final.then_some("")] {
                    a.skip href="#content" { "Skip to the content" }
                    (self.head())
                    main #content tabindex="-1" data-region="content" data-source=[self.source.map(|source| &source.publisher)] { (banner::markup(self)) (content) }
                    (self.foot())
                }
            }
        }
    }

    fn head(&self) -> Markup {
        html! {
            header.top {
                a.brand href=(self.address("/").text()) {
                    img src=(assets::path("icon.svg")) alt="" width="22" height="22";
                    "Hashpool Sidecar"
                }
                div.tools {
                    // Scripts say here whether the numbers follow; without them the page stands as it was made.
                    span.link-state data-link-state="" data-state="static" role="status" { "Made " (numbers::moment(self.now_ms)) " UTC" }
                    button type="button" data-zone-switch="" hidden { "UTC" }
                    button type="button" data-theme-switch="" hidden { "Theme" }
                }
                nav.pages aria-label="Pages" {
                    ul {
                        @for page in Page::ALL {
                            li {
                                a href=(self.address(page.path()).text()) aria-current=[(page == self.page).then_some("page")] {
                                    (page.title(self.source))
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn foot(&self) -> Markup {
        html! {
            footer.foot {
                span {
                    "Hashpool Sidecar " (env!("CARGO_PKG_VERSION"))
                    " · intervals are 95 % confidence, ± is one standard error · times in "
                    span data-zone-name="" { "UTC" }
                }
                span { a href="/api/v1/openapi.json" { "API" } }
            }
        }
    }

    /// The heading of a page, with the source that it is about.
    pub(super) fn heading(&self, title: &Markup) -> Markup {
        html! {
            div.page-head {
                h1 { (title) }
                @if let Some(source) = self.source {
                    p { (health(source, self.now_ms)) " · " (numbers::untrusted_inline(&source.publisher)) ", " (source.role) }
                }
            }
        }
    }
}

/// Pages are full of the present: a browser may keep one but asks each time whether it still holds.
pub(super) fn respond(status: StatusCode, document: Markup) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    (status, headers, document.into_string()).into_response()
}
