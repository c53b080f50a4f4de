//! The server over real sockets, with a monitor that no loop feeds.

mod end;
mod processes;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::config::Overrides;
use crate::lake::{FolderSize, Head};
use crate::model::{Counts, PartitionOffset, Totals};
use crate::pipeline::monitor::{Service, Standing};

/// Longest real time an answer may take: reached only by one that never comes.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings(folder: &Path, status: Value) -> Arc<Settings> {
    let tree = json!({
        "kafka": { "brokers": "localhost:9092", "topic": "orders", "properties": { "sasl.password": "s3cret-word" } },
        "datalake": { "path": folder.join("lake") },
        "streaming": { "checkpoint_location": folder.join("checkpoint") },
        "status": status,
    });
    Arc::new(Settings::in_memory(&Overrides { tree: Some(tree), ..Overrides::default() }).unwrap())
}

fn start(settings: &Arc<Settings>, role: Role, run_id: &str) -> Server {
    try_start(settings, role, run_id).expect("a free port")
}

fn try_start(settings: &Arc<Settings>, role: Role, run_id: &str) -> Option<Server> {
    let (settings, run_id) = (Arc::clone(settings), run_id.to_owned());
    Server::start(Setup { settings, role, run_id, monitor: Monitor::default(), stop: None })
}

/// A server on a free port, and its folder.
fn server(status: Value) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut status = status;
    status["port"] = json!(0);
    (start(&settings(folder.path(), status), Role::Consumer, "0000aaaa-1"), folder)
}

fn address(server: &Server) -> String {
    server.url().trim_start_matches("http://").trim_end_matches('/').to_owned()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(address(server)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back for these bytes until the server closes.
fn raw(server: &Server, request: &str) -> String {
    let mut stream = connect(server);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A refusal may come with a reset, when the request was not read to its end.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get_with(server: &Server, path: &str, headers: &str) -> (u16, String, String) {
    let answer = raw(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (code, head.to_ascii_lowercase(), body.to_owned())
}

fn get(server: &Server, path: &str) -> (u16, String) {
    let (code, _, body) = get_with(server, path, "");
    (code, body)
}

fn status(server: &Server) -> Value {
    let (code, body) = get(server, "/api/status");
    assert_eq!(code, 200, "{body}");
    // Whole answers come in one piece: their length is known.
    serde_json::from_str(&body).unwrap()
}

fn part<'s>(status: &'s Value, role: &str) -> &'s Value {
    let parts = status["parts"].as_array().unwrap();
    parts.iter().find(|part| part["role"] == role).unwrap_or(&Value::Null)
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "it never came");
        std::thread::yield_now();
    }
}

