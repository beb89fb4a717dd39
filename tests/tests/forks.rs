//! What-if runs: the beginning of a run with edited results, as a run of its own, which survives what
//! every run survives.
#![allow(clippy::unwrap_used)]

use everstep_client::{EntryView, EventBody, Payload, RunId, RunView, StateKind};
use everstep_tests::{Cli, ServerProcess, completed, journal, reach, serve, start};
use serde_json::{Value, json};

fn named(journal: &[EntryView], name: &str) -> u64 {
    let found = journal.iter().find(|view| view.entry.event.name() == name);
    found.unwrap_or_else(|| panic!("no {name} in {journal:#?}")).seq
}

fn approval(by: &str) -> EventBody {
    let data = Payload::from_value(&json!({"by": by, "granted": true})).unwrap();
    EventBody { name: "approval".into(), data: Some(data), reference: None }
}

/// A run of the pipeline that has completed.
async fn pipeline(server: &ServerProcess) -> RunId {
    let client = server.client();
    let input = json!({"rows": 4, "sleep_ms": 1, "approval_ms": 600_000});
    let run = start(&client, "pipeline", &input).await;
    reach(&client, run, StateKind::AwaitingEvent).await;
    client.send_event(run, &approval("Ada")).await.unwrap();
    completed(&client, run).await;
    run
}

