//! The command line against a real server: what each verb prints, how it exits, and that what is
//! refused has changed nothing.
#![allow(clippy::unwrap_used)]

use everstep_client::{EntryView, LogLineView, RunId, RunView, StateKind};
use everstep_tests::{Cli, ServerProcess, everstep, guest, reach, serve};
use serde_json::Value;
use std::process::Command;

const SIGNUP: &str = r#"{"user_id": "u1", "email": "ann@example.com", "sleep_ms": 1}"#;
const PATIENT: &str = r#"{"user_id": "u1", "email": "ann@example.com", "sleep_ms": 86400000}"#;

struct Fixture {
    server: ServerProcess,
    cli: Cli,
    directory: tempfile::TempDir,
}

async fn with(examples: &[&str]) -> Fixture {
    let (server, directory) = serve(examples, &[]).await;
    Fixture { cli: server.cli(), server, directory }
}

impl Fixture {
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Starts a run and gives its id as text.
    fn start(&self, arguments: &[&str]) -> String {
        let id = self.cli.done(&[&["start"], arguments].concat());
        assert!(id.parse::<RunId>().is_ok(), "{id:?} is not just an id");
        id
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_workflow_module_is_not_taken() {
    let fixture = with(&[]).await;
    let whole = std::fs::read(guest("morning")).unwrap();
    for (name, bytes, code) in [
        ("text", &b"this is not a component"[..], "module.not_wasm"),
        ("empty", b"", "module.not_wasm"),
        ("core", b"\0asm\x01\0\0\0", "module.core_module"),
        ("bare", b"\0asm\x0d\0\x01\0", "module.missing_export"),
        ("half", &whole[..whole.len() / 2], "module.invalid"),
    ] {
        let said = fixture.cli.run(&["upload", &fixture.file(name, bytes)]);
        assert!(said.stderr.contains(code), "{name}: {said:?}");
        said.refused(1, code);
    }
    fixture.cli.run(&["upload", "/no/such/file"]).refused(2, "file.unreadable");
    assert!(fixture.server.client().modules().await.unwrap().modules.is_empty());

    let component = guest("morning");
    let upload = ["upload", component.to_str().unwrap()];
    let digest = fixture.cli.done(&upload);
    let again = fixture.cli.run(&upload);
    assert_eq!((again.code, again.stdout.trim()), (0, digest.as_str()));
    assert!(again.stderr.contains("has it already"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_makes_no_sense_leaves_nothing_behind() {
    let fixture = with(&["payment", "morning"]).await;
    let large = format!("\"{}\"", "a".repeat(3 << 20));
    let large = format!("@{}", fixture.file("large.json", large.as_bytes()));
    let long_key = "k".repeat(257);
    for (arguments, code, words) in [
        (&["paymnt"][..], "run.unknown_workflow", &["paymnt", "payment", "morning"][..]),
        (&["payment", "--version", "9.9"], "run.unknown_version", &["9.9", "1.0"]),
        (&["payment", "--input", r#"{"amount_cents":"x"}"#], "input.invalid", &["amount_cents"]),
        (&["payment"], "input.invalid", &["object"]),
        (&["morning", "--input", "\"a\"", "--key", ""], "key.invalid", &["256"]),
        (&["morning", "--input", "\"a\"", "--key", &long_key], "key.invalid", &["256"]),
        (&["morning", "--input", &large], "payload.too_large", &[]),
    ] {
        let said = fixture.cli.run(&[&["start"], arguments].concat());
        said.refused(1, code);
        for word in words {
            assert!(said.stderr.contains(word), "{word} is not in {said:?}");
        }
    }
    assert!(fixture.cli.json::<RunView>(&["runs", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_has_one_server() {
    let fixture = with(&[]).await;
    let second = Command::new(everstep())
        .args(["server", "--listen", "127.0.0.1:0", "--store"])
        .arg(fixture.directory.path().join("data"))
        .output()
        .unwrap();
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error[store.in_use]: "), "{stderr}");
    assert!(stderr.contains("fix: stop the other server"), "{stderr}");
    fixture.server.client().healthy().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_say_what_went_wrong() {
    let fixture = with(&["onboarding"]).await;
    let cli = &fixture.cli;
    let nowhere = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    Cli::new(&nowhere).run(&["runs", "list"]).refused(3, "server.unreachable");
    assert_eq!(cli.run(&["runs", "list", "--state", "tired"]).code, 2);
    let nobody = RunId::from_key("no", "body").to_string();
    cli.run(&["runs", "show", &nobody]).refused(1, "run.not_found");

    let run = fixture.start(&["user-onboarding", "--input", PATIENT]);
    let late = cli.run(&["runs", "wait", &run, "--timeout", "300ms"]);
    assert_eq!(late.code, 4, "{late:?}");
    assert!(late.stderr.contains("wait.timeout"), "{late:?}");
    let wait = ["runs", "wait", &run, "--status", "sleeping", "--timeout", "30s"];
    assert!(cli.done(&wait).starts_with("sleeping"));

    let cancelled = cli.done(&["runs", "cancel", &run, "--reason", "moved away"]);
    assert!(cancelled.contains("asked to stop") || cancelled == "cancelled", "{cancelled}");
    let ended = cli.run(&["runs", "wait", &run, "--timeout", "30s"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.starts_with("cancelled"), "{ended:?}");
    assert!(ended.stderr.contains("error[run.cancelled]"), "{ended:?}");
    assert!(ended.stderr.contains("moved away"), "{ended:?}");
    assert_eq!(cli.run(&["runs", "cancel", &run]).code, 0, "cancelling twice succeeds");

    let started = ["start", "user-onboarding", "--input", SIGNUP, "--wait"];
    assert!(cli.done(&started).contains(r#""success":true"#));
    let timeout = ["start", "user-onboarding", "--input", PATIENT, "--timeout", "400ms", "--wait"];
    let failed = cli.run(&timeout);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("error[run.timeout]"), "{failed:?}");
    let found = cli.json::<RunView>(&["runs", "list", "--failure-code", "run.timeout"]);
    assert_eq!(found.len(), 1, "it is found by what it failed with");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_found_by_state_workflow_and_tag() {
    let fixture = with(&["onboarding", "morning"]).await;
    let client = fixture.server.client();
    let tags = ["--tag", "team=growth", "--tag", "env=test"];
    let sleeping = fixture.start(&[&["user-onboarding", "--input", PATIENT], &tags[..]].concat());
    let done = fixture.start(&["morning", "--input", "\"Ann\"", "--tag", "team=growth"]);
    let later = fixture.start(&["morning", "--input", "\"Bob\"", "--delay", "1h"]);
    reach(&client, sleeping.parse().unwrap(), StateKind::Sleeping).await;
    reach(&client, done.parse().unwrap(), StateKind::Completed).await;
    let everybody = [&later[..], &done, &sleeping];
    for (filter, expected) in [
        (&[][..], &everybody[..]),
        (&["--state", "sleeping"], &[&sleeping]),
        (&["--state", "sleeping,scheduled"], &[&later, &sleeping]),
        (&["--state", "failed"], &[]),
        (&["--workflow", "morning"], &[&later, &done]),
        (&["--workflow", "morning", "--version", "2"], &[]),
        (&["--tag", "team=growth"], &[&done, &sleeping]),
        (&["--tag", "team=growth", "--tag", "env=test"], &[&sleeping]),
        (&["--started-after", "1h", "--limit", "2"], &[&later, &done]),
        (&["--started-before", "1h"], &[]),
        (&["--updated-after", "1h", "--state", "completed"], &[&done]),
        (&["--updated-before", "1h"], &[]),
        (&["--failure-code", "run.timeout"], &[]),
    ] {
        let found = fixture.cli.json::<RunView>(&[&["runs", "list"], filter].concat());
        let found: Vec<_> = found.iter().map(|run| run.id.to_string()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let table = fixture.cli.done(&["runs", "list", "--state", "completed"]);
    assert!(table.contains(&done) && table.contains("morning 1.0"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_can_be_looked_at_from_all_sides() {
    let fixture = with(&["onboarding"]).await;
    let cli = &fixture.cli;
    let input = PATIENT.replace("86400000", "1000");
    let run = fixture.start(&["user-onboarding", "--input", &input]);
    // It follows from before the sleep to the end of the run, and then it ends by itself.
    let follow = cli.run(&["runs", "logs", &run, "--follow", "--json"]);
    assert_eq!(follow.code, 0, "{follow:?}");
    let lines: Vec<LogLineView> =
        follow.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: Vec<_> = lines.iter().map(|view| view.line.message.trim()).collect();
    assert_eq!(messages.first(), Some(&"starting onboarding"), "{messages:?}");
    assert_eq!(messages.last(), Some(&"onboarded"), "{messages:?}");
    assert!(messages.contains(&"u1 is verified"), "what tasks print is logged: {messages:?}");
    assert!(lines.iter().enumerate().all(|(number, view)| view.seq == number as u64));
    assert_eq!(cli.json::<LogLineView>(&["runs", "logs", &run]), lines);

    let show = cli.done(&["runs", "show", &run]);
    for word in ["user-onboarding 1.0", "completed", "before-tips", "send-tips", "success"] {
        assert!(show.contains(word), "{word} is not in\n{show}");
    }
    let journal = cli.json::<EntryView>(&["runs", "journal", &run]);
    let names: Vec<_> = journal.iter().map(|view| view.entry.event.name()).collect();
    let task = ["TaskScheduled", "TaskCompleted"];
    let expected = [
        &["RunStarted", "AttemptStarted"][..],
        &task,
        &task,
        &["TimerStarted", "TimerFired"],
        &task,
        &["RunCompleted"],
    ];
    assert_eq!(names, expected.concat());
    assert!(journal.iter().enumerate().all(|(number, view)| view.seq == number as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_agrees_with_the_run_and_not_with_changed_code() {
    let fixture = with(&["onboarding"]).await;
    let cli = &fixture.cli;
    let run = fixture.start(&["user-onboarding", "--input", SIGNUP]);
    reach(&fixture.server.client(), run.parse().unwrap(), StateKind::Completed).await;
    let report = cli.json::<Value>(&["runs", "replay", &run]).remove(0);
    assert_eq!(report["entries"], 11, "{report}");
    assert!(cli.done(&["runs", "replay", &run, "--until", "5"]).contains("5 journal entries"));

    // The same workflow, but the first email has another subject.
    let mut changed = std::fs::read(guest("onboarding")).unwrap();
    let (old, new) = (b"Please verify your address", b"Please confirm the address");
    let at = changed.windows(old.len()).position(|window| window == old).unwrap();
    changed[at..at + new.len()].copy_from_slice(new);
    let module = fixture.file("changed.wasm", &changed);
    let said = cli.run(&["runs", "replay", &run, "--module", &module]);
    said.refused(5, "divergence");
    for word in ["input.subject", "Please verify your address", "Please confirm the address"] {
        assert!(said.stderr.contains(word), "{word} is not in {said:?}");
    }

    let other = guest("morning");
    let said = cli.run(&["runs", "replay", &run, "--module", other.to_str().unwrap()]);
    said.refused(1, "run.unknown_workflow");
    for word in ["user-onboarding 1.0", "morning 1.0"] {
        assert!(said.stderr.contains(word), "{word} is not in {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_names_one_run() {
    let fixture = with(&["morning"]).await;
    let ann = ["morning", "--input", "\"Ann\"", "--key", "greet-1"];
    let run = fixture.start(&ann);
    assert_eq!(fixture.start(&ann), run);
    let again = [&["start"][..], &ann, &["--on-conflict", "error"]].concat();
    fixture.cli.run(&again).refused(1, "key.taken");
    let bob = ["start", "morning", "--input", "\"Bob\"", "--key", "greet-1"];
    fixture.cli.run(&bob).refused(1, "key.input_mismatch");
    assert_eq!(fixture.cli.json::<RunView>(&["runs", "list"]).len(), 1);
}