#[test]
fn every_address_answers_and_nothing_else_does() {
    let (server, _folder) = server(json!({}));
    for path in ["/", "/api/status", "/api/progress", "/metrics", "/healthz"] {
        assert_eq!(get(&server, path).0, 200, "{path}");
    }
    let (code, head, _) = get_with(&server, "/", "");
    assert_eq!(code, 200);
    assert!(head.contains("content-security-policy: default-src 'none'") && head.contains("nosniff"), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    assert_eq!(get_with(&server, "/", &format!("If-None-Match: {tag}\r\n")).0, 304);
    for path in ["/page/none.js", "/api", "/../Cargo.toml", "/%2e%2e/secret"] {
        assert_eq!(get(&server, path).0, 404, "{path}");
    }
}

#[test]
fn requests_that_are_none_of_ours_are_refused() {
    let (server, _folder) = server(json!({}));
    let code = |request: &str| raw(&server, request).split(' ').nth(1).unwrap_or("none").to_owned();
    let with = |line: &str, rest: &str| code(&format!("{line}\r\nHost: localhost\r\nConnection: close\r\n{rest}\r\n"));
    assert_eq!(with("POST /api/status HTTP/1.1", "Content-Length: 2\r\n"), "405");
    assert_eq!(with("DELETE / HTTP/1.1", ""), "405");
    assert_eq!(with("GET / HTTP/1.1", &format!("X: {}\r\n", "y".repeat(64 * 1024))), "431");
    assert_eq!(with("GET / HTTP/1.1", &"A: b\r\n".repeat(100)), "431");
    assert_eq!(with(&format!("GET /?{} HTTP/1.1", "q".repeat(4_000)), ""), "414");
    assert_eq!(code("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), "403");
    assert_eq!(code("nonsense\r\n\r\n"), "400");
    assert_eq!(get(&server, "/healthz").0, 200, "it is none the worse for it");
}

#[test]
fn a_head_request_gets_no_body_and_no_stream() {
    let (server, _folder) = server(json!({}));
    for path in ["/", "/api/events", "/metrics"] {
        let answer = raw(&server, &format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{path}: {answer}");
    }
}

#[test]
fn a_token_opens_everything_and_without_it_only_health_answers() {
    let token = "0123456789abcdef0123";
    let (server, _folder) = server(json!({ "host": "0.0.0.0", "token": token }));
    for path in
        ["/", "/api/status", "/api/events", "/metrics", "/?token=wrong", "/api/status?token=0123456789abcdef0123"]
    {
        let (code, body) = get(&server, path);
        assert_eq!(code, 401, "{path}");
        assert!(!body.contains(token));
    }
    assert_eq!(get(&server, "/healthz").0, 200);
    let (code, body) = get(&server, "/readyz");
    assert_eq!((code, body.as_str()), (503, "{\"ready\":false}"), "no words without the token");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(get_with(&server, "/api/status", &bearer).0, 200);
    let (code, head, _) = get_with(&server, &format!("/?token={token}"), "");
    assert_eq!(code, 303);
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(get_with(&server, "/", &cookie).0, 200);
    let (code, head, _) = get_with(&server, &format!("/?token={token}"), &cookie);
    assert!(code == 303 && head.contains("location: /"), "the token goes from the address");
    assert!(!status_text(&server, &cookie).contains(token), "the configuration is shown without it");
}

fn status_text(server: &Server, headers: &str) -> String {
    get_with(server, "/api/status", headers).2
}

#[test]
fn no_secret_is_shown() {
    let (server, _folder) = server(json!({}));
    let text = status_text(&server, "");
    assert!(text.contains("sasl.password") && !text.contains("s3cret-word"));
}

#[test]
fn ready_means_running_with_every_service_and_little_lag() {
    let (server, _folder) = server(json!({}));
    let ready = || {
        let (code, body) = get(&server, "/readyz");
        let reason = serde_json::from_str::<Value>(&body).unwrap()["reasons"][0]["code"].clone();
        (code, reason)
    };
    assert_eq!(ready(), (503, json!("starting")));
    let monitor = &server.shared.monitor;
    monitor.enter(Phase::Running);
    monitor.answered(Service::Kafka);
    assert_eq!(ready(), (200, Value::Null));
    monitor.failed(Service::Kafka, &Error::new(crate::error::Kind::Broker, "no broker answers"));
    assert_eq!(ready(), (503, json!("service_away")));
    let (_, text) = get(&server, "/metrics");
    assert!(text.contains("foodstream_service_up{service=\"kafka\"} 0"), "{text}");
    assert!(text.contains("foodstream_ready 0"), "{text}");
}

#[test]
fn what_lags_to_an_unknown_degree_is_not_ready_and_shows_no_figure() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), json!({ "port": 0 }));
    let reasons = |server: &Server| {
        let (code, body) = get(server, "/readyz");
        (code, serde_json::from_str::<Value>(&body).unwrap()["reasons"].clone())
    };
    let producer = start(&settings, Role::Producer, "0000aaaa-1");
    producer.shared.monitor.enter(Phase::Running);
    let unknown = json!([{ "code": "lag", "text": "how far behind the producer is is not known yet" }]);
    assert_eq!(reasons(&producer), (503, unknown), "no page of the table came yet");
    let consumer = start(&settings, Role::Consumer, "0000bbbb-1");
    let monitor = &consumer.shared.monitor;
    monitor.enter(Phase::Running);
    stand(monitor, &[0, 1], &[(0, 5)]);
    assert_eq!(reasons(&consumer).1[0]["code"], "lag", "the end of one partition is not known");
    let shown = status(&consumer);
    let own = part(&shown, "consumer");
    assert_eq!((&own["consumer"]["messages_behind"], &own["lag_sec"]), (&Value::Null, &Value::Null), "{shown}");
    assert_eq!(shown["lag"]["seconds"], Value::Null);
    let metrics = get(&consumer, "/metrics").1;
    assert!(!metrics.contains("\nfoodstream_lag_seconds"), "{metrics}");
    // The loop looks all the while; one look is soon old.
    eventually(|| {
        stand(monitor, &[0, 1], &[(0, 5), (1, 5)]);
        let metrics = get(&consumer, "/metrics").1;
        reasons(&consumer) == (200, json!([])) && metrics.contains("\nfoodstream_lag_seconds{stage=\"readable\"} 0\n")
    });
    stand(monitor, &[], &[]);
    assert_eq!(reasons(&consumer), (200, json!([])), "one that waits for partitions does all it has to");
}

/// A look of the consumer's loop at a lake that has five messages of each of two partitions.
fn stand(monitor: &Monitor, assigned: &[i32], ends: &[(i32, i64)]) {
    let head = Head {
        number: 1,
        hash: String::new(),
        positions: [(0, 5), (1, 5)].into(),
        topic: "orders".to_owned(),
        topic_id: "id".to_owned(),
        counts: Counts { input: 10, accepted: 10, rejected: 0 },
        totals: Totals::default(),
    };
    let ends = ends.iter().map(|&(partition, offset)| PartitionOffset { partition, offset }).collect();
    monitor.standing(Standing { head: &head, assigned: assigned.to_vec(), ends, open: 0 });
}

#[test]
fn a_lake_with_rows_that_was_not_listed_yet_has_no_known_size() {
    let folders = [("2026-11-28", 2, 30), ("2026-11-29", 1, 12)];
    let listed = BTreeMap::from(folders.map(|(date, files, bytes)| {
        let date: chrono::NaiveDate = date.parse().unwrap();
        (date, FolderSize { files, bytes })
    }));
    assert_eq!(part::lake_size(&listed, 7), Some(FolderSize { files: 3, bytes: 42 }));
    assert_eq!(part::lake_size(&BTreeMap::new(), 7), None);
    assert_eq!(part::lake_size(&BTreeMap::new(), 0), Some(FolderSize::default()));
}

#[test]
fn a_stream_begins_with_the_state_and_goes_on() {
    let (server, _folder) = server(json!({}));
    let mut stream = connect(&server);
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while text.matches("event: status").count() < 2 {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the stream ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(text.contains("content-type: text/event-stream") && text.contains("retry: 1000"), "{text}");
    assert_eq!(server.shared.hub.viewers(), 1);
    drop(stream);
    eventually(|| server.shared.hub.viewers() == 0);
}

#[test]
fn without_a_token_nothing_is_served_beyond_this_machine_whatever_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), json!({ "port": 0 }));
    // As a name that passes for this machine's stands for another address.
    Arc::make_mut(&mut settings).status.host = "0.0.0.0".to_owned();
    assert!(try_start(&settings, Role::Consumer, "0000aaaa-1").is_none());
    Arc::make_mut(&mut settings).status.token = Some("0123456789abcdef0123".into());
    assert!(try_start(&settings, Role::Consumer, "0000aaaa-1").is_some());
}

#[test]
fn a_port_that_is_taken_leaves_the_pipeline_without_a_page() {
    let (first, folder) = server(json!({}));
    let port: u16 = address(&first).rsplit(':').next().unwrap().parse().unwrap();
    let taken = settings(folder.path(), json!({ "port": port }));
    assert!(try_start(&taken, Role::Consumer, "0000bbbb-1").is_none());
    let free = settings(folder.path(), json!({}));
    let next = start(&free, Role::Consumer, "0000cccc-1");
    assert_ne!(address(&next), address(&first));
}

#[test]
fn more_connections_than_there_may_be_are_refused_and_the_others_go_on() {
    let (server, _folder) = server(json!({}));
    let idle: Vec<TcpStream> = (0..connection::MAX_CONNECTIONS).map(|_| connect(&server)).collect();
    let refused = || {
        let mut one_more = connect(&server);
        let _ = one_more.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        let _ = one_more.read_to_end(&mut answer);
        answer.is_empty()
    };
    eventually(refused);
    drop(idle);
    eventually(|| get(&server, "/healthz").0 == 200);
}