fn fork(cli: &Cli, arguments: &[&str]) -> (RunId, Value) {
    let said = cli.json::<Value>(&[&["runs", "fork"], arguments].concat()).remove(0);
    (said["id"].as_str().unwrap().parse().unwrap(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_event_makes_another_run_of_it() {
    let (server, _folder) = serve(&["pipeline"], &[]).await;
    let (client, cli) = (server.client(), server.cli());
    let run = pipeline(&server).await;
    let before = journal(&client, run).await;
    let (id, end) = (run.to_string(), before.len().to_string());
    let no = r#"4={"by":"Bob","granted":false}"#;
    let (other, said) = fork(&cli, &[&id, "--at", &end, "--edit", no, "--key", "k"]);
    assert_eq!(said["created"], true);
    // The journal ends where the workflow is told of the event.
    assert_eq!(said["at"], named(&before, "Delivered"));
    let failed = reach(&client, other, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "approval.denied");
    let fork_of = failed.forked_from.unwrap();
    assert_eq!((fork_of.run, json!(fork_of.at)), (run, said["at"].clone()));
    let shown = cli.done(&["runs", "show", &other.to_string()]);
    assert!(shown.contains(&format!("{run} at position {}", fork_of.at)), "{shown}");

    // The tasks in front of it were not executed again, and the original is as it was.
    let after = journal(&client, other).await;
    let names = |journal: &[EntryView]| -> Vec<_> {
        journal.iter().map(|view| view.entry.event.name()).collect()
    };
    let cut = usize::try_from(fork_of.at).unwrap();
    assert_eq!(names(&after)[..cut], names(&before)[..cut]);
    assert_eq!(names(&after)[cut..], ["RunForked", "Delivered", "RunFailed"]);
    assert_eq!(journal(&client, run).await, before);
    let _ = cli.done(&["runs", "replay", &other.to_string()]);
    let diff = cli.run(&["runs", "diff", &id, &other.to_string(), "--json"]);
    let diff: Value = serde_json::from_str(&diff.stdout).unwrap();
    assert_eq!(diff["difference"]["fields"][0]["path"], "value.by");

    // The same request with the same key is the same fork.
    let (again, said) = fork(&cli, &[&id, "--at", &end, "--edit", no, "--key", "k"]);
    assert_eq!((again, &said["created"]), (other, &json!(false)));
    cli.run(&["runs", "fork", &id, "--at", "3", "--key", "k"]).refused(1, "key.input_mismatch");
    assert_eq!(cli.json::<RunView>(&["runs", "list"]).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_changes_a_later_input_cuts_there() {
    let (server, _folder) = serve(&["pipeline"], &[]).await;
    let (client, cli) = (server.client(), server.cli());
    let run = pipeline(&server).await;
    let before = journal(&client, run).await;
    let end = before.len().to_string();
    // What is extracted is the input of what transforms: that is asked for anew, and all behind it.
    let (other, said) = fork(&cli, &[&run.to_string(), "--at", &end, "--edit", "1=[2,4,6]"]);
    assert_eq!(said["at"], named(&before, "TaskCompleted"));
    reach(&client, other, StateKind::AwaitingEvent).await;
    client.send_event(other, &approval("Bob")).await.unwrap();
    assert_eq!(completed(&client, other).await, json!({"loaded": 3, "approved_by": "Bob"}));
    assert_eq!(completed(&client, run).await, json!({"loaded": 2, "approved_by": "Ada"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_is_a_run_like_any_other() {
    let (server, folder) = serve(&["pipeline"], &[]).await;
    let run = pipeline(&server).await;
    let at = named(&journal(&server.client(), run).await, "EventReceived").to_string();
    let cli = server.cli();
    let (one, _) = fork(&cli, &[&run.to_string(), "--at", &at]);
    let (other, _) = fork(&cli, &[&one.to_string(), "--at", &at]);
    for fork in [one, other] {
        let shown = reach(&server.client(), fork, StateKind::AwaitingEvent).await;
        assert_eq!(shown.published.unwrap().as_str(), "\"waiting for approval\"");
    }
    // It survives the server, is told things, and can be cancelled.
    server.kill();
    let server = ServerProcess::start(&folder.path().join("data"));
    let client = server.client();
    client.send_event(one, &approval("Cy")).await.unwrap();
    assert_eq!(completed(&client, one).await["approved_by"], "Cy");
    let _ = server.cli().done(&["runs", "cancel", &other.to_string()]);
    reach(&client, other, StateKind::Cancelled).await;
    assert_eq!(completed(&client, run).await["approved_by"], "Ada");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_children_of_a_fork_are_its_own() {
    let (server, _folder) = serve(&["family"], &[]).await;
    let (client, cli) = (server.client(), server.cli());
    let run = start(&client, "gather", &json!({"children": 3})).await;
    assert_eq!(completed(&client, run).await, 14);
    let at = named(&journal(&client, run).await, "ChildEnded").to_string();
    let (other, _) = fork(&cli, &[&run.to_string(), "--at", &at]);
    assert_eq!(completed(&client, other).await, 14);
    let children = |parent: RunId| {
        let parent = parent.to_string();
        cli.json::<RunView>(&["runs", "list", "--workflow", "square", "--parent", &parent])
    };
    assert_eq!((children(run).len(), children(other).len()), (3, 3));
    // One that had ended keeps its result, edited or not.
    let end = journal(&client, run).await.len().to_string();
    let (other, _) = fork(&cli, &[&run.to_string(), "--at", &end, "--edit", "1=100"]);
    assert_eq!(completed(&client, other).await, 113);
    assert_eq!(children(other).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_forked_is_refused() {
    let (server, _folder) = serve(&["pipeline"], &[]).await;
    let (client, cli) = (server.client(), server.cli());
    let run = pipeline(&server).await.to_string();
    let end = journal(&client, run.parse().unwrap()).await.len().to_string();
    for (arguments, code) in [
        (&["--at", &end][..], "fork.ended"),
        (&["--at", "0"], "fork.position"),
        (&["--at", "999"], "fork.position"),
        (&["--at", &end, "--edit", "9=1"], "fork.no_result"),
        (&["--at", &end, "--edit", "3=1"], "fork.no_result"),
        (&["--at", "2", "--edit", "1=1"], "fork.no_result"),
        (&["--at", &end, "--edit", "1=[9]", "--edit", "4=1"], "fork.edit_unused"),
    ] {
        cli.run(&[&["runs", "fork", &run], arguments].concat()).refused(1, code);
    }
    let nobody = RunId::from_key("w", "nobody").to_string();
    cli.run(&["runs", "fork", &nobody, "--at", "1"]).refused(1, "run.not_found");
    assert_eq!(cli.json::<RunView>(&["runs", "list"]).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_sees_what_its_original_has_seen() {
    let (server, _folder) = serve(&["echo"], &[]).await;
    let (client, cli) = (server.client(), server.cli());
    let run = start(&client, "echo", &json!({"per_generation": 2})).await;
    reach(&client, run, StateKind::AwaitingEvent).await;
    let say = |words: &str| EventBody {
        name: "message".into(),
        data: Some(Payload::from_value(words).unwrap()),
        reference: None,
    };
    client.send_event(run, &say("one")).await.unwrap();
    let before = journal(&client, run).await;
    // The name of the sleep is a random number, which comes from the id that the workflow sees.
    let (value, sleep) = (named(&before, "ValueRecorded"), named(&before, "TimerStarted"));
    let at = (before.len() as u64).to_string();
    let edit = format!("@{value}=\"edited\"");
    let (fork, said) = fork(&cli, &[&run.to_string(), "--at", &at, "--edit", &edit]);
    assert!(said["at"].as_u64().unwrap() > sleep, "{said}");
    client.send_event(fork, &say("two")).await.unwrap();
    // It begins anew, and begins anew again from where it is.
    let close = EventBody { name: "close".into(), data: None, reference: None };
    client.send_event(fork, &close).await.unwrap();
    let ended = completed(&client, fork).await;
    assert_eq!(ended["said"], json!(["one", "two"]), "{ended}");
    let _ = cli.done(&["runs", "replay", &fork.to_string()]);
    reach(&client, run, StateKind::AwaitingEvent).await;
}
