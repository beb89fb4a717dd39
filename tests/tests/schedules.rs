//! Schedules with a real server that is killed while fires are due, and through the command line.
#![allow(clippy::unwrap_used)]

use everstep_client::schedule::{
    Created, Missed, Outcome, Overlap, ScheduleBody, ScheduleView, ScheduledStart, Spec, Triggered,
};
use everstep_client::{
    CancelBody, Client, Payload, RunFilter, RunId, RunView, StateKind, Timestamp,
};
use everstep_tests::{ServerProcess, reach, upload};
use futures::TryStreamExt;
use rand::RngExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DAY_MS: u64 = 86_400_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

fn body(reference: &str, interval_ms: u64, offset_ms: u64, missed: Missed) -> ScheduleBody {
    let start =
        ScheduledStart { input: Payload::from_value("Ada").ok(), ..ScheduledStart::new("morning") };
    ScheduleBody {
        reference: Some(reference.into()),
        overlap: Overlap::Allow,
        missed,
        ..ScheduleBody::new(Spec::Every { interval_ms, offset_ms }, start)
    }
}

/// The occurrences that have started a run, in order. Each run was started at its time or later.
async fn occurrences(client: &Client, reference: &str) -> Vec<u64> {
    let tags = vec![("schedule".to_owned(), reference.to_owned())];
    let filter = RunFilter { tags, limit: Some(1_000), ..RunFilter::default() };
    let runs: Vec<RunView> = client.runs_stream(filter).try_collect().await.unwrap();
    let mut found: Vec<u64> = runs
        .iter()
        .map(|run| {
            let key = run.options.idempotency_key.as_deref().unwrap();
            let at: Timestamp = key.rsplit('/').next().unwrap().parse().unwrap();
            assert!(run.started_at >= at, "it fired early: {run:?}");
            at.as_millis()
        })
        .collect();
    found.sort_unstable();
    found
}

