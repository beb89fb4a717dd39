//! Golden journals: whole runs as `everstep runs export` wrote them, with their modules, of every
//! format that there has been. They are never changed, and replay for ever.
//! `tests/journals/README.md` says how those of a new format are made.
#![allow(clippy::unwrap_used)]

use everstep_client::{
    CancelBody, Client, EditBody, EntryView, EventBody, ForkBody, LogLineView, Payload, ReasonBody,
    RetryBody, RetryPolicy, RunId, RunView, StartBody, StateKind, TaskOutcomeBody, UploadOptions,
};
use everstep_core::{Digest, Entry, JournalEvent, Run};
use everstep_engine::{CONFIG_VERSION, Engine, EngineOptions, Module};
use everstep_server::replay::{ReplayError, audit, verify};
use everstep_tests::{ServerProcess, body, completed, guest, journal, reach, start};
use futures::TryStreamExt;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The folder for the journals that the ignored test below writes.
const FORMAT: &str = "2";

/// Every kind of entry that there is.
const KINDS: [&str; 34] = [
    "AttemptFailed",
    "AttemptStarted",
    "CancelRequested",
    "ChildEnded",
    "ChildScheduled",
    "Delivered",
    "EventAwaited",
    "EventReceived",
    "EventSent",
    "EventTimedOut",
    "MessageTaken",
    "OperationCancelled",
    "OperationEnded",
    "RetryRequested",
    "RunCancelled",
    "RunCompleted",
    "RunContinued",
    "RunFailed",
    "RunForked",
    "RunPaused",
    "RunResumed",
    "RunStarted",
    "RunTerminated",
    "RunTimedOut",
    "RunUpgraded",
    "StateHashed",
    "TaskAttemptFailed",
    "TaskCompleted",
    "TaskFailed",
    "TaskScheduled",
    "TimerFired",
    "TimerStarted",
    "ValueRecorded",
    "WakeRequested",
];

/// One exported run.
struct Golden {
    path: PathBuf,
    run: RunView,
    /// The position of the first entry.
    first: u64,
    entries: Vec<Entry>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("journals")
}

