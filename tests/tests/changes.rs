//! What a change of the code means for runs that are under way, tried with `everstep runs replay` on
//! every kind of change.
#![allow(clippy::unwrap_used)]

use everstep_client::{EventBody, StateKind};
use everstep_tests::{
    Cli, ServerProcess, completed, guest, reach, start, through_snapshots, upload,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appending_and_other_times_are_safe_and_everything_else_is_a_readable_divergence() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let client = server.client();
    upload(&client, &["changes-base"]).await;
    let run = start(&client, "changes", &json!(null)).await;
    reach(&client, run, StateKind::AwaitingEvent).await;
    let cli = Cli::new(server.url());
    for (variant, words) in [
        ("base", None),
        ("appended", None),
        ("retimed", None),
        ("inserted", Some(["the journal has   task `first`", "the code asks for task `third`"])),
        ("removed", Some(["the journal has   task `second`", "the code asks for timer `pause`"])),
        ("reordered", Some(["the journal has   task `first`", "the code asks for task `second`"])),
        ("renamed", Some(["the journal has   task `second`", "the code asks for task `third`"])),
        ("reworded", Some(["the journal has   task `first` 1", "input: 1 → 9"])),
    ] {
        let module = guest(&format!("changes-{variant}"));
        let replay = ["runs", "replay", &run.to_string(), "--module", module.to_str().unwrap()];
        let ended = cli.run(&replay);
        match words {
            None => assert_eq!(ended.code, 0, "{variant}: {}", ended.stderr),
            Some(words) => {
                assert_eq!(ended.code, 5, "{variant}: {}", ended.stderr);
                for word in words {
                    assert!(ended.stderr.contains(word), "{variant}: {}", ended.stderr);
                }
            }
        }
    }
    // The run itself is as it was.
    let go = EventBody { name: "go".into(), data: None, reference: None };
    client.send_event(run, &go).await.unwrap();
    assert_eq!(completed(&client, run).await, json!(0));
    through_snapshots(&cli);
}
