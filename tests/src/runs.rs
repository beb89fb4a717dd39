//! What nearly every test does with a server: upload an example, start a run, wait for a state. A
//! wait that takes a minute is a failure.

use crate::guests::guest;
use crate::process::ServerProcess;
use everstep_client::{
    Client, EntryView, Payload, RunId, RunView, StartBody, StateKind, WaitOptions, WaitOutcome,
};
use futures::TryStreamExt;
use serde_json::Value;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A start with an input and no options.
///
/// # Panics
/// Never: a value is a payload.
#[must_use]
pub fn body(workflow: &str, input: &Value) -> StartBody {
    StartBody { input: Some(Payload::from_value(input).unwrap()), ..StartBody::new(workflow) }
}

/// Uploads examples.
///
/// # Panics
/// When the server refuses one.
pub async fn upload(client: &Client, examples: &[&str]) {
    for example in examples {
        client.upload(std::fs::read(guest(example)).unwrap()).await.unwrap();
    }
}

/// A server of its own with these examples, started with further arguments. Its data lie in
/// `data` of the folder, which is the test's.
///
/// # Panics
/// When it does not start, or refuses an example.
pub async fn serve(examples: &[&str], arguments: &[&str]) -> (ServerProcess, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = ServerProcess::start_on(&data, "127.0.0.1:0", arguments);
    upload(&server.client(), examples).await;
    (server, folder)
}

/// Starts a run without options.
///
/// # Panics
/// When the server refuses.
pub async fn start(client: &Client, workflow: &str, input: &Value) -> RunId {
    client.start(&body(workflow, input)).await.unwrap().id
}

/// Waits until a run is in a state.
///
/// # Panics
/// When it ends otherwise, or takes too long.
pub async fn reach(client: &Client, id: RunId, state: StateKind) -> RunView {
    let options =
        WaitOptions { states: vec![state], timeout: Some(PATIENCE), ..WaitOptions::default() };
    let waited = client.wait(id, &options).await.unwrap();
    assert_eq!(waited.outcome, WaitOutcome::Reached, "waiting for {state:?}: {:?}", waited.run);
    waited.run
}

/// Waits until a run has completed and reads its output.
///
/// # Panics
/// When it ends otherwise, or takes too long.
pub async fn completed(client: &Client, id: RunId) -> Value {
    reach(client, id, StateKind::Completed).await.output.unwrap().read().unwrap()
}

/// The journal of a run.
///
/// # Panics
/// When there is no such run.
pub async fn journal(client: &Client, id: RunId) -> Vec<EntryView> {
    client.journal(id, 0).try_collect().await.unwrap()
}
