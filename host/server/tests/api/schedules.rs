//! Schedules over HTTP: what is bad is refused and leaves nothing; overlap, pause, trigger and
//! backfill do what they say; a fire that a crash cut off is done again and starts one run.

use crate::fixture::Fixture;
use everstep_core::api::RunView;
use everstep_core::schedule::{
    Backfilled, Cause, Created, Firing, Outcome, Overlap, ScheduleList, ScheduleView, Triggered,
};
use everstep_core::{RunId, StateKind, Timestamp};
use everstep_store::RunQuery;
use serde_json::{Value, json};
use std::time::Duration;

fn yearly(more: Value) -> Value {
    let mut body = json!({
        "spec": {"cron": {"expression": "0 9 1 1 *", "time_zone": "Europe/Berlin"}},
        "start": {"workflow": "w"},
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

impl Fixture {
    async fn schedule(&self, body: &Value) -> ScheduleView {
        self.post_json("/v1/schedules", body).await.good::<Created>().schedule
    }

    async fn ask(&self, schedule: &ScheduleView, action: &str, body: &Value) -> Value {
        let path = format!("/v1/schedules/{}/{action}", schedule.id);
        self.post_json(&path, body).await.good()
    }

    async fn trigger(&self, schedule: &ScheduleView) -> Outcome {
        let answer = self.ask(schedule, "trigger", &json!({})).await;
        serde_json::from_value::<Triggered>(answer).unwrap().outcome
    }

    async fn view(&self, schedule: &ScheduleView) -> ScheduleView {
        self.get(&format!("/v1/schedules/{}", schedule.id)).await.good()
    }

    async fn runs_of(&self, label: &str) -> usize {
        let tags = [("schedule".to_owned(), label.to_owned())].into();
        let query = RunQuery { tags, limit: 1_000, ..RunQuery::default() };
        self.store.runs(&query).await.unwrap().runs.len()
    }

    /// Fires schedules as a server does.
    fn serve_schedules(&self) {
        tokio::spawn(everstep_server::schedules::serve(std::sync::Arc::clone(&self.service)));
    }

    async fn until(&self, schedule: &ScheduleView, so: impl Fn(&ScheduleView) -> bool) {
        let waiting = async {
            while !so(&self.view(schedule).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        if waited.is_err() {
            panic!("it does not happen: {:?}", self.view(schedule).await);
        }
    }
}

fn started(outcome: &Outcome) -> RunId {
    let Outcome::Started { run } = outcome else { panic!("nothing was started: {outcome:?}") };
    *run
}

#[tokio::test]
async fn what_can_never_fire_or_start_is_refused() {
    let fixture = Fixture::new().await;
    let schema = json!({"type": "object"});
    fixture.publish("w", "1", json!({})).await;
    fixture.publish("strict", "1", json!({"input": schema})).await;
    let cron = |text: &str| json!({"spec": {"cron": {"expression": text}}});
    let every = |ms: u64| json!({"spec": {"every": {"interval_ms": ms}}});
    for (more, code, words) in [
        (cron("0 25 * * *"), "schedule.cron", "0 25 * * *"),
        (cron("soon"), "schedule.cron", "soon"),
        (cron("0 0 30 2 *"), "schedule.never", "never matches"),
        (
            json!({"spec": {"cron": {"expression": "0 9 * * *", "time_zone": "Mars/Base"}}}),
            "schedule.time_zone",
            "Mars/Base",
        ),
        (every(999), "schedule.interval", "999 ms"),
        (
            json!({"spec": {"every": {"interval_ms": 5_000, "offset_ms": 5_000}}}),
            "schedule.interval",
            "offset",
        ),
        (json!({"start": {"workflow": "v"}}), "run.unknown_workflow", "`v`"),
        (json!({"start": {"workflow": "w", "version": "2"}}), "run.unknown_version", "`2`"),
        (json!({"start": {"workflow": "strict", "input": 7}}), "input.invalid", "object"),
        (json!({"start": {"workflow": "w", "timeout_ms": 0}}), "option.invalid", "timeout_ms"),
        (
            json!({"start": {"workflow": "w", "tags": {"schedule": "x"}}}),
            "option.invalid",
            "set by the schedule",
        ),
        (json!({"reference": ""}), "option.invalid", "reference"),
        (json!({"reference": "a\nb"}), "option.invalid", "reference"),
        (json!({"reference": "x".repeat(257)}), "option.invalid", "reference"),
        (
            json!({"reference": "8f14e45f-ceea-467f-a8d5-0123456789ab"}),
            "option.invalid",
            "looks like an id",
        ),
    ] {
        let answer = fixture.post_json("/v1/schedules", &yearly(more)).await;
        let problem = answer.problem(422, code);
        assert!(problem.detail.contains(words), "{problem:?}");
    }
    for body in [
        yearly(json!({"spec": {}})),
        yearly(json!({"spec": {"cron": {"expression": "* * * * *", "zone": "UTC"}}})),
        yearly(json!({"overlap": "maybe"})),
        yearly(json!({"refrence": "x"})),
        json!({"start": {"workflow": "w"}}),
    ] {
        fixture.post_json("/v1/schedules", &body).await.problem(400, "request.invalid");
    }
    let list: ScheduleList = fixture.get("/v1/schedules").await.good();
    assert!(list.schedules.is_empty());
    fixture.get("/v1/schedules/nightly").await.problem(404, "schedule.not_found");
}

#[tokio::test]
async fn a_reference_names_one_schedule() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let body = yearly(json!({"reference": "new year/é"}));
    let first = fixture.post_json("/v1/schedules", &body).await;
    assert_eq!(first.status, 201, "{}", first.text());
    let first: Created = first.good();
    let again = fixture.post_json("/v1/schedules", &body).await;
    assert_eq!(again.status, 200);
    let again: Created = again.good();
    assert!(!again.created && again.schedule.id == first.schedule.id);
    let other = yearly(json!({"reference": "new year/é", "overlap": "allow"}));
    let answer = fixture.post_json("/v1/schedules", &other).await;
    let problem = answer.problem(409, "schedule.reference_taken");
    assert!(problem.detail.contains(&first.schedule.id.to_string()), "{problem:?}");
    let shown: ScheduleView = fixture.get("/v1/schedules/new%20year%2F%C3%A9").await.good();
    assert_eq!((shown.id, shown.next.len()), (first.schedule.id, 10));
    assert!(shown.next[0].to_string().ends_with("-01-01T08:00:00.000Z"), "{:?}", shown.next);

    let many = futures::future::join_all((0..10).map(|_| {
        let body = yearly(json!({"reference": "many"}));
        let fixture = &fixture;
        async move { fixture.post_json("/v1/schedules", &body).await.good::<Created>() }
    }));
    assert_eq!(many.await.iter().filter(|created| created.created).count(), 1);
    let page: ScheduleList = fixture.get("/v1/schedules?limit=1").await.good();
    assert_eq!(page.schedules[0].id, first.schedule.id);
    let next = format!("/v1/schedules?cursor={}", page.cursor.unwrap());
    let rest: ScheduleList = fixture.get(&next).await.good();
    assert_eq!((rest.schedules.len(), rest.cursor), (1, None));
}

#[tokio::test]
async fn overlap_decides_while_the_last_run_is_open() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let make = async |overlap: &str| {
        fixture.schedule(&yearly(json!({"overlap": overlap, "reference": overlap}))).await
    };
    let skip = make("skip").await;
    let open = started(&fixture.trigger(&skip).await);
    assert_eq!(fixture.show(open).await.options.tags["schedule"], "skip");
    assert_eq!(fixture.trigger(&skip).await, Outcome::Skipped { open });
    fixture.complete(open, "1").await;
    assert_ne!(started(&fixture.trigger(&skip).await), open);

    let allow = make("allow").await;
    let first = started(&fixture.trigger(&allow).await);
    assert_ne!(started(&fixture.trigger(&allow).await), first);

    let cancel = make("cancel_previous").await;
    let first = started(&fixture.trigger(&cancel).await);
    let second = started(&fixture.trigger(&cancel).await);
    let view: RunView = fixture.show(first).await;
    assert_eq!(view.state, StateKind::Cancelled, "one that has not begun ends at once");
    assert!(view.cancel_reason.unwrap().contains("cancel_previous"));
    assert_eq!(fixture.show(second).await.state, StateKind::Queued);

    let buffer = make("buffer_one").await;
    let open = started(&fixture.trigger(&buffer).await);
    assert_eq!(fixture.trigger(&buffer).await, Outcome::Buffered { open });
    assert_eq!(fixture.trigger(&buffer).await, Outcome::Skipped { open });
    fixture.serve_schedules();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fixture.runs_of("buffer_one").await, 1, "it waits for the end of the open run");
    fixture.complete(open, "1").await;
    fixture.until(&buffer, |view| view.fired == 2).await;
    let view = fixture.view(&buffer).await;
    assert!(view.buffered.is_none() && view.last_run != Some(open));
    assert_eq!(fixture.runs_of("buffer_one").await, 2);
}

#[tokio::test]
async fn an_interval_fires_until_it_is_paused_or_deleted() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    fixture.serve_schedules();
    let body = json!({"spec": {"every": {"interval_ms": 1_000}}, "start": {"workflow": "w"},
        "overlap": "allow", "reference": "tick"});
    let tick = fixture.schedule(&body).await;
    fixture.until(&tick, |view| view.fired >= 2).await;
    let runs = fixture.store.runs(&RunQuery::default()).await.unwrap().runs;
    for run in &runs {
        let key = run.origin.options.idempotency_key.as_deref().unwrap();
        let due: Timestamp = key.rsplit('/').next().unwrap().parse().unwrap();
        assert!(run.origin.started_at >= due, "it fired early: {key}");
        assert_eq!(due.as_millis() % 1_000, 0);
    }
    fixture.ask(&tick, "pause", &json!(null)).await;
    // A fire that is under way at this moment is finished.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let paused = fixture.view(&tick).await;
    assert!(paused.paused && paused.next.len() == 10);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(fixture.view(&tick).await.fired, paused.fired);
    assert!(matches!(fixture.trigger(&tick).await, Outcome::Started { .. }), "a trigger fires");
    fixture.ask(&tick, "resume", &json!(null)).await;
    fixture.until(&tick, |view| view.fired >= paused.fired + 2).await;
    let resumed = fixture.view(&tick).await;
    // On a slow machine one fire stands for several.
    let good =
        |outcome: &Outcome| matches!(outcome, Outcome::Started { .. } | Outcome::Missed { .. });
    assert!(resumed.recent.unwrap().iter().all(|fired| good(&fired.outcome)));

    let url = format!("{}/v1/schedules/tick", fixture.url);
    assert_eq!(fixture.client.delete(&url).send().await.unwrap().status(), 200);
    assert_eq!(fixture.client.delete(&url).send().await.unwrap().status(), 404);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = fixture.runs_of("tick").await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(fixture.runs_of("tick").await, before);
    // A namesake is a schedule of its own, and fires.
    let again = fixture.post_json("/v1/schedules", &body).await.good::<Created>();
    assert!(again.created && again.schedule.fired == 0);
    fixture.until(&tick, |view| view.fired >= 1).await;
}

#[tokio::test]
async fn a_backfill_fires_each_occurrence_once() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let body = json!({"spec": {"cron": {"expression": "30 2 * * *", "time_zone": "Europe/Berlin"}},
        "start": {"workflow": "w"}, "reference": "daily"});
    let daily = fixture.schedule(&body).await;
    let range = json!({"from": "2026-03-28T01:30:00Z", "to": "2026-03-30T00:30:00Z"});
    let fill = async |range: &Value| {
        let answer = fixture.ask(&daily, "backfill", range).await;
        serde_json::from_value::<Backfilled>(answer).unwrap().fires
    };
    let first = fill(&range).await;
    let times: Vec<String> = first.iter().map(|fire| fire.at.to_string()).collect();
    let expected =
        ["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"];
    assert_eq!(times, expected, "both ends belong to it, and the clock changes in between");
    let runs: Vec<RunId> = first.iter().map(|fire| started(&fire.outcome)).collect();
    let again = fill(&range).await;
    let existing = runs.iter().map(|run| Outcome::Existing { run: *run });
    assert!(again.iter().map(|fire| fire.outcome.clone()).eq(existing));
    assert_eq!((fixture.runs_of("daily").await, fixture.view(&daily).await.fired), (3, 3));
    let more = json!({"from": "2026-03-30T00:30:00Z", "to": "2026-04-02T00:00:00Z",
        "overlap": "skip"});
    let open = *runs.last().unwrap();
    let outcomes: Vec<_> = fill(&more).await.into_iter().map(|fire| fire.outcome).collect();
    let skipped = Outcome::Skipped { open };
    assert_eq!(outcomes, [Outcome::Existing { run: open }, skipped.clone(), skipped]);

    let path = "/v1/schedules/daily/backfill";
    for (from, to, words) in [
        ("2026-03-30T00:00:00Z", "2026-03-29T00:00:00Z", "before"),
        ("2026-03-30T00:00:00Z", "2999-03-29T00:00:00Z", "past"),
        ("2000-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "1000"),
    ] {
        let answer = fixture.post_json(path, &json!({"from": from, "to": to})).await;
        let problem = answer.problem(422, "option.invalid");
        assert!(problem.detail.contains(words), "{problem:?}");
    }
    assert_eq!(fixture.runs_of("daily").await, 3);
}

#[tokio::test]
async fn a_start_that_is_refused_is_remembered_and_the_schedule_goes_on() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let body = json!({"spec": {"every": {"interval_ms": 1_000}}, "start": {"workflow": "w"},
        "overlap": "allow"});
    let tick = fixture.schedule(&body).await;
    // The newest version wants another input than the schedule has.
    fixture.publish("w", "2", json!({"input": {"type": "object"}})).await;
    let refused = fixture.trigger(&tick).await;
    let Outcome::Refused { code, detail } = refused else { panic!("{refused:?}") };
    assert_eq!(code, "input.invalid");
    assert!(detail.contains("schema"), "{detail}");
    assert_eq!(fixture.view(&tick).await.fired, 0);
    fixture.publish("w", "3", json!({})).await;
    fixture.serve_schedules();
    fixture.until(&tick, |view| view.fired >= 1).await;
}

