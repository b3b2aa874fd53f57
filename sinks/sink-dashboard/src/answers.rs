//! Answers kept for a second: what many ask at the same time is computed, and compressed, once. Gives every answer its ETag,
//! and answers 304 where the client has it already.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use sidecar_core::Clock;

use crate::accept_encoding::takes;

/// How long an answer is good for.
const KEPT_MS: u64 = 1_000;
/// Bytes of all kept answers. They are good for a second only: more would be memory for what nobody asks again.
const MAX_BYTES: u64 = 4 << 20;
/// How many answers that may be; only what is remembered of those that had to go depends on it.
const USUAL_ANSWERS: usize = 256;
/// Bytes of one answer; lists are cut into pages before they come near it.
pub(crate) const MAX_ANSWER: usize = 8 << 20;

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
    address: String,
    accept: Option<HeaderValue>,
    /// Whether the client takes gzip.
    gzip: bool,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Question, Arc<Answer>> for Bytewise {
    fn weight(&self, question: &Question, answer: &Arc<Answer>) -> u64 {
        let accept = question.accept.as_ref().map_or(0, HeaderValue::len);
        (question.address.len() + accept + answer.body.len() + 512) as u64
    }
}

/// The kept answers.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    cache: Arc<Cache<Question, Arc<Answer>, Bytewise>>,
    /// The second of the last question.
    second: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl Answers {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        // One shard: all requests are answered on one thread, and each shard would only take its part of the bytes.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(USUAL_ANSWERS)
            .weight_capacity(MAX_BYTES)
            .build()
            .expect("both capacities are given");
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        let cache = Cache::with_options(options, Bytewise, hasher, lifecycle);
        Self { cache: Arc::new(cache), second: Arc::default(), clock }
    }

    /// Lets go of answers of another second: nobody is given them any more.
    fn forget_others(&self, second: u64) {
        if self.second.swap(second, Relaxed) != second {
            self.cache.retain(|question, _| question.second == second);
        }
    }
}

/// Answers from what is kept, or lets one request through and keeps what comes back, errors included: a question that fails
/// is not asked by everybody in turn.
pub(crate) async fn cached(State(answers): State<Answers>, mut request: Request, next: Next) -> Response {
    let question = Question {
        second: answers.clock.now().0 / KEPT_MS,
        address: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        accept: request.headers().get(header::ACCEPT).cloned(),
        gzip: takes(request.headers(), "gzip"),
    };
    answers.forget_others(question.second);
    // What the layer inside chooses by is exactly what the question says.
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    if question.gzip {
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // A HEAD is told the same as a GET, length and tag included; the router leaves out the body on the way out.
    *request.method_mut() = Method::GET;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let compute =
        async || -> Result<Arc<Answer>, std::convert::Infallible> { Ok(Arc::new(take(next.run(request).await).await)) };
    let Ok(answer) = answers.cache.get_or_insert_async(&question, compute()).await;
    give(&answer, known.as_ref())
}

async fn take(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let body = match http_body_util::Limited::new(body, MAX_ANSWER).collect().await {
        // A buffer that grew while it was written may be half empty; what is kept is exactly as large as it is counted.
        Ok(body) => Bytes::copy_from_slice(&body.to_bytes()),
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
        headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_another_second_are_let_go() {
        let answers = Answers::new(Arc::new(sidecar_core::ManualClock::at(stats_sv2::UnixMillis(0))));
        let question = |second, address: &str| Question { second, address: address.into(), accept: None, gzip: false };
        let answer =
            Arc::new(Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from_static(b"x") });
        for (second, address) in [(7, "/a"), (7, "/b"), (8, "/a")] {
            answers.forget_others(second);
            answers.cache.insert(question(second, address), Arc::clone(&answer));
        }
        assert!(answers.cache.get(&question(8, "/a")).is_some());
        assert_eq!(answers.cache.len(), 1);
        // One that is larger than all may be is given and not kept.
        let body = Bytes::from(vec![0; MAX_BYTES as usize]);
        answers.cache.insert(question(8, "/c"), Arc::new(Answer { body, ..Answer::clone(&answer) }));
        assert!(answers.cache.get(&question(8, "/c")).is_none() && answers.cache.weight() <= MAX_BYTES);
    }
}