async fn until(client: &Client, reference: &str, so: impl Fn(&ScheduleView) -> bool) {
    let begun = Instant::now();
    loop {
        let view = client.schedule(reference).await.unwrap();
        if so(&view) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not happen: {view:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_while_the_server_is_down_follows_its_policy() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let client = server.client();
    upload(&client, &["morning"]).await;
    let policies = [("once", Missed::RunOnce), ("all", Missed::RunAll), ("skip", Missed::Skip)];
    for (name, missed) in policies {
        client.create_schedule(&body(&format!("second-{name}"), 1_000, 0, missed)).await.unwrap();
    }
    // Once a day, and today in a moment.
    let due = now() + 6_000;
    for (name, missed) in policies {
        let daily = body(&format!("day-{name}"), DAY_MS, due % DAY_MS, missed);
        client.create_schedule(&daily).await.unwrap();
    }
    for (name, _) in policies {
        until(&client, &format!("second-{name}"), |view| view.fired >= 1).await;
    }
    let address = server.address().to_owned();
    server.kill();
    let killed = now();
    assert!(killed < due, "this machine is too slow for the test");
    tokio::time::sleep(Duration::from_millis(due + 12_000 - now())).await;
    let restarted = now();
    let server = ServerProcess::start_on(directory.path(), &address, &[]);
    let client = server.client();
    let fired = async |reference: &str| occurrences(&client, reference).await;

    for (name, _) in policies {
        let settled = |view: &ScheduleView| !view.recent.as_ref().unwrap().is_empty();
        until(&client, &format!("day-{name}"), settled).await;
        let recent =
            |view: &ScheduleView| view.last_fired_at.is_some_and(|at| at.as_millis() > restarted);
        until(&client, &format!("second-{name}"), recent).await;
    }
    assert_eq!(fired("day-once").await, [due], "once, at the start");
    assert_eq!(fired("day-all").await, [due]);
    assert_eq!(fired("day-skip").await, [0; 0]);
    let skipped = client.schedule("day-skip").await.unwrap().recent.unwrap();
    assert!(matches!(skipped[0].outcome, Outcome::Missed { .. }), "{skipped:?}");

    // What was due a second after the kill, or later, and before the restart: about 13 times.
    let missed = |all: &[u64]| {
        let meanwhile = all.iter().filter(|at| (killed + 1_000..restarted - 10_500).contains(at));
        meanwhile.count()
    };
    let down = usize::try_from((restarted - 10_500 - killed - 1_000) / 1_000).unwrap();
    until(&client, "second-all", |view| view.fired >= down as u64 + 10).await;
    let all = fired("second-all").await;
    assert!(missed(&all) >= down, "{down}: {all:?}");
    assert!(all.windows(2).all(|pair| pair[1] - pair[0] == 1_000), "none is left out: {all:?}");
    assert!(missed(&fired("second-skip").await) == 0);
    assert!(missed(&fired("second-once").await) == 0, "only the last of them fires");
    let once = fired("second-once").await;
    let meanwhile = once.iter().filter(|at| (killed + 1_000..restarted).contains(at));
    assert!(meanwhile.count() <= 1, "{once:?}");
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_neither_lose_nor_repeat_an_occurrence() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path());
    let address = server.address().to_owned();
    upload(&server.client(), &["morning"]).await;
    for n in 0..20 {
        let body = body(&format!("s{n}"), 1_000, n * 50, Missed::RunAll);
        server.client().create_schedule(&body).await.unwrap();
    }
    for _ in 0..8 {
        let pause = rand::rng().random_range(200..1_500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill();
        server = ServerProcess::start_on(directory.path(), &address, &[]);
    }
    let client = server.client();
    let end = now();
    for n in 0..20 {
        let name = format!("s{n}");
        let caught_up =
            |view: &ScheduleView| view.last_fired_at.is_some_and(|at| at.as_millis() > end + 1_100);
        until(&client, &name, caught_up).await;
        client.pause_schedule(&name).await.unwrap();
        let found = settled(&client, &name).await;
        assert!(found.len() > 5, "{name}: {found:?}");
        assert!(found.windows(2).all(|pair| pair[1] - pair[0] == 1_000), "{name}: {found:?}");
    }
}

/// The occurrences of a paused schedule, when it has counted all of them: a fire that was under way
/// when it was paused is finished a moment later.
async fn settled(client: &Client, reference: &str) -> Vec<u64> {
    let begun = Instant::now();
    loop {
        let counted = client.schedule(reference).await.unwrap().fired;
        let found = occurrences(client, reference).await;
        if counted == found.len() as u64 {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{reference}: {counted} counted, {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_does_everything() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let (client, cli) = (server.client(), server.cli());
    upload(&client, &["morning", "onboarding"]).await;
    let create = ["schedules", "create", "--workflow", "morning", "--input", "\"Ada\""];
    let with = |more: &[&str]| cli.run(&[&create, more].concat());
    with(&["--cron", "0 25 * * *"]).refused(1, "schedule.cron");
    with(&["--cron", "0 0 30 2 *"]).refused(1, "schedule.never");
    with(&["--cron", "0 9 * * *", "--tz", "Mars/Base"]).refused(1, "schedule.time_zone");
    with(&["--every", "500ms"]).refused(1, "schedule.interval");
    let unknown = ["schedules", "create", "--workflow", "evening", "--every", "1h"];
    cli.run(&unknown).refused(1, "run.unknown_workflow");
    assert_eq!(cli.run(&["schedules", "create", "--workflow", "morning"]).code, 2);
    assert!(cli.json::<ScheduleView>(&["schedules", "list"]).is_empty());

    let daily = ["--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--reference", "daily"];
    let id = cli.done(&[&create, &daily[..]].concat());
    assert_eq!(cli.done(&[&create, &daily[..]].concat()), id);
    let again: Vec<Created> = cli.json(&[&create, &daily[..]].concat());
    assert!(!again[0].created);
    with(&["--cron", "30 3 * * *", "--reference", "daily"]).refused(1, "schedule.reference_taken");
    let shown = cli.done(&["schedules", "show", "daily"]);
    assert!(shown.contains("30 2 * * * (Europe/Berlin)"), "{shown}");
    let next = shown.lines().skip_while(|line| *line != "NEXT").skip(1);
    let next: Vec<&str> = next.take_while(|line| !line.is_empty()).collect();
    assert_eq!(next.len(), 10, "{shown}");
    assert!(next.iter().all(|line| line.contains(":00 +0") && line.contains(".000Z")), "{shown}");

    assert_eq!(cli.done(&["schedules", "pause", &id]), "paused");
    assert!(cli.done(&["schedules", "list"]).contains("paused"));
    assert_eq!(cli.done(&["schedules", "resume", "daily"]), "goes on");
    let started: Vec<Triggered> = cli.json(&["schedules", "trigger", "daily"]);
    let Outcome::Started { run } = started[0].outcome else { panic!("{started:?}") };
    reach(&client, run, StateKind::Completed).await;
    let range = ["--from", "2026-03-28T00:00:00Z", "--to", "2026-03-30T23:00:00Z"];
    let backfill = [&["schedules", "backfill", "daily"][..], &range].concat();
    let fires: Vec<Triggered> = cli.json(&backfill);
    let times: Vec<String> = fires.iter().map(|fire| fire.at.to_string()).collect();
    let expected =
        ["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"];
    assert_eq!(times, expected);
    assert_eq!(cli.done(&backfill).matches("had started").count(), 3);
    let listed: Vec<RunView> = cli.json(&["runs", "list", "--tag", "schedule=daily"]);
    assert_eq!(listed.len(), 4);
    overlaps(&client, &server).await;

    assert_eq!(cli.done(&["schedules", "delete", "daily"]), "deleted");
    cli.run(&["schedules", "show", "daily"]).refused(1, "schedule.not_found");
    let listed: Vec<RunView> = cli.json(&["runs", "list", "--tag", "schedule=daily"]);
    assert_eq!(listed.len(), 4, "the runs stay");
}

/// A run that sleeps for a day, met by the next fire.
async fn overlaps(client: &Client, server: &ServerProcess) {
    let cli = server.cli();
    let patient = r#"{"user_id": "u1", "email": "ann@example.com", "sleep_ms": 86400000}"#;
    let trigger = |name: &str| {
        let fired: Vec<Triggered> = cli.json(&["schedules", "trigger", name]);
        fired[0].outcome.clone()
    };
    let started = |outcome: Outcome| -> RunId {
        let Outcome::Started { run } = outcome else { panic!("{outcome:?}") };
        run
    };
    for policy in ["skip", "cancel-previous", "buffer-one"] {
        let create = ["schedules", "create", "--workflow", "user-onboarding", "--every", "7d"];
        let more = ["--input", patient, "--reference", policy, "--overlap", policy];
        let _ = cli.done(&[&create[..], &more].concat());
    }
    let open = started(trigger("skip"));
    assert_eq!(trigger("skip"), Outcome::Skipped { open });
    let open = started(trigger("cancel-previous"));
    let next = started(trigger("cancel-previous"));
    reach(client, open, StateKind::Cancelled).await;
    assert!(!client.run(next).await.unwrap().state.is_terminal());
    let open = started(trigger("buffer-one"));
    assert_eq!(trigger("buffer-one"), Outcome::Buffered { open });
    client.cancel(open, &CancelBody::default()).await.unwrap();
    until(client, "buffer-one", |view| view.fired == 2).await;
    assert_ne!(client.schedule("buffer-one").await.unwrap().last_run, Some(open));
}
