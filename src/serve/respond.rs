//! One request: checked, then answered from what is known.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::access::Verdict;
use super::events::{Hub, MAX_VIEWERS, Viewer};
use super::page::{self, CONTENT_SECURITY_POLICY, PageFile};
use super::shared::Shared;
use super::{metrics, part, pipeline};

pub type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const EVENTS: &str = "text/event-stream";
/// Nobody has a longer address for us.
const MAX_QUERY: usize = 2_048;

impl AsRef<Hub> for Shared {
    fn as_ref(&self) -> &Hub {
        &self.hub
    }
}

pub async fn respond(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Answer, Infallible> {
    let mut answer = answer(&request, &shared).await;
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    Ok(answer)
}

async fn answer(request: &Request<Incoming>, shared: &Arc<Shared>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered");
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let (path, query) = (request.uri().path(), Query(request.uri().query().unwrap_or_default()));
    if query.0.len() > MAX_QUERY {
        return error(StatusCode::URI_TOO_LONG, "the address is too long");
    }
    match shared.access.judge(request.headers()) {
        Verdict::Allowed => {}
        Verdict::WrongHost => {
            return error(StatusCode::FORBIDDEN, "this server answers to the names of its own machine only");
        }
        Verdict::NoToken => return without_token(path, query, shared),
    }
    // A token in the address would stay in the browser's history.
    if path == "/" && query.get("token").is_some() {
        return redirect_home(None);
    }
    match path {
        "/api/status" if query.get("local").as_deref() == Some("1") => local_status(query, shared),
        "/api/status" => json_answer(StatusCode::OK, &shared.full_status().await),
        "/api/progress" => json_answer(StatusCode::OK, &pipeline::progress(&shared.full_status().await)),
        "/api/events" => events(request, query, shared).await,
        "/metrics" => {
            shared.monitor.look();
            let text = metrics::text(shared);
            typed(StatusCode::OK, METRICS, Bytes::from(text))
        }
        "/healthz" => healthy(),
        "/readyz" => ready(shared, true),
        _ => match page::file(path) {
            Some(file) => page_file(request, file),
            None => error(StatusCode::NOT_FOUND, "there is nothing here"),
        },
    }
}

/// Whoever only wants to know whether we live gets that without a token, and no words.
fn without_token(path: &str, query: Query<'_>, shared: &Arc<Shared>) -> Answer {
    match path {
        "/healthz" => return healthy(),
        "/readyz" => return ready(shared, false),
        _ => {}
    }
    let cookie = query.get("token").filter(|_| path == "/").and_then(|token| shared.access.cookie_for(&token));
    if let Some(cookie) = cookie {
        return redirect_home(Some(&cookie));
    }
    let words = "a token is needed: Authorization: Bearer …, or open /?token=… in a browser";
    let mut refusal = error(StatusCode::UNAUTHORIZED, words);
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refusal
}

fn redirect_home(cookie: Option<&str>) -> Answer {
    let mut answer = typed(StatusCode::SEE_OTHER, JSON, Bytes::new());
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(cookie).ok()) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

fn healthy() -> Answer {
    json_answer(StatusCode::OK, &json!({ "status": "ok" }))
}

fn ready(shared: &Shared, with_reasons: bool) -> Answer {
    shared.monitor.look();
    let reasons = shared.ready_reasons(&shared.moment());
    let (ready, code) = match reasons.is_empty() {
        true => (true, StatusCode::OK),
        false => (false, StatusCode::SERVICE_UNAVAILABLE),
    };
    let mut members = json!({ "ready": ready });
    if with_reasons {
        members["reasons"] = json!(reasons);
    }
    json_answer(code, &members)
}

/// What the servers of a pipeline ask each other.
fn local_status(query: Query<'_>, shared: &Arc<Shared>) -> Answer {
    shared.monitor.look();
    let number = |name: &str| query.get(name).and_then(|value| value.parse().ok());
    let wanted = part::Wanted {
        batches_after: Some(number("batches_after").unwrap_or(0)),
        lines_after: Some(number("lines_after").unwrap_or(0)),
        history_after: Some(query.get("history_after").and_then(|value| value.parse().ok()).unwrap_or(0)),
        config: query.get("config").as_deref() != Some("0"),
    };
    json_answer(StatusCode::OK, &pipeline::status(shared, part::own(shared, &wanted), Vec::new(), None))
}

async fn events(request: &Request<Incoming>, query: Query<'_>, shared: &Arc<Shared>) -> Answer {
    if request.method() == Method::HEAD {
        return typed(StatusCode::OK, EVENTS, Bytes::new());
    }
    let header = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let last = header.or_else(|| query.get("last_event_id"));
    // Before the viewer begins: its first event is then the state of now, and nothing older is news to it.
    shared.refresh().await;
    let Some(viewer) = Viewer::new(Arc::clone(shared) as _, last.as_deref()) else {
        let words = format!("{MAX_VIEWERS} viewers are connected already");
        let mut refusal = error(StatusCode::SERVICE_UNAVAILABLE, &words);
        refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        return refusal;
    };
    let body = StreamBody::new(viewer.into_stream()).boxed_unsync();
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    answer
}

fn page_file(request: &Request<Incoming>, file: &PageFile) -> Answer {
    let hash: [u8; 32] = Sha256::digest(file.bytes).into();
    let tag: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut answer = match known {
        true => typed(StatusCode::NOT_MODIFIED, file.content_type, Bytes::new()),
        false => typed(StatusCode::OK, file.content_type, Bytes::from_static(file.bytes)),
    };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    answer
}

fn error(status: StatusCode, words: &str) -> Answer {
    json_answer(status, &json!({ "error": words }))
}

fn json_answer(status: StatusCode, members: &Value) -> Answer {
    typed(status, JSON, Bytes::from(members.to_string()))
}

fn typed(status: StatusCode, content_type: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(bytes).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// `a=1&b=2`, with `%41` for what an address cannot hold.
#[derive(Clone, Copy)]
struct Query<'q>(&'q str);

impl Query<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).next()
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_with_its_escapes() {
        let query = Query("token=a%2Bb%zz&local=1&empty=&token=second");
        assert_eq!(query.get("token").as_deref(), Some("a+b%zz"));
        assert_eq!((query.get("local").as_deref(), query.get("empty").as_deref()), (Some("1"), Some("")));
        assert_eq!(query.get("missing"), None);
    }
}
