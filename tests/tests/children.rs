//! Child runs on a real server: gathered, cancelled in a cascade, abandoned, told things.
#![allow(clippy::unwrap_used)]

use everstep_client::{
    CancelBody, Client, EventBody, Payload, ReasonBody, RunFilter, RunId, RunView, StateKind,
};
use everstep_core::OpId;
use everstep_tests::{ServerProcess, completed, journal, reach, serve, start, through_snapshots};
use futures::TryStreamExt;
use serde_json::json;
use std::time::Duration;

async fn children(client: &Client, parent: RunId) -> Vec<RunView> {
    let filter = RunFilter { parent: Some(parent), ..RunFilter::default() };
    client.runs_stream(filter).try_collect().await.unwrap()
}

fn go(n: u64) -> EventBody {
    let data = Some(Payload::from_value(&n).unwrap());
    EventBody { name: "go".into(), data, reference: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_gathered() {
    let (server, _directory) = serve(&["family"], &[]).await;
    let client = server.client();
    let run = start(&client, "gather", &json!({ "children": 12 })).await;
    assert_eq!(completed(&client, run).await, json!(650));
    let children = children(&client, run).await;
    assert_eq!(children.len(), 12);
    assert!(children.iter().all(|child| child.parent == Some(run)));
    assert!(children.iter().all(|child| child.state == StateKind::Completed));
    assert_eq!(client.run(run).await.unwrap().pending, 0);
    through_snapshots(&server.cli());
}

/// Many at once, and the server killed in the middle: every child runs once, every end is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_children_survive_kills() {
    let (server, directory) = serve(&["family"], &[]).await;
    let address = server.address().to_owned();
    let client = server.client();
    let run = start(&client, "gather", &json!({ "children": 12 })).await;
    let many = start(&client, "gather", &json!({ "children": 200 })).await;
    let mut server = Some(server);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(120)).await;
        server.take().unwrap().kill();
        server = Some(ServerProcess::start_on(&directory.path().join("data"), &address, &[]));
    }
    // One of the two hundred is unlucky, so the whole fails, and what is still open is stopped.
    let failed = reach(&client, many, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "number.unlucky");
    assert_eq!(completed(&client, run).await, json!(650));
    assert_eq!(children(&client, run).await.len(), 12);
    let all = children(&client, many).await;
    assert_eq!(all.len(), 200);
    for child in all {
        let options = everstep_client::WaitOptions::default();
        assert!(client.wait(child.id, &options).await.unwrap().run.state.is_terminal());
    }
}

async fn descend(client: &Client, top: RunId, levels: usize) -> Vec<RunId> {
    let mut line = vec![top];
    while line.len() < levels {
        let above = reach(client, *line.last().unwrap(), StateKind::AwaitingChild).await;
        let child = above.child.unwrap();
        // The parent knows the id before the child is there.
        while client.run(child).await.is_err_and(|error| error.code() == "run.not_found") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        line.push(child);
    }
    reach(client, *line.last().unwrap(), StateKind::AwaitingEvent).await;
    line
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_goes_down_three_levels() {
    let (server, _directory) = serve(&["family"], &[]).await;
    let client = server.client();
    let top = start(&client, "cascade", &json!({ "levels": 3 })).await;
    let line = descend(&client, top, 3).await;
    client.cancel(top, &CancelBody::default()).await.unwrap();
    for run in &line {
        reach(&client, *run, StateKind::Cancelled).await;
    }
    // And an end that is not a cancel does the same.
    let top = start(&client, "cascade", &json!({ "levels": 3 })).await;
    let line = descend(&client, top, 3).await;
    let terminated = client.terminate(line[1], &ReasonBody { reason: Some("enough".into()) }).await;
    assert_eq!(terminated.unwrap().state, StateKind::Cancelled);
    reach(&client, line[2], StateKind::Cancelled).await;
    let failed = reach(&client, top, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "child.cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_child_goes_on_alone() {
    let (server, _directory) = serve(&["family"], &[]).await;
    let client = server.client();
    let top = start(&client, "cascade", &json!({ "levels": 2, "abandon": true })).await;
    let line = descend(&client, top, 2).await;
    client.cancel(top, &CancelBody::default()).await.unwrap();
    reach(&client, top, StateKind::Cancelled).await;
    assert_eq!(client.run(line[1]).await.unwrap().state, StateKind::AwaitingEvent);
    client.send_event(line[1], &go(9)).await.unwrap();
    assert_eq!(completed(&client, line[1]).await, json!(9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_value_comes_up_again_through_all_levels() {
    let (server, _directory) = serve(&["family"], &[]).await;
    let client = server.client();
    let top = start(&client, "cascade", &json!({ "levels": 4 })).await;
    let line = descend(&client, top, 4).await;
    let started_at = client.run(top).await.unwrap().started_at;
    assert_eq!(line[1], top.child(OpId(1), started_at), "a child's id comes from its parent");
    client.send_event(line[3], &go(7)).await.unwrap();
    assert_eq!(completed(&client, top).await, json!(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parent_and_child_tell_each_other_things() {
    let (server, _directory) = serve(&["family"], &[]).await;
    let client = server.client();
    let run = start(&client, "mentor", &json!({ "patience_ms": 30 })).await;
    let lesson = json!({ "hurried": true, "heard": "how long may I take?", "learned": 42 });
    assert_eq!(completed(&client, run).await, lesson);
    // An event that is sent in the very activation that starts the child comes behind the start.
    for _ in 0..10 {
        let run = start(&client, "hasty", &json!(null)).await;
        assert_eq!(completed(&client, run).await, json!(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_cannot_be_started_is_an_error_of_the_author() {
    let (server, _directory) = serve(&["family"], &[]).await;
    let client = server.client();
    let run = start(&client, "strange", &json!({ "workflow": "nothing" })).await;
    let failed = reach(&client, run, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "run.unknown_workflow");
    let run = start(&client, "strange", &json!({ "workflow": "square" })).await;
    let failed = reach(&client, run, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "input.invalid");
    assert!(children(&client, run).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_of_a_workflow_with_a_key_are_children_all_the_same() {
    let (server, _directory) = serve(&["family"], &[]).await;
    let client = server.client();
    let taken = start(&client, "named", &json!({ "name": "Ann" })).await;
    assert_eq!(completed(&client, taken).await, json!("Ann"));
    let run = start(&client, "twins", &json!({ "name": "Ann" })).await;
    assert_eq!(completed(&client, run).await, json!(["Ann", "Ann"]));
}

/// A run that starts itself for ever is stopped at some depth, and all of it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_are_bounded() {
    let (server, _directory) = serve(&["family"], &[]).await;
    let client = server.client();
    let run = start(&client, "cascade", &json!({ "levels": 1_000 })).await;
    let failed = reach(&client, run, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "child.too_deep");
    let names: Vec<_> =
        journal(&client, run).await.iter().map(|view| view.entry.event.name()).collect();
    assert_eq!(
        names,
        [
            "RunStarted",
            "AttemptStarted",
            "ChildScheduled",
            "MessageTaken",
            "ChildEnded",
            "Delivered",
            "RunFailed"
        ]
    );
}