/// The state between writing down a fire and noting what came of it, before and after the start.
#[tokio::test]
async fn a_fire_that_was_cut_off_is_done_again_and_starts_one_run() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    for (reference, was_started) in [("before", false), ("after", true)] {
        let view = fixture.schedule(&yearly(json!({"reference": reference}))).await;
        let mut schedule = fixture.store.schedule(view.id).await.unwrap().unwrap();
        let revision = schedule.revision;
        let firing = Firing::new(schedule.created_at.plus(1), Cause::Due);
        schedule.revision += 1;
        assert_eq!(schedule.admit(firing.clone(), Overlap::Skip, false), None);
        fixture.store.put_schedule(schedule.clone(), Some(revision)).await.unwrap();
        if was_started {
            fixture.service.start(schedule.start_body(&firing)).await.unwrap();
        }
    }
    fixture.serve_schedules();
    for reference in ["before", "after"] {
        let view: ScheduleView = fixture.get(&format!("/v1/schedules/{reference}")).await.good();
        fixture.until(&view, |view| view.fired == 1).await;
        let view = fixture.view(&view).await;
        assert_eq!(started(&view.recent.unwrap()[0].outcome), view.last_run.unwrap());
        assert_eq!(fixture.runs_of(reference).await, 1);
    }
}
