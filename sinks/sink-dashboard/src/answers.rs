//! Answers kept for a second: what many ask at the same time is computed, and compressed, once. Gives every answer its ETag,
//! and answers 304 where the client has it already.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use sidecar_core::Clock;
use sidecar_http::Places;

use crate::accept_encoding::takes;
use crate::api::csv::Format;
use crate::api::problem::Problem;
use crate::security::guard::{Client, is_probe};

/// How long an answer is good for.
const KEPT_MS: u64 = 1_000;
/// Bytes of all kept answers. They are good for a second only: more would be memory for what nobody asks again.
const MAX_BYTES: u64 = 4 << 20;
/// How many answers that may be; only what is remembered of those that had to go depends on it.
const USUAL_ANSWERS: usize = 256;
/// Questions of one client that are worked on at a time. Its further ones wait, so that nobody else waits for more than these:
/// whoever asks for something else each time is answered from nothing that is kept.
const QUESTIONS_OF_ONE_CLIENT: usize = 4;
/// Bytes of one answer; lists are cut into pages before they come near it.
pub(crate) const MAX_ANSWER: usize = 8 << 20;

/// An answer as it is given.
#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What was asked, and in which second: all that an answer depends on, and nothing that makes two questions of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    second: u64,
    address: String,
    /// What `Accept` asks for.
    format: Format,
    /// Whether the client takes gzip.
    gzip: bool,
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
    /// The second of the last question.
    second: Arc<AtomicU64>,
    working: Places,
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
        let working = Places::new(QUESTIONS_OF_ONE_CLIENT);
        Self { cache: Arc::new(cache), second: Arc::default(), working, clock }
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
pub(crate) async fn cached(
    State(answers): State<Answers>,
    Extension(Client(client)): Extension<Client>,
    mut request: Request,
    next: Next,
) -> Response {
    let question = Question {
        second: answers.clock.now().0 / KEPT_MS,
        address: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        format: Format::accepted(request.headers()),
        gzip: takes(request.headers(), "gzip"),
    };
    answers.forget_others(question.second);
    // What is chosen by inside is exactly what the question says.
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(question.format.media_type()));
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    if question.gzip {
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // A HEAD is told the same as a GET, length and tag included; the router leaves out the body on the way out.
    *request.method_mut() = Method::GET;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    if let Some(answer) = answers.cache.get(&question) {
        return give(&answer, known.as_ref());
    }
    // Before the question is taken up, for others may ask the same and must not wait for this client's turn.
    // Probes are few and cheap, and behind a proxy they have the address of everybody.
    let _place = if is_probe(request.uri()) { None } else { Some(answers.working.wait(client).await) };
    let path = request.uri().path().to_owned();
    let compute = async || -> Result<Arc<Answer>, std::convert::Infallible> {
        Ok(Arc::new(take(next.run(request).await, &path).await))
    };
    let Ok(answer) = answers.cache.get_or_insert_async(&question, compute()).await;
    give(&answer, known.as_ref())
}

