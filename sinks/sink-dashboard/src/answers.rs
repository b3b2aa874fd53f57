//! Answers kept for a second: what many ask at the same time is computed once. Gives every answer its ETag, and answers 304
//! where the client has it already.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sidecar_core::Clock;

/// How long an answer is good for.
const KEPT_MS: u64 = 1_000;
/// Bytes of all kept answers.
const MAX_BYTES: u64 = 16 << 20;
/// Bytes of one answer; lists are cut into pages before they come near it.
const MAX_ANSWER: usize = 8 << 20;

/// An answer as it is given.
#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What was asked, and in which second.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    second: u64,
    /// An answer without its body.
    is_head: bool,
    address: String,
    accept: Option<HeaderValue>,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Question, Arc<Answer>> for Bytewise {
    fn weight(&self, question: &Question, answer: &Arc<Answer>) -> u64 {
        (question.address.len() + answer.body.len() + 512) as u64
    }
}

/// The kept answers.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    cache: Arc<Cache<Question, Arc<Answer>, Bytewise>>,
    clock: Arc<dyn Clock>,
}

impl Answers {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let cache = Cache::with_weighter(1_024, MAX_BYTES, Bytewise);
        Self { cache: Arc::new(cache), clock }
    }
}

/// Answers from what is kept, or lets one request through and keeps what comes back, errors included: a question that fails
/// is not asked by everybody in turn.
pub(crate) async fn cached(State(answers): State<Answers>, request: Request, next: Next) -> Response {
    let question = Question {
        second: answers.clock.now().0 / KEPT_MS,
        is_head: request.method() == Method::HEAD,
        address: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        accept: request.headers().get(header::ACCEPT).cloned(),
    };
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let compute =
        async || -> Result<Arc<Answer>, std::convert::Infallible> { Ok(Arc::new(take(next.run(request).await).await)) };
    let Ok(answer) = answers.cache.get_or_insert_async(&question, compute()).await;
    give(&answer, known.as_ref())
}

async fn take(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let body = match http_body_util::Limited::new(body, MAX_ANSWER).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            tracing::error!(%error, "an answer of the dashboard is too large");
            return Answer {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                headers: HeaderMap::new(),
                body: Bytes::from_static(b"the answer is too large\n"),
            };
        }
    };
    let mut headers = parts.headers;
    if parts.status == StatusCode::OK {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        // Hexadecimal digits between quotes are a valid header value.
        if let Ok(etag) = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish())) {
            headers.insert(header::ETAG, etag);
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, max-age=1"));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
    } else {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Answer { status: parts.status, headers, body }
}

fn give(answer: &Answer, known: Option<&HeaderValue>) -> Response {
    let etag = answer.headers.get(header::ETAG);
    let is_known = etag.is_some_and(|etag| known.is_some_and(|known| matches(known, etag)));
    let (status, body) = if is_known {
        (StatusCode::NOT_MODIFIED, Body::empty())
    } else {
        (answer.status, Body::from(answer.body.clone()))
    };
    let mut response = (status, body).into_response();
    *response.headers_mut() = answer.headers.clone();
    response
}

/// Whether `If-None-Match` names this tag.
fn matches(known: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(known), Ok(etag)) = (known.to_str(), etag.to_str()) else { return false };
    known.trim() == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == etag)
}