/// The files with this ending, of all formats.
fn files(ending: &str) -> Vec<PathBuf> {
    let within = |path: &Path| std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let formats = within(&folder()).filter(|path| path.is_dir());
    let files = formats.flat_map(|format| within(&format).collect::<Vec<_>>());
    let mut files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

/// Reads an export. A line that does not decode, or is missing, fails the test.
fn read(path: PathBuf) -> Golden {
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines = text.lines();
    let run: RunView = serde_json::from_str(lines.next().unwrap()).unwrap();
    let (mut first, mut entries, mut logs) = (None, Vec::new(), 0);
    for line in lines {
        let place = || format!("{}: {line}", path.display());
        if line.starts_with(r#"{"kind":"entry""#) {
            let view: EntryView =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", place()));
            entries.push(view.entry);
            assert_eq!(view.seq, *first.get_or_insert(view.seq) + entries.len() as u64 - 1);
        } else {
            let _: LogLineView =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", place()));
            logs += 1;
        }
    }
    let first = first.unwrap();
    let length = first + entries.len() as u64;
    assert_eq!((run.journal_length, run.log_lines), (length, logs), "{}", path.display());
    Golden { path, run, first, entries }
}

fn all() -> Vec<Golden> {
    let found: Vec<_> = files("jsonl").into_iter().map(read).collect();
    assert!(!found.is_empty(), "there are no golden journals");
    found
}

fn engine() -> Engine {
    let options = EngineOptions { max_instances: 4, max_tasks: 1, ..EngineOptions::default() };
    Engine::new(options).unwrap()
}

/// The modules of all formats, by their digest.
fn modules() -> HashMap<Digest, Arc<Module>> {
    let engine = engine();
    let load = |path| {
        let bytes = std::fs::read(path).unwrap();
        (Digest::of(&bytes), engine.compile(&bytes).unwrap())
    };
    files("wasm").into_iter().map(load).collect()
}

#[test]
fn every_line_decodes_and_every_kind_of_entry_is_there() {
    let kinds: BTreeSet<&str> =
        all().iter().flat_map(|golden| &golden.entries).map(|entry| entry.event.name()).collect();
    assert_eq!(kinds, BTreeSet::from(KINDS));
}

#[test]
fn folding_a_journal_gives_the_state_that_was_exported() {
    for golden in all() {
        let run = Run::fold(&golden.entries, golden.first).unwrap();
        let mut record = run.record().clone();
        // What a run shows of itself and how much it has logged is no part of the journal.
        record.log_lines = golden.run.log_lines;
        record.published.clone_from(&golden.run.published);
        assert_eq!(RunView::from(&record), golden.run, "{}", golden.path.display());
    }
}

#[test]
fn every_journal_replays_on_its_module() {
    let modules = modules();
    for Golden { path, run, first, entries } in all() {
        let module = modules.get(&run.digest).unwrap_or_else(|| {
            panic!("the module {} of {} is not there", run.digest, path.display())
        });
        let verified = verify(module, &entries, first)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!((verified.entries, verified.attempt), (entries.len() as u64, run.attempt));
        let told = |entry: &&Entry| matches!(entry.event, JournalEvent::AttemptStarted { .. });
        let begun = entries.iter().filter(told).count();
        assert_eq!(begun > 0, verified.activations > 0, "{}", path.display());
    }
}

#[test]
fn every_journal_replays_through_snapshots() {
    let modules = modules();
    for Golden { path, run, first, entries } in all() {
        let module = &modules[&run.digest];
        let straight = audit(module, &entries, first, false).unwrap();
        let through = audit(module, &entries, first, true);
        let through = through.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(through, straight, "{}", path.display());
    }
}

/// The example behind a golden module.
fn built_as(module: &str) -> String {
    ["golden", module].join("-")
}

/// The same workflows with the SDK of today ask for the same, so open runs of older modules could be
/// moved to newer ones.
#[test]
fn every_journal_replays_on_the_same_code_built_today() {
    let engine = engine();
    let mut today = HashMap::new();
    for path in files("wasm") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let bytes = std::fs::read(guest(&built_as(name))).unwrap();
        let digest = Digest::of(&std::fs::read(&path).unwrap());
        today.insert(digest, engine.compile(&bytes).unwrap());
    }
    for Golden { path, run, first, entries } in all() {
        verify(&today[&run.digest], &entries, first)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// The replays above compare something: a task with another name or input, and an end with another
/// output, do not pass.
#[test]
fn a_journal_that_was_changed_does_not_replay() {
    let modules = modules();
    let (mut tasks, mut ends, mut hashes) = (0, 0, 0);
    for Golden { path, run, first, entries } in all() {
        let started = |entry: &Entry| matches!(entry.event, JournalEvent::AttemptStarted { .. });
        // Earlier attempts are not replayed.
        let from = entries.iter().rposition(started).unwrap_or(entries.len());
        for at in from..entries.len() {
            let mut changed = entries.clone();
            match &mut changed[at].event {
                JournalEvent::TaskScheduled { name, reuses: None, .. } => {
                    name.push('x');
                    tasks += 1;
                }
                JournalEvent::RunCompleted { output } => {
                    *output = Payload::from_value(&json!("something else")).unwrap();
                    ends += 1;
                }
                JournalEvent::StateHashed { hash: Some(hash), module, engine }
                    if (*module, *engine) == (run.digest, CONFIG_VERSION) =>
                {
                    *hash = Digest::of(b"another");
                    hashes += 1;
                }
                _ => continue,
            }
            let refused = verify(&modules[&run.digest], &changed, first);
            let diverges = matches!(refused, Err(ReplayError::Divergence(_)));
            assert!(diverges, "{}, entry {at}: {refused:?}", path.display());
        }
    }
    assert!(tasks > 5 && ends > 5, "{tasks} tasks, {ends} ends");
    // Memory is compared by engines of the configuration that it was recorded under.
    assert!(hashes > 5 || CONFIG_VERSION != 1, "{hashes} hashes");
}

#[test]
fn modules_are_small_and_tell_nothing_of_where_they_were_built() {
    for path in files("wasm") {
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() < 350_000, "{} has {} bytes", path.display(), bytes.len());
        for place in ["/home/", "/root/", "/Users/", ".cargo"] {
            let found = bytes.windows(place.len()).any(|window| window == place.as_bytes());
            assert!(!found, "{} tells of {place}", path.display());
        }
    }
}

/// Makes the journals of a new format. `EVERSTEP_GOLDEN_MODULES` is a folder with `first.wasm` and
/// `second.wasm`, built as `tests/journals/README.md` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes the golden journals of a new format"]
async fn write_the_journals_of_a_new_format() {
    let target = folder().join(FORMAT);
    std::fs::create_dir(&target).expect("golden journals are never changed: choose a new FORMAT");
    let modules = std::env::var_os("EVERSTEP_GOLDEN_MODULES").map(PathBuf::from);
    let module = |name: &str| match &modules {
        Some(folder) => std::fs::read(folder.join(format!("{name}.wasm"))).unwrap(),
        None => std::fs::read(guest(&built_as(name))).unwrap(),
    };
    let data = tempfile::tempdir().unwrap();
    let server = ServerProcess::start_on(data.path(), "127.0.0.1:0", &["--audit"]);
    let client = server.client();
    let known: BTreeSet<Digest> =
        files("wasm").iter().map(|path| Digest::of(&std::fs::read(path).unwrap())).collect();
    for name in
        ["first", "second"].into_iter().filter(|it| !known.contains(&Digest::of(&module(it))))
    {
        std::fs::write(target.join(name).with_extension("wasm"), module(name)).unwrap();
    }
    client.upload(module("first")).await.unwrap();
    let mut runs = undisturbed(&client).await;
    runs.extend(disturbed(&client).await);
    runs.push(("deferred", deferred(&client).await));
    runs.push(("forked", forked(&client, runs[0].1).await));

    let upgraded = start(&client, "order", &json!(17)).await;
    reach(&client, upgraded, StateKind::AwaitingEvent).await;
    let options = UploadOptions { replace: true, ..UploadOptions::default() };
    client.upload_observed(module("second"), options, |_| {}, |_| {}).await.unwrap();
    tell(&client, upgraded, "paid", json!(null)).await;
    assert_eq!(completed(&client, upgraded).await, json!("SHIPPED from shelf 7"));
    let open = start(&client, "order", &json!(18)).await;
    reach(&client, open, StateKind::AwaitingEvent).await;
    runs.extend([("upgraded", upgraded), ("open", open)]);

    for (name, run) in runs {
        let pieces: Vec<Vec<u8>> = client.export(run).await.unwrap().try_collect().await.unwrap();
        std::fs::write(target.join(name).with_extension("jsonl"), pieces.concat()).unwrap();
    }
}

type Named = (&'static str, RunId);

async fn tell(client: &Client, run: RunId, name: &str, data: Value) {
    let data = Some(Payload::from_value(&data).unwrap());
    let event = EventBody { name: name.into(), data, reference: None };
    client.send_event(run, &event).await.unwrap();
}

/// Runs that nobody but other runs disturbs.
async fn undisturbed(client: &Client) -> Vec<Named> {
    let mut runs = Vec::new();
    for name in ["retries", "timers", "children"] {
        let run = start(client, name, &json!(null)).await;
        completed(client, run).await;
        runs.push((name, run));
    }
    let child =
        journal(client, runs[2].1).await.into_iter().find_map(|view| match view.entry.event {
            JournalEvent::ChildScheduled { child, .. } => Some(child),
            _ => None,
        });
    runs.push(("listener", child.unwrap()));

    let continued = start(client, "generations", &json!(2)).await;
    reach(client, continued, StateKind::AwaitingEvent).await;
    tell(client, continued, "told", json!(7)).await;
    completed(client, continued).await;
    runs.push(("continued", continued));
    runs
}

/// A run that is paused while its task executes: the result is recorded first and delivered later.
async fn deferred(client: &Client) -> RunId {
    let result = |view: &EntryView| match view.entry.event {
        JournalEvent::TaskCompleted { deferred, .. }
        | JournalEvent::TaskFailed { deferred, .. } => deferred,
        _ => false,
    };
    for pause in 0..1_000 {
        let run = start(client, "retries", &json!(null)).await;
        tokio::time::sleep(Duration::from_micros(pause % 100 * 250)).await;
        // It may have ended already.
        let _ = client.pause(run, &ReasonBody { reason: None }).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let _ = client.resume(run).await;
        completed(client, run).await;
        if journal(client, run).await.iter().any(result) {
            return run;
        }
    }
    panic!("no task ended while its run was paused")
}

/// A run that tries what another would have done, had its first task been quicker.
async fn forked(client: &Client, original: RunId) -> RunId {
    let journal = journal(client, original).await;
    let done = |view: &&EntryView| matches!(view.entry.event, JournalEvent::TaskCompleted { .. });
    let ended = journal.iter().find(done).unwrap();
    let JournalEvent::TaskCompleted { op, .. } = ended.entry.event else { unreachable!() };
    let edit = EditBody { op: Some(op), seq: None, value: Payload::from_value(&json!(1)).unwrap() };
    let fork = ForkBody { at: ended.seq + 1, edits: vec![edit], idempotency_key: None };
    let fork = client.fork(original, &fork).await.unwrap().id;
    completed(client, fork).await;
    fork
}

/// Runs that people do something to.
async fn disturbed(client: &Client) -> Vec<Named> {
    let events = start(client, "events", &json!(null)).await;
    reach(client, events, StateKind::Sleeping).await;
    client.wake(events).await.unwrap();
    reach(client, events, StateKind::AwaitingEvent).await;
    let why = ReasonBody { reason: Some("for the record".into()) };
    client.pause(events, &why).await.unwrap();
    tell(client, events, "told", json!(1)).await;
    client.resume(events).await.unwrap();
    tell(client, events, "told", json!(2)).await;
    completed(client, events).await;

    let cancelled = start(client, "cancelled", &json!(null)).await;
    reach(client, cancelled, StateKind::Sleeping).await;
    let cancel = CancelBody { reason: Some("changed my mind".into()), grace_ms: None };
    client.cancel(cancelled, &cancel).await.unwrap();
    reach(client, cancelled, StateKind::Cancelled).await;

    let terminated = start(client, "events", &json!(null)).await;
    reach(client, terminated, StateKind::Sleeping).await;
    client.terminate(terminated, &why).await.unwrap();
    reach(client, terminated, StateKind::Cancelled).await;

    let limited = StartBody { timeout_ms: Some(200), ..body("events", &json!(null)) };
    let timed_out = client.start(&limited).await.unwrap().id;
    reach(client, timed_out, StateKind::Failed).await;

    let retry = Some(RetryPolicy::Fixed { max_attempts: 2, delay_ms: 5 });
    let twice = StartBody { retry, ..body("retried", &json!(null)) };
    let retried = client.start(&twice).await.unwrap().id;
    reach(client, retried, StateKind::Failed).await;
    let outcome = TaskOutcomeBody { task: "hopeless".into(), output: None };
    client.retry(retried, &RetryBody { outcomes: vec![outcome] }).await.unwrap();
    completed(client, retried).await;

    vec![
        ("events", events),
        ("cancelled", cancelled),
        ("terminated", terminated),
        ("timed-out", timed_out),
        ("retried", retried),
    ]
}
