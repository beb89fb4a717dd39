//! The client against a server that follows a script: one connection after the other, each with one
//! canned answer or none. The real server is tested with the client in the whole-system tests.
#![allow(clippy::unwrap_used)]

use everstep_client::{Client, ClientError, LogEvent, Notice, RunId, StartBody, WaitOptions};
use futures::StreamExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const RUN: &str = r#"{"id":"0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f","workflow":"w","version":"1",
    "digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000",
    "state":"completed","attempt":1,"started_at":"2026-05-01T09:30:00.000Z",
    "updated_at":"2026-05-01T09:30:01.000Z","options":{},"pending":0,"journal_length":3,
    "log_lines":1,"output":{"b": 1.50}}"#;

/// What a connection answers; `None` closes it without a word.
type Answer = Option<String>;

fn json(status: &str, body: &str) -> Answer {
    Some(format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// A server-sent stream that is cut after these events.
fn events(body: &str) -> Answer {
    Some(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}"))
}

fn log(seq: u64) -> String {
    format!(
        "event: log\ndata: {{\"seq\":{seq},\"line\":{{\"at\":\"2026-05-01T09:30:00.000Z\",\
         \"level\":\"info\",\"source\":\"workflow\",\"message\":\"m{seq}\",\"attempt\":1}}}}\n\n"
    )
}

/// Serves the answers in turn and writes down the request lines.
async fn serve(answers: Vec<Answer>) -> (Client, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    tokio::spawn(async move {
        for answer in answers {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut piece = [0; 4096];
                let length = connection.read(&mut piece).await.unwrap();
                assert_ne!(length, 0, "the request has an end");
                request.extend_from_slice(&piece[..length]);
            }
            let line = String::from_utf8_lossy(&request);
            seen.lock().unwrap().push(line.lines().next().unwrap_or_default().to_owned());
            if let Some(answer) = answer {
                connection.write_all(answer.as_bytes()).await.unwrap();
                connection.shutdown().await.unwrap();
            }
        }
    });
    (client, requests)
}

fn id() -> RunId {
    "0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap()
}

/// The client, and the notices that it gave.
fn noted(client: Client, within: Duration) -> (Client, Arc<Mutex<Vec<&'static str>>>) {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let kept = notices.clone();
    let client = client.reconnecting_within(within, move |notice| {
        kept.lock().unwrap().push(match notice {
            Notice::Lost(..) => "lost",
            Notice::Back => "back",
        });
    });
    (client, notices)
}

#[tokio::test]
async fn an_answer_is_read_and_its_payload_kept_as_it_came() {
    let (client, requests) = serve(vec![json("200 OK", RUN)]).await;
    let run = client.run(id()).await.unwrap();
    assert_eq!(run.output.unwrap().as_str(), r#"{"b": 1.50}"#);
    assert_eq!(*requests.lock().unwrap(), [format!("GET /v1/runs/{} HTTP/1.1", id())]);
}

#[tokio::test]
async fn a_refusal_carries_its_code_and_its_fix() {
    let problem = r#"{"type":"https://x/run.unknown","status":404,"code":"run.unknown",
        "detail":"there is no run","fix":"look at `everstep runs list`"}"#;
    let (client, _) = serve(vec![json("404 Not Found", problem)]).await;
    let error = client.run(id()).await.unwrap_err();
    assert_eq!(error.code(), "run.unknown");
    assert_eq!(error.to_string(), "there is no run");
    assert_eq!(error.fix(), "look at `everstep runs list`");
}

#[tokio::test]
async fn strange_answers_are_named() {
    let (client, _) = serve(vec![json("200 OK", "<html>"), json("404 Not Found", "no")]).await;
    assert!(matches!(client.run(id()).await, Err(ClientError::Protocol { .. })));
    let error = client.run(id()).await.unwrap_err();
    assert!(error.to_string().contains("404 Not Found"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_not_waited_for() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let client = Client::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let started = client.start(&StartBody::new("w")).await;
    assert!(matches!(started, Err(ClientError::Unreachable { .. })), "{started:?}");
    let waited = client.wait(id(), &WaitOptions::default()).await;
    assert!(matches!(waited, Err(ClientError::Unreachable { .. })), "{waited:?}");
}

#[test]
fn addresses_are_checked() {
    for address in ["", "localhost:9090", "https://127.0.0.1", "ftp://x", "http://x/?q=1"] {
        let error = Client::new(address).unwrap_err();
        assert!(matches!(error, ClientError::Address { .. }), "{address}: {error}");
    }
}

#[tokio::test]
async fn a_wait_goes_on_when_the_server_was_away() {
    let timeout = format!(r#"{{"outcome":"timeout","run":{RUN}}}"#);
    let reached = format!(r#"{{"outcome":"reached","run":{RUN}}}"#);
    let away = json("503 Service Unavailable", "starting");
    let answers = vec![json("200 OK", &timeout), None, away, json("200 OK", &reached)];
    let (client, requests) = serve(answers).await;
    let (client, notices) = noted(client, Duration::from_secs(30));
    let mut polls = 0;
    let options = WaitOptions { poll: Duration::from_secs(1), ..WaitOptions::default() };
    let waited = client.wait_observed(id(), &options, |_| polls += 1).await.unwrap();
    assert_eq!(waited.run.id, id());
    assert_eq!((polls, requests.lock().unwrap().len()), (2, 4));
    assert_eq!(*notices.lock().unwrap(), ["lost", "back"]);
}

#[tokio::test]
async fn a_wait_survives_the_loss_of_its_first_connection() {
    let reached = format!(r#"{{"outcome":"reached","run":{RUN}}}"#);
    let (client, _) = serve(vec![None, json("200 OK", &reached)]).await;
    let waited = client.wait(id(), &WaitOptions::default()).await.unwrap();
    assert_eq!(waited.run.id, id());
}

#[tokio::test]
async fn a_wait_gives_up_on_a_server_that_stays_away() {
    let timeout = format!(r#"{{"outcome":"timeout","run":{RUN}}}"#);
    let (client, _) = serve(vec![json("200 OK", &timeout)]).await;
    let (client, notices) = noted(client, Duration::from_millis(400));
    let waited = client.wait(id(), &WaitOptions::default()).await;
    assert!(matches!(waited, Err(ClientError::Unreachable { .. })), "{waited:?}");
    assert_eq!(*notices.lock().unwrap(), ["lost"]);
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_up() {
    let timeout = format!(r#"{{"outcome":"timeout","run":{RUN}}}"#);
    let (client, requests) = serve(vec![json("200 OK", &timeout); 50]).await;
    let timeout = Some(Duration::from_millis(250));
    let options = WaitOptions { timeout, ..WaitOptions::default() };
    let waited = client.wait(id(), &options).await.unwrap();
    assert_eq!(waited.outcome, everstep_client::WaitOutcome::Timeout);
    let asked = requests.lock().unwrap().len();
    assert!((2..=5).contains(&asked), "early answers must not lead to a rush: {asked}");
}

#[tokio::test]
async fn followed_logs_go_on_behind_the_last_line() {
    let end = format!("event: end\ndata: {}\n\n", RUN.replace('\n', " "));
    let first = events(&format!("{}: alive\n\n{}event: log\ndata: {{", log(0), log(1)));
    let busy = r#"{"type":"","status":503,"code":"server.busy","detail":"","fix":""}"#;
    let problem = events(&format!("event: problem\ndata: {busy}\n\n"));
    let second = events(&format!("{}{}{end}", log(1), log(2)));
    let (client, requests) = serve(vec![first, problem, second]).await;
    let (client, notices) = noted(client, Duration::from_secs(30));
    let seen: Vec<_> = client.follow_logs(id(), 0).map(Result::unwrap).collect().await;
    let seen: Vec<_> = seen
        .iter()
        .map(|event| match event {
            LogEvent::Line(line) => line.line.message.as_str(),
            LogEvent::End(run) => run.state.as_str(),
        })
        .collect();
    assert_eq!(seen, ["m0", "m1", "m2", "completed"]);
    assert!(requests.lock().unwrap()[2].contains("from=2"));
    assert_eq!(*notices.lock().unwrap(), ["lost", "back"]);
}

#[tokio::test]
async fn pages_are_asked_for_one_after_the_other() {
    let entry = |seq: u64| {
        format!(
            r#"{{"seq":{seq},"entry":{{"at":"2026-05-01T09:30:00.000Z",
            "event":{{"type":"AttemptStarted","data":{{"attempt":1}}}}}}}}"#
        )
    };
    let first = format!(r#"{{"entries":[{},{}],"next":2}}"#, entry(0), entry(1));
    let last = format!(r#"{{"entries":[{}]}}"#, entry(2));
    let (client, requests) = serve(vec![json("200 OK", &first), json("200 OK", &last)]).await;
    let entries: Vec<_> = client.journal(id(), 0).map(|e| e.unwrap().seq).collect().await;
    assert_eq!(entries, [0, 1, 2]);
    assert!(requests.lock().unwrap()[1].contains("from=2"));
}
