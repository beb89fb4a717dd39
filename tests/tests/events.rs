//! Events, published states, journals that begin anew: on a real server, with kills in between.
#![allow(clippy::unwrap_used)]

use everstep_client::{
    EventBody, EventTarget, MulticastBody, Payload, ReasonBody, RunId, StartBody, StateKind,
};
use everstep_tests::{
    ServerProcess, body, completed, journal, reach, serve, start, through_snapshots,
};
use serde_json::{Value, json};

fn event(name: &str, data: &Value) -> EventBody {
    let data = Some(Payload::from_value(data).unwrap());
    EventBody { name: name.into(), data, reference: None }
}

fn referenced(name: &str, data: &Value, reference: &str) -> EventBody {
    EventBody { reference: Some(reference.into()), ..event(name, data) }
}

/// The run goes on for ever, so its journal must not: it begins anew, and forgets nothing that
/// nobody has heard yet. The server is killed between the messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_echoed_in_order_over_generations_and_kills() {
    let (server, directory) = serve(&["echo"], &[]).await;
    let address = server.address().to_owned();
    let client = server.client();
    let run = start(&client, "echo", &json!({ "per_generation": 3 })).await;
    let mut server = Some(server);
    for n in 0..20_u32 {
        let said = event("message", &json!(format!("m{n}")));
        client.send_event(run, &said).await.unwrap();
        if n % 7 == 6 {
            server.take().unwrap().kill();
            server = Some(ServerProcess::start_on(&directory.path().join("data"), &address, &[]));
        }
    }
    client.send_event(run, &event("close", &json!(null))).await.unwrap();
    let said: Vec<_> = (0..20).map(|n| format!("m{n}")).collect();
    assert_eq!(completed(&client, run).await, json!({ "said": said, "generation": 6 }));
    let view = client.run(run).await.unwrap();
    assert_eq!(view.published.unwrap().read::<Value>().unwrap(), json!(said));
    let journal = journal(&client, run).await;
    assert!(journal[0].seq > 40, "what was before is gone: {:?}", journal[0]);
    assert_eq!(journal[0].entry.event.name(), "RunContinued");
    assert!(journal.len() < 40, "{}", journal.len());
    let cli = everstep_tests::Cli::new(&format!("http://{address}"));
    let exported = cli.done(&["runs", "export", &run.to_string()]);
    let entries = exported.lines().filter(|line| line.contains("\"kind\":\"entry\"")).count();
    assert_eq!(entries, journal.len(), "what there is can be exported");
    through_snapshots(&cli);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_received_once_whatever_the_run_is_doing() {
    let (server, directory) = serve(&["pipeline"], &[]).await;
    let address = server.address().to_owned();
    let client = server.client();
    let input = json!({ "rows": 10, "sleep_ms": 1_500, "approval_ms": 60_000 });
    let run = start(&client, "pipeline", &input).await;
    reach(&client, run, StateKind::Sleeping).await;
    let yes = referenced("approval", &json!({ "by": "Ada", "granted": true }), "a-1");
    let first = client.send_event(run, &yes).await.unwrap();
    assert!(!first.duplicate);
    assert!(client.send_event(run, &yes).await.unwrap().duplicate, "while it sleeps");
    server.kill();
    let server = ServerProcess::start_on(&directory.path().join("data"), &address, &[]);
    assert!(client.send_event(run, &yes).await.unwrap().duplicate, "while it is rebuilt");
    let report = completed(&client, run).await;
    assert_eq!(report, json!({ "loaded": 5, "approved_by": "Ada" }));
    assert!(client.send_event(run, &yes).await.unwrap().duplicate, "when it has ended");
    let late = event("approval", &json!({ "by": "Eve", "granted": true }));
    let late = client.send_event(run, &late).await.unwrap_err();
    assert_eq!(late.code(), "run.illegal_transition");
    let received = journal(&client, run)
        .await
        .iter()
        .filter(|e| e.entry.event.name() == "EventReceived")
        .count();
    assert_eq!(received, 1);
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_says_whether_the_event_came_or_the_time_was_up() {
    let (server, _directory) = serve(&["pipeline"], &[]).await;
    let client = server.client();
    let input = |ms: u64| json!({ "rows": 4, "sleep_ms": 1, "approval_ms": ms });
    let run = start(&client, "pipeline", &input(50)).await;
    let failed = reach(&client, run, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "approval.timeout");
    // A wait of no time takes what is there already.
    let run =
        start(&client, "pipeline", &json!({ "rows": 4, "sleep_ms": 3_000, "approval_ms": 0 }))
            .await;
    let yes = event("approval", &json!({ "by": "Ada", "granted": true }));
    client.send_event(run, &yes).await.unwrap();
    assert_eq!(completed(&client, run).await["approved_by"], "Ada");

    let run = start(&client, "pipeline", &input(60_000)).await;
    let waiting = reach(&client, run, StateKind::AwaitingEvent).await;
    assert_eq!(waiting.event.as_deref(), Some("approval"));
    assert!(waiting.wakeup_at.is_some());
    assert_eq!(waiting.published.unwrap().as_str(), "\"waiting for approval\"");
    let no = event("approval", &json!({ "by": "Eve", "granted": false }));
    client.send_event(run, &no).await.unwrap();
    let failed = reach(&client, run, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "approval.denied");
    through_snapshots(&server.cli());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_does_not_take_is_refused_before_it_is_stored() {
    let (server, _directory) = serve(&["pipeline"], &[]).await;
    let client = server.client();
    let input = json!({ "rows": 4, "sleep_ms": 60_000, "approval_ms": 60_000 });
    let run = start(&client, "pipeline", &input).await;
    reach(&client, run, StateKind::Sleeping).await;
    let before = client.run(run).await.unwrap().journal_length;
    let long = "x".repeat(300);
    for (event, code) in [
        (event("aproval", &json!({})), "event.unknown"),
        (event("approval", &json!({ "by": 3 })), "event.invalid"),
        (event("", &json!(null)), "option.invalid"),
        (referenced("approval", &json!(null), &long), "option.invalid"),
    ] {
        let refused = client.send_event(run, &event).await.unwrap_err();
        assert_eq!(refused.code(), code, "{event:?}: {refused}");
    }
    let nobody = RunId::from_key("pipeline", "nobody");
    let refused = client.send_event(nobody, &event("approval", &json!({}))).await.unwrap_err();
    assert_eq!(refused.code(), "run.not_found");
    assert_eq!(client.run(run).await.unwrap().journal_length, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_goes_to_many_runs_and_each_answers_for_itself() {
    let (server, _directory) = serve(&["versions"], &[]).await;
    let client = server.client();
    let mut to = Vec::new();
    for n in 0..5 {
        let key = format!("guest-{n}");
        let start = StartBody {
            idempotency_key: Some(key.clone()),
            version: Some(if n % 2 == 0 { "1.0".into() } else { "2.0".into() }),
            ..body("greeting", &json!("Ada"))
        };
        client.start(&start).await.unwrap();
        to.push(EventTarget::Key { workflow: "greeting".into(), key });
    }
    let ended = RunId::from_key("greeting", "guest-4");
    reach(&client, ended, StateKind::AwaitingEvent).await;
    client.terminate(ended, &ReasonBody::default()).await.unwrap();
    to.push(EventTarget::Run { run: RunId::from_key("greeting", "nobody") });
    let body = MulticastBody { to, event: event("go", &json!(null)) };
    let results = client.multicast(&body).await.unwrap().results;
    let codes: Vec<_> = results.iter().map(|result| result.code.as_deref()).collect();
    let (over, nobody) = (Some("run.illegal_transition"), Some("run.not_found"));
    assert_eq!(codes, [None, None, None, None, over, nobody]);
    // Two versions side by side: each run keeps the one that it began with.
    for (n, said) in [(0, "Hello Ada"), (1, "Good day, Ada, and welcome")] {
        let run = RunId::from_key("greeting", &format!("guest-{n}"));
        assert_eq!(completed(&client, run).await, json!(said));
    }
    through_snapshots(&server.cli());
}
