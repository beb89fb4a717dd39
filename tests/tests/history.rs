//! Looking back at runs: replays of the server's runs and of exported ones, the state at any point,
//! and comparisons of two runs.
#![allow(clippy::unwrap_used)]

use everstep_client::{EventBody, Payload, RunId, StateKind};
use everstep_tests::{Cli, ServerProcess, completed, guest, reach, serve, start};
use serde_json::{Value, json};

/// A server with a run of the pipeline that has ended, and its export.
struct Fixture {
    server: ServerProcess,
    cli: Cli,
    run: String,
    file: String,
    folder: tempfile::TempDir,
}

async fn pipeline(server: &ServerProcess, granted: bool) -> RunId {
    let client = server.client();
    let input = json!({"rows": 4, "sleep_ms": 1, "approval_ms": 60_000});
    let run = start(&client, "pipeline", &input).await;
    reach(&client, run, StateKind::AwaitingEvent).await;
    let data = Payload::from_value(&json!({"by": "Ada", "granted": granted})).unwrap();
    let approval = EventBody { name: "approval".into(), data: Some(data), reference: None };
    client.send_event(run, &approval).await.unwrap();
    run
}

async fn fixture() -> Fixture {
    let (server, folder) = serve(&["pipeline"], &[]).await;
    let run = pipeline(&server, true).await;
    assert_eq!(completed(&server.client(), run).await["loaded"], 2);
    let (cli, run) = (server.cli(), run.to_string());
    let file = folder.path().join("run.jsonl").to_str().unwrap().to_owned();
    let _ = cli.done(&["runs", "export", &run, "--out", &file]);
    Fixture { server, cli, run, file, folder }
}

