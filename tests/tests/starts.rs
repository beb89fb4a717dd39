//! Starts for later and starts with a key, on a real server.
#![allow(clippy::unwrap_used)]

use everstep_client::{RunId, RunView, StartBody, StateKind, Timestamp};
use everstep_core::JournalEvent;
use everstep_tests::{ServerProcess, body, completed, journal, reach, serve};
use serde_json::json;
use std::time::SystemTime;

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

/// When the first attempt of a run began.
async fn began(server: &ServerProcess, run: RunId) -> Timestamp {
    let entries = journal(&server.client(), run).await;
    let began = |event: &JournalEvent| matches!(event, JournalEvent::AttemptStarted { .. });
    entries.iter().find(|view| began(&view.entry.event)).unwrap().entry.at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_for_later_begins_at_its_time() {
    let (server, _directory) = serve(&["morning"], &[]).await;
    let (cli, client) = (server.cli(), server.client());
    let start = ["start", "morning", "--input", "\"Ann\""];
    let at = now().plus(700);
    let run: RunId = cli.done(&[&start[..], &["--at", &at.to_string()]].concat()).parse().unwrap();
    assert_eq!(completed(&client, run).await["text"], "Good morning, Ann!");
    assert!(began(&server, run).await >= at);

    let asked = now();
    let run: RunId = cli.done(&[&start[..], &["--delay", "600ms"]].concat()).parse().unwrap();
    completed(&client, run).await;
    assert!(began(&server, run).await >= asked.plus(600));

    let past: RunId =
        cli.done(&[&start[..], &["--at", "2001-01-01T00:00:00Z"]].concat()).parse().unwrap();
    completed(&client, past).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_is_no_part_of_the_time_limit() {
    let (server, _directory) = serve(&["morning", "onboarding"], &[]).await;
    let client = server.client();
    // Were the delay counted, the limit would pass before the run begins.
    let start = StartBody {
        delay_ms: Some(6_000),
        timeout_ms: Some(5_000),
        ..body("morning", &json!("Ann"))
    };
    let run = client.start(&start).await.unwrap().id;

    // The limit itself holds, counted from there.
    let input = json!({"user_id": "u1", "email": "ann@example.com", "sleep_ms": 86_400_000});
    let sleepy = StartBody {
        delay_ms: Some(300),
        timeout_ms: Some(1_500),
        ..body("user-onboarding", &input)
    };
    let sleepy = client.start(&sleepy).await.unwrap().id;
    let failed = reach(&client, sleepy, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "run.timeout");
    assert!(failed.updated_at >= failed.started_at.plus(1_800), "{}", failed.updated_at);

    let view = reach(&client, run, StateKind::Completed).await;
    assert!(began(&server, run).await >= view.started_at.plus(6_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_names_one_run_whatever_it_is_made_from() {
    let (server, _directory) = serve(&["fan-out"], &[]).await;
    let cli = server.cli();
    let start = |input: &str, more: &[&str]| {
        cli.run(&[&["start", "fan-out", "--input", input][..], more].concat())
    };
    for by in [["--key", "tasks-2"], ["--key-template", "tasks-${tasks}"]] {
        let first = start(r#"{"tasks": 2}"#, &by);
        assert_eq!(first.code, 0, "{first:?}");
        assert_eq!(first.stdout.trim(), RunId::from_key("fan-out", "tasks-2").to_string());
        let again =
            start(r#"{"tasks": 2}"#, &[&by[..], &["--on-conflict", "return-existing"]].concat());
        assert_eq!((again.code, &again.stdout), (0, &first.stdout), "{again:?}");
        assert!(again.stderr.contains("the key names a run that exists"), "{again:?}");
        start(r#"{"tasks": 2}"#, &[&by[..], &["--on-conflict", "error"]].concat())
            .refused(1, "key.taken");
        start(r#"{"tasks":  2}"#, &by).refused(1, "key.input_mismatch");
    }
    start(r#"{"tasks": 2}"#, &["--key-template", "${task}"]).refused(1, "key.template");
    assert_eq!(cli.json::<RunView>(&["runs", "list"]).len(), 1);
}