async fn take(response: Response, path: &str) -> Answer {
    let (mut parts, body) = response.into_parts();
    let body = match collect(body).await {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(path, %error, "an answer of the dashboard is too large");
            let (instead, body) = too_large(path).into_parts();
            parts = instead;
            // A few words are never too large.
            collect(body).await.unwrap_or_default()
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

async fn collect(body: Body) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let body = http_body_util::Limited::new(body, MAX_ANSWER).collect().await?;
    // A buffer that grew while it was written may be half empty; what is kept is exactly as large as it is counted.
    Ok(Bytes::copy_from_slice(&body.to_bytes()))
}

/// What is answered in the place of an answer that is too large: a page for people, a problem document for programs.
fn too_large(path: &str) -> Response {
    let why = format!("the answer to {path} has more than {} MiB", MAX_ANSWER >> 20);
    #[cfg(feature = "pages")]
    if !path.starts_with("/api/") && path != "/health" {
        return crate::pages::too_large(why);
    }
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
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
    use axum::Router;
    use futures_util::FutureExt;
    use tokio::sync::Semaphore;
    use tower_service::Service;

    use super::*;

    #[test]
    fn answers_of_another_second_are_let_go() {
        let answers = Answers::new(Arc::new(sidecar_core::ManualClock::at(stats_sv2::UnixMillis(0))));
        let question =
            |second, address: &str| Question { second, address: address.into(), format: Format::Json, gzip: false };
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

    #[test]
    fn what_is_too_large_is_said_in_the_form_of_what_was_asked_for() {
        let answer = |path: &str, bytes: usize| {
            let response = Body::from(vec![b'x'; bytes]).into_response();
            take(response, path).now_or_never().expect("nothing to wait for")
        };
        assert_eq!(answer("/api/v1/workers", MAX_ANSWER).status, StatusCode::OK);
        for (path, media_type) in [
            ("/api/v1/workers", "application/problem+json"),
            ("/health", "application/problem+json"),
            #[cfg(feature = "pages")]
            ("/workers", "text/html; charset=utf-8"),
        ] {
            let refused = answer(path, MAX_ANSWER + 1);
            assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(refused.headers[header::CONTENT_TYPE], media_type, "{path}");
            assert_eq!(refused.headers[header::CACHE_CONTROL], "no-store");
            let words = String::from_utf8(refused.body.to_vec()).unwrap();
            assert!(words.contains(&format!("the answer to {path} has more than 8 MiB")), "{words}");
        }
    }

    /// A router whose answers say with what they were asked for, once the gate is open; and how many are being made.
    fn slow() -> (Router, Arc<Semaphore>, Arc<AtomicU64>) {
        let (gate, working) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
        let (closed, begun) = (Arc::clone(&gate), Arc::clone(&working));
        let handler = async move |headers: HeaderMap| {
            begun.fetch_add(1, Relaxed);
            let _open = closed.acquire().await;
            headers.get(header::ACCEPT).map(|accept| accept.to_str().unwrap_or_default().to_owned()).unwrap_or_default()
        };
        let answers = Answers::new(Arc::new(sidecar_core::ManualClock::at(stats_sv2::UnixMillis(0))));
        let layer = axum::middleware::from_fn_with_state(answers, cached);
        (Router::new().fallback(handler).layer(layer), gate, working)
    }

    fn ask(router: &Router, client: u8, path: &str, accept: &str) -> impl Future<Output = String> + Unpin + use<> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert(header::ACCEPT, accept.parse().unwrap());
        request.extensions_mut().insert(Client([192, 0, 2, client].into()));
        let response = router.clone().call(request);
        Box::pin(async move {
            let body = response.await.unwrap().into_body().collect().await.unwrap();
            String::from_utf8(body.to_bytes().to_vec()).unwrap()
        })
    }

    #[test]
    fn a_client_that_asks_for_much_keeps_nobody_else_waiting() {
        let (router, gate, working) = slow();
        let mut asked: Vec<_> = (0..20).map(|number| ask(&router, 1, &format!("/?x={number}"), "*/*")).collect();
        for question in &mut asked {
            assert!(question.now_or_never().is_none());
        }
        assert_eq!(working.load(Relaxed), QUESTIONS_OF_ONE_CLIENT as u64);
        // Even with a question that the first has waiting.
        let mut other = ask(&router, 2, "/?x=19", "*/*");
        assert!((&mut other).now_or_never().is_none());
        assert_eq!(working.load(Relaxed), QUESTIONS_OF_ONE_CLIENT as u64 + 1);
        gate.add_permits(1_000);
        assert!(other.now_or_never().is_some());
        for mut question in asked {
            assert!((&mut question).now_or_never().is_some(), "and all of its own are answered in the end");
        }
        assert_eq!(working.load(Relaxed), 20, "each once");
    }

    #[test]
    fn words_of_accept_that_change_nothing_make_no_other_question() {
        let (router, gate, working) = slow();
        gate.add_permits(1_000);
        let answer = |accept: &str| ask(&router, 1, "/", accept).now_or_never().expect("the gate is open");
        for number in 0..50 {
            assert_eq!(answer(&format!("text/html, x/{number}")), "application/json");
        }
        assert_eq!(working.load(Relaxed), 1);
        assert_eq!(answer("text/csv;q=0.5, x/1"), "text/csv");
        assert_eq!(working.load(Relaxed), 2);
    }
}