fn module() -> String {
    guest("pipeline").to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exported_run_is_replayed_without_a_server() {
    let Fixture { server, cli, run, file, folder } = fixture().await;
    let from_server = cli.json::<Value>(&["runs", "replay", &run]).remove(0);
    server.kill();
    let args = ["runs", "replay", &file, "--module", &module()];
    let from_file = cli.json::<Value>(&args).remove(0);
    assert_eq!(from_file, from_server);
    assert_eq!(from_file["state"], "completed");
    assert_eq!(from_file["published"], "loading");
    assert_eq!(from_file["confirmed"], json!(["journal_length", "state", "published"]));
    assert!(from_file["state_hash"].as_str().unwrap().starts_with("sha256:"));
    // Without the module somebody has to be asked for it.
    cli.run(&["runs", "replay", &file]).refused(3, "server.unreachable");

    // What the record says must be where the journal leads.
    let text = std::fs::read_to_string(&file).unwrap();
    let forged = folder.path().join("forged.jsonl");
    std::fs::write(&forged, text.replacen("\"loading\"", "\"resting\"", 1)).unwrap();
    let said = cli.run(&["runs", "replay", forged.to_str().unwrap(), "--module", &module()]);
    said.refused(5, "replay.record");
    assert!(said.stderr.contains("\"resting\"") && said.stderr.contains("\"loading\""), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_shows_the_run_at_any_point() {
    let Fixture { server, cli, run, .. } = fixture().await;
    let journal = everstep_tests::journal(&server.client(), run.parse().unwrap()).await;
    let position = |name: &str| {
        let found = journal.iter().find(|view| view.entry.event.name() == name);
        found.unwrap_or_else(|| panic!("no {name} in {journal:#?}")).seq
    };
    let at = |until: u64| {
        let until = until.to_string();
        cli.json::<Value>(&["runs", "replay", &run, "--until", &until]).remove(0)
    };
    let asleep = at(position("TimerFired"));
    assert_eq!(
        (&asleep["state"], &asleep["published"]),
        (&json!("sleeping"), &json!("transforming"))
    );
    assert_eq!(asleep["pending"][0]["name"], "before-approval");
    let begun = &journal[usize::try_from(position("TimerStarted")).unwrap()];
    assert_eq!(asleep["pending"][0]["since"], json!(begun.entry.at));
    assert_eq!(asleep["confirmed"], json!([]), "a part cannot be compared with the whole");

    let waiting = at(position("EventReceived"));
    assert_eq!(waiting["state"], "awaiting_event");
    assert_eq!(waiting["published"], "waiting for approval");
    assert_ne!(waiting["state_hash"], asleep["state_hash"]);

    // A step is never cut: the task is asked for in the step that the position is in.
    let inside = position("TaskScheduled");
    let rounded = cli.run(&["runs", "replay", &run, "--until", &inside.to_string()]);
    assert_eq!(rounded.code, 0, "{rounded:?}");
    assert!(rounded.stderr.contains(&format!("position {} is where the step ends", inside + 1)));
    assert!(rounded.stdout.contains("task extract"), "{rounded:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_entry_is_named_and_nothing_behind_it_is_replayed() {
    let Fixture { cli, file, folder, .. } = fixture().await;
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let fired = lines.iter().position(|line| line.contains("\"TimerFired\"")).unwrap();
    lines[fired] = lines[fired].replace("\"TimerFired\"", "\"TimerFried\"");
    let torn = folder.path().join("torn.jsonl");
    std::fs::write(&torn, lines.join("\n")).unwrap();
    let said =
        cli.run(&["runs", "replay", torn.to_str().unwrap(), "--module", &module(), "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let seq = u64::try_from(fired).unwrap() - 1;
    assert!(said.stderr.contains("error[journal.corrupt]"), "{said:?}");
    assert!(said.stderr.contains(&format!("damaged at position {seq}")), "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["damage"]["seq"], seq);
    assert!(report["entries"].as_u64().unwrap() < seq, "{report}");
    // In front of the damage everything is as ever.
    let before = ["runs", "replay", torn.to_str().unwrap(), "--module", &module(), "--until", "3"];
    assert!(cli.done(&before).contains("the replay agrees"));

    let text = folder.path().join("hello.txt");
    std::fs::write(&text, "hello").unwrap();
    cli.run(&["runs", "replay", text.to_str().unwrap()]).refused(2, "export.unreadable");
    assert_eq!(cli.run(&["runs", "replay", "nonsense"]).code, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_are_compared() {
    let Fixture { server, cli, run, file, folder } = fixture().await;
    let client = server.client();
    let same = pipeline(&server, true).await;
    completed(&client, same).await;
    let said = cli.run(&["runs", "diff", &run, &same.to_string()]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.starts_with("the runs are the same"), "{said:?}");

    let denied = pipeline(&server, false).await;
    reach(&client, denied, StateKind::Failed).await;
    let other = folder.path().join("denied.jsonl").to_str().unwrap().to_owned();
    let _ = cli.done(&["runs", "export", &denied.to_string(), "--out", &other]);
    server.kill();
    let said = cli.run(&["runs", "diff", &file, &other, "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        report["difference"]["fields"][0],
        json!({
        "path": "value.granted", "left": "true", "right": "false"})
    );
    assert_eq!(report["difference"]["left"]["name"], "event approval");
    assert_eq!(
        (&report["left"]["state"], &report["right"]["state"]),
        (&json!("completed"), &json!("failed"))
    );
    let words = cli.run(&["runs", "diff", &file, &other]).stdout;
    for word in ["value.granted: true → false", "told completed", "approval.denied"] {
        assert!(words.contains(word), "{word} is not in:\n{words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journey_through_a_run_shows_every_step() {
    let Fixture { server, cli, run, file, folder: _folder } = fixture().await;
    let journal = everstep_tests::journal(&server.client(), run.parse().unwrap()).await;
    server.kill();
    let args = ["runs", "travel", &file, "--module", &module()];
    let stops = cli.json::<Value>(&args);
    let steps = journal.iter().filter(|view| view.entry.event.begins_step()).count();
    assert_eq!(stops.len(), steps + 1, "and the beginning");
    let asleep = stops.iter().find(|stop| stop["state"] == "sleeping").unwrap();
    assert_eq!(asleep["name"], "task transform");
    assert_eq!(asleep["commands"][0]["name"], "before-approval");
    assert_eq!(asleep["pending"][0]["name"], "before-approval");
    assert_eq!(asleep["published"], "transforming");
    // Every command tells where in the code it was asked for.
    for command in stops.iter().flat_map(|stop| stop["commands"].as_array().unwrap()) {
        let trace = command["backtrace"].to_string();
        assert!(trace.contains("pipeline"), "{command}");
    }
    let text = cli.done(&args);
    for words in ["told completed event approval", "asks for", "shows", "sleeping, pending"] {
        assert!(text.contains(words), "{words} is not in:\n{text}");
    }
}

/// A real terminal: `script` gives the program one, and what is typed comes from a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn travelling_takes_over_a_terminal_and_gives_it_back() {
    let Fixture { server: _server, file, folder, .. } = fixture().await;
    let program = everstep_tests::everstep();
    let line = format!(
        "stty rows 30 cols 120; {} runs travel {file} --module {}",
        program.display(),
        module()
    );
    let log = folder.path().join("typescript");
    let mut script = std::process::Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command", &line])
        .arg(&log)
        .env("EVERSTEP_SERVER", "http://127.0.0.1:9")
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("`script` of util-linux is installed");
    let mut keys = script.stdin.take().unwrap();
    // What is typed before the program reads is kept by the terminal.
    let seen = |words: &str| std::fs::read_to_string(&log).unwrap_or_default().contains(words);
    for _ in 0..600 {
        if seen("1 of ") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    std::io::Write::write_all(&mut keys, b"lq").unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        let _open = keys;
        script.wait().unwrap()
    });
    assert!(ended.await.unwrap().success());
    let screen = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    assert!(screen.contains("begins run"), "{screen}");
    // Into the other screen and back.
    assert!(screen.contains("\u{1b}[?1049h") && screen.contains("\u{1b}[?1049l"), "{screen:?}");
}
