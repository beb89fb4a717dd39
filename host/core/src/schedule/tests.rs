//! Times by table and by property, then decisions: what is due after downtime, under which policy.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::Timestamp;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(expression: &str, zone: &str) -> Spec {
    Spec::Cron { expression: expression.into(), time_zone: zone.into() }
}

fn every(interval_ms: u64, offset_ms: u64) -> Spec {
    Spec::Every { interval_ms, offset_ms }
}

/// The occurrences after an instant, without their milliseconds.
fn times(spec: &Spec, after: &str, count: usize) -> Vec<String> {
    let found = spec.occurrences(at(after), count).unwrap();
    found.iter().map(|at| at.to_string().replace(".000Z", "Z")).collect()
}

#[test]
fn expressions_fire_in_their_zone() {
    for (expression, zone, after, expected) in [
        (
            "0 9 * * *",
            "UTC",
            "2026-05-01T09:00:00Z",
            ["2026-05-02T09:00:00Z", "2026-05-03T09:00:00Z"],
        ),
        (
            "0 9 * * *",
            "Europe/Berlin",
            "2026-05-01T06:59:59.999Z",
            ["2026-05-01T07:00:00Z", "2026-05-02T07:00:00Z"],
        ),
        (
            "*/15 * * * * *",
            "UTC",
            "2026-05-01T09:00:01.5Z",
            ["2026-05-01T09:00:15Z", "2026-05-01T09:00:30Z"],
        ),
        (
            "0 9 * * MON-FRI",
            "UTC",
            "2026-05-01T09:00:00Z",
            ["2026-05-04T09:00:00Z", "2026-05-05T09:00:00Z"],
        ),
        (
            "0 0 L * *",
            "UTC",
            "2026-01-31T00:00:00Z",
            ["2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"],
        ),
        (
            "@monthly",
            "Asia/Kolkata",
            "2026-05-01T00:00:00Z",
            ["2026-05-31T18:30:00Z", "2026-06-30T18:30:00Z"],
        ),
    ] {
        assert_eq!(times(&cron(expression, zone), after, 2), expected, "{expression} {zone}");
    }
}

#[test]
fn a_leap_day_comes_when_the_calendar_has_one() {
    let leap = cron("0 12 29 2 *", "Europe/Berlin");
    let expected = ["2028-02-29T11:00:00Z", "2032-02-29T11:00:00Z", "2036-02-29T11:00:00Z"];
    assert_eq!(times(&leap, "2026-01-01T00:00:00Z", 3), expected);
    // 2100 is no leap year.
    assert_eq!(times(&leap, "2096-03-01T00:00:00Z", 1), ["2104-02-29T11:00:00Z"]);
}

#[test]
fn a_time_that_is_skipped_fires_at_the_end_of_the_gap_and_once() {
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    let expected = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
    assert_eq!(times(&berlin, "2026-03-27T12:00:00Z", 3), expected);
    let new_york = cron("30 2 * * *", "America/New_York");
    let expected = ["2026-03-07T07:30:00Z", "2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"];
    assert_eq!(times(&new_york, "2026-03-06T12:00:00Z", 3), expected);
    // Several times in the gap are one fire; what comes behind it is as usual.
    let often = cron("0,15,30 2,3 * * *", "Europe/Berlin");
    let expected = ["2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z", "2026-03-29T01:30:00Z"];
    assert_eq!(times(&often, "2026-03-29T00:00:00Z", 3), expected);
    // Lord Howe Island moves by half an hour.
    let howe = cron("15 2 * * *", "Australia/Lord_Howe");
    let expected = ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"];
    assert_eq!(times(&howe, "2026-10-03T12:00:00Z", 2), expected);
    // Samoa skipped a whole day.
    let samoa = cron("0 9 * * *", "Pacific/Apia");
    let expected = ["2011-12-29T19:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T19:00:00Z"];
    assert_eq!(times(&samoa, "2011-12-29T12:00:00Z", 3), expected);
}

#[test]
fn a_time_that_comes_twice_fires_the_first_time() {
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    let expected = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
    assert_eq!(times(&berlin, "2026-10-23T12:00:00Z", 3), expected);
    // Also when it is asked from within the second half.
    assert_eq!(times(&berlin, "2026-10-25T01:15:00Z", 1), ["2026-10-26T01:30:00Z"]);
    let twice_a_day = cron("30 2,14 * * *", "Europe/Berlin");
    let expected = ["2026-10-25T00:30:00Z", "2026-10-25T13:30:00Z"];
    assert_eq!(times(&twice_a_day, "2026-10-25T00:00:00Z", 2), expected);
    let new_york = cron("30 1 * * *", "America/New_York");
    let expected = ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"];
    assert_eq!(times(&new_york, "2026-11-01T00:00:00Z", 2), expected);
}

#[test]
fn hours_that_roll_follow_the_time_that_passes() {
    let hourly = cron("30 * * * *", "Europe/Berlin");
    let expected = ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"];
    assert_eq!(times(&hourly, "2026-03-29T00:00:00Z", 3), expected);
    let expected = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"];
    assert_eq!(times(&hourly, "2026-10-25T00:00:00Z", 3), expected);
    assert_eq!(times(&cron("@hourly", "Europe/Berlin"), "2026-10-25T00:00:00Z", 3).len(), 3);
}

#[test]
fn intervals_count_from_1970() {
    let quarter = every(900_000, 60_000);
    let expected = ["2026-05-01T09:01:00Z", "2026-05-01T09:16:00Z"];
    assert_eq!(times(&quarter, "2026-05-01T08:46:00Z", 2), expected);
    assert_eq!(every(5_000, 2_000).occurrences(Timestamp::from_millis(0), 1).unwrap().len(), 1);
    let never_again = every(LONGEST_INTERVAL_MS, 0);
    assert!(never_again.occurrences(at("9999-01-01T00:00:00Z"), 3).unwrap().len() <= 1);
}

#[test]
fn what_cannot_fire_is_refused_with_a_code() {
    let now = at("2026-05-01T00:00:00Z");
    let long = "1,".repeat(200);
    for (spec, code) in [
        (cron("", "UTC"), "schedule.cron"),
        (cron("0 9 * *", "UTC"), "schedule.cron"),
        (cron("61 9 * * *", "UTC"), "schedule.cron"),
        (cron("0 9 * * MOO", "UTC"), "schedule.cron"),
        (cron("0 0 9 * * * 2030", "UTC"), "schedule.cron"),
        (cron("@reboot", "UTC"), "schedule.cron"),
        (cron(&long, "UTC"), "schedule.cron"),
        (cron("0 0 30 2 *", "UTC"), "schedule.never"),
        (cron("0 0 31 4,6 *", "Europe/Berlin"), "schedule.never"),
        (cron("0 9 * * *", "Europe/Belin"), "schedule.time_zone"),
        (cron("0 9 * * *", ""), "schedule.time_zone"),
        (every(999, 0), "schedule.interval"),
        (every(0, 0), "schedule.interval"),
        (every(1_000, 1_000), "schedule.interval"),
        (every(LONGEST_INTERVAL_MS + 1, 0), "schedule.interval"),
    ] {
        let error = spec.check(now).unwrap_err();
        assert_eq!(error.code(), code, "{spec:?}: {error}");
        assert!(!error.fix().is_empty());
    }
    cron("0 0 29 2 +MON", "UTC").check(now).unwrap();
}

#[test]
fn the_clock_on_the_wall_is_shown_with_its_offset() {
    let spec = cron("0 9 * * *", "Europe/Berlin");
    let shown = spec.local(at("2026-05-01T07:00:00Z")).unwrap();
    assert_eq!(shown, "2026-05-01 09:00:00 +02");
    assert_eq!(every(1_000, 0).local(at("2026-05-01T07:00:00Z")), None);
}

fn schedule(spec: Spec, missed: Missed) -> Schedule {
    let body = ScheduleBody { missed, ..ScheduleBody::new(spec, ScheduledStart::new("w")) };
    Schedule::new(body, [7; 16], at("2026-05-01T09:00:30Z")).unwrap()
}

fn minutely(missed: Missed) -> Schedule {
    schedule(every(60_000, 0), missed)
}

#[test]
fn nothing_is_due_before_its_time() {
    for missed in [Missed::RunOnce, Missed::RunAll, Missed::Skip] {
        let schedule = minutely(missed);
        let next = at("2026-05-01T09:01:00Z");
        assert_eq!(schedule.step(schedule.created_at).unwrap(), Step::Wait(Some(next)));
        let early = at("2026-05-01T09:00:59.999Z");
        assert_eq!(schedule.step(early).unwrap(), Step::Wait(Some(next)));
        assert_eq!(schedule.step(next).unwrap(), Step::Fire(next, None));
    }
}

#[test]
fn after_downtime_the_policy_decides() {
    let (first, last) = (at("2026-05-01T09:01:00Z"), at("2026-05-01T12:00:00Z"));
    let now = at("2026-05-01T12:00:05Z");
    // run_once: the last one, for all.
    let once = minutely(Missed::RunOnce);
    assert_eq!(once.step(now).unwrap(), Step::Fire(last, Some(first)));
    // run_all: each in turn.
    let mut all = minutely(Missed::RunAll);
    let mut fired = Vec::new();
    while let Step::Fire(occurrence, None) = all.step(now).unwrap() {
        all.admit(Firing::new(occurrence, Cause::Due), Overlap::Allow, false);
        fired.push(occurrence);
        all.finish(Outcome::Started { run: run(1) }, now);
    }
    assert_eq!((fired.len(), fired[0], *fired.last().unwrap()), (180, first, last));
    assert_eq!(all.state.recent.len(), MOST_RECENT);
    // skip: none but the one that is on time.
    let mut skip = minutely(Missed::Skip);
    assert_eq!(skip.step(now).unwrap(), Step::Miss(first, last));
    skip.miss(first, last);
    assert_eq!(skip.step(now).unwrap(), Step::Fire(last, None));
    let later = at("2026-05-01T12:00:30Z");
    let next = at("2026-05-01T12:01:00Z");
    let mut skip = minutely(Missed::Skip);
    assert_eq!(skip.step(later).unwrap(), Step::Miss(first, next));
    skip.miss(first, next);
    assert_eq!(skip.step(later).unwrap(), Step::Wait(Some(next)));
}

#[test]
fn years_of_missed_seconds_are_found_at_once() {
    let mut schedule = schedule(cron("* * 0-22 * * *", "Europe/Berlin"), Missed::RunOnce);
    let now = at("2029-05-01T21:30:00Z");
    let Step::Fire(last, Some(_)) = schedule.step(now).unwrap() else { panic!("nothing is due") };
    assert_eq!(last, at("2029-05-01T20:59:59Z"));
    schedule.missed = Missed::Skip;
    let next = at("2029-05-01T22:00:00Z");
    assert_eq!(schedule.step(now).unwrap(), Step::Miss(at("2026-05-01T09:00:31Z"), next));
}

#[test]
fn a_clock_that_is_set_back_fires_nothing_again() {
    let mut schedule = minutely(Missed::RunOnce);
    let fired = at("2026-05-01T09:01:00Z");
    schedule.admit(Firing::new(fired, Cause::Due), Overlap::Allow, false);
    let next = at("2026-05-01T09:02:00Z");
    let slightly = at("2026-05-01T09:00:59.800Z");
    assert_eq!(schedule.step(slightly).unwrap(), Step::Wait(Some(next)));
    // Set back far, the times come again; their runs have the same ids.
    let far = at("2026-05-01T08:00:30Z");
    let again = at("2026-05-01T08:01:00Z");
    assert_eq!(schedule.step(far).unwrap(), Step::Wait(Some(again)));
    let (one, same) = (Firing::new(fired, Cause::Due), Firing::new(fired, Cause::Backfill));
    assert_eq!(schedule.run_of(&one), schedule.run_of(&same));
}

fn run(n: u8) -> RunId {
    RunId::from_bytes([n; 16])
}

#[test]
fn an_open_run_is_met_by_the_policy() {
    let fresh = || {
        let mut schedule = minutely(Missed::RunOnce);
        schedule.state.last_run = Some(run(1));
        schedule
    };
    let due = |n: u64| Firing::new(at("2026-05-01T09:00:00Z").plus(n * 60_000), Cause::Due);
    for (overlap, cancels) in [(Overlap::Allow, false), (Overlap::CancelPrevious, true)] {
        let mut schedule = fresh();
        assert_eq!(schedule.admit(due(1), overlap, true), None);
        assert_eq!(schedule.state.firing, Some(Firing { cancels, ..due(1) }));
    }
    let mut schedule = fresh();
    let skipped = Some(Outcome::Skipped { open: run(1) });
    assert_eq!(schedule.admit(due(1), Overlap::Skip, true), skipped);
    assert_eq!((schedule.state.firing.clone(), schedule.state.cursor), (None, due(1).at));
    let buffered = Some(Outcome::Buffered { open: run(1) });
    assert_eq!(schedule.admit(due(2), Overlap::BufferOne, true), buffered);
    assert_eq!(schedule.admit(due(3), Overlap::BufferOne, true), skipped);
    schedule.release();
    assert_eq!(schedule.state.firing, Some(due(2)));
    schedule.finish(Outcome::Started { run: run(2) }, due(4).at);
    assert_eq!(schedule.state.last_run, Some(run(2)));
    assert_eq!((schedule.state.fired, schedule.state.last_fired_at), (1, Some(due(4).at)));
    let outcomes: Vec<_> = schedule.state.recent.iter().map(|fired| &fired.outcome).collect();
    let expected = [
        &Outcome::Started { run: run(2) },
        &Outcome::Skipped { open: run(1) },
        &Outcome::Skipped { open: run(1) },
    ];
    assert_eq!(outcomes, expected);
    // Nothing is open: every policy starts.
    for overlap in [Overlap::Skip, Overlap::BufferOne, Overlap::CancelPrevious] {
        let mut schedule = fresh();
        assert_eq!(schedule.admit(due(1), overlap, false), None);
        assert_eq!(schedule.state.firing, Some(due(1)), "{overlap:?}");
    }
}

#[test]
fn two_triggers_in_one_millisecond_are_two() {
    let mut schedule = minutely(Missed::RunOnce);
    let now = schedule.created_at;
    let first = schedule.trigger(now);
    assert_eq!(first.at, now);
    schedule.admit(first.clone(), Overlap::Allow, false);
    let second = schedule.trigger(now);
    assert_ne!(schedule.run_of(&first), schedule.run_of(&second));
    assert_eq!(schedule.trigger(now.plus(9)).at, now.plus(9));
}

#[test]
fn a_pause_passes_over_what_would_have_fired() {
    let mut schedule = minutely(Missed::RunAll);
    schedule.pause();
    let later = at("2026-05-01T10:00:30Z");
    assert_eq!(schedule.step(later).unwrap(), Step::Wait(None));
    schedule.resume(later);
    assert_eq!(schedule.step(later).unwrap(), Step::Wait(Some(at("2026-05-01T10:01:00Z"))));
}

#[test]
fn a_reference_names_one_schedule_and_a_namesake_starts_runs_of_its_own() {
    let body = ScheduleBody {
        reference: Some("nightly".into()),
        ..ScheduleBody::new(every(60_000, 0), ScheduledStart::new("w"))
    };
    let now = at("2026-05-01T09:00:00Z");
    let one = Schedule::new(body.clone(), [1; 16], now).unwrap();
    let other = Schedule::new(body.clone(), [2; 16], now.plus(1)).unwrap();
    assert_eq!(one.id, other.id);
    assert!(one.is_defined_like(&other));
    let firing = Firing::new(now, Cause::Due);
    assert_ne!(one.run_of(&firing), other.run_of(&firing));
    let nameless = ScheduleBody { reference: None, ..body };
    let nameless = Schedule::new(nameless, [1; 16], now).unwrap();
    assert_ne!(nameless.id, one.id);
    let start = one.start_body(&firing);
    assert_eq!(start.tags[TAG], "nightly");
    assert_eq!(RunId::from_key("w", &start.idempotency_key.unwrap()), one.run_of(&firing));
    assert_eq!(nameless.start_body(&firing).tags[TAG], nameless.id.to_string());
}

#[test]
fn a_schedule_is_stored_and_read_back() {
    let mut schedule = schedule(cron("0 9 * * *", "Europe/Berlin"), Missed::Skip);
    schedule.start.input = Some(Payload::from_bytes(b"{\"a\": 1.50}").unwrap());
    schedule.start.retry = Some(RetryPolicy::TASK_DEFAULT);
    let now = schedule.created_at;
    schedule.state.last_run = Some(run(3));
    schedule.admit(Firing::new(now, Cause::Trigger), Overlap::BufferOne, true);
    schedule.admit(Firing::new(now, Cause::Due), Overlap::CancelPrevious, true);
    schedule.make_up(now, now.plus(5));
    let refused = Outcome::Refused { code: "a.b".into(), detail: "no".into() };
    schedule.finish(refused, now);
    schedule.state.firing = Some(Firing::new(now, Cause::Backfill));
    let packed = rmp_serde::to_vec_named(&schedule).unwrap();
    assert_eq!(rmp_serde::from_slice::<Schedule>(&packed).unwrap(), schedule);
    let view = ScheduleView::whole(&schedule, now);
    let text = serde_json::to_string(&view).unwrap();
    assert_eq!(serde_json::from_str::<ScheduleView>(&text).unwrap(), view);
    assert_eq!(view.next.len(), 10);
}

/// Expressions that are not all alike, and mean something.
fn expression() -> impl Strategy<Value = String> {
    let field = |low: u32, high: u32| {
        prop_oneof![
            3 => Just("*".to_owned()),
            2 => (low..=high).prop_map(|n| n.to_string()),
            1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{a},{b}")),
            1 => (2..=high).prop_map(|n| format!("*/{n}")),
        ]
    };
    let day = (field(1, 28), field(1, 12), field(0, 6));
    (field(0, 59), field(0, 59), field(0, 23), day).prop_map(
        |(second, minute, hour, (day, month, weekday))| {
            format!("{second} {minute} {hour} {day} {month} {weekday}")
        },
    )
}

const ZONES: [&str; 5] =
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Occurrences strictly increase, wherever one begins, across every change of clocks; and the
    /// last one before an instant is really the last.
    #[test]
    fn occurrences_strictly_increase(
        expression in expression(),
        zone in 0..ZONES.len(),
        // Within two hours of the changes of Berlin in 2026, or anywhere in four years.
        start in prop_oneof![
            1_774_738_800_000_u64..1_774_753_200_000,
            1_792_882_800_000_u64..1_792_897_200_000,
            1_767_225_600_000_u64..1_893_456_000_000,
        ],
    ) {
        let spec = cron(&expression, ZONES[zone]);
        let start = Timestamp::from_millis(start);
        let found = spec.occurrences(start, 20).unwrap();
        prop_assert!(found.first().is_some_and(|first| *first > start), "{expression}");
        prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{expression}: {found:?}");
        let reader = spec.reader().unwrap();
        let (first, end) = (found[0], *found.last().unwrap());
        prop_assert_eq!(reader.last(first, end), end);
        let before = Timestamp::from_millis(end.as_millis() - 1);
        prop_assert_eq!(reader.last(first, before), found[found.len() - 2]);
        // Asked from any point between two occurrences, the next is the same.
        for pair in found.windows(2) {
            let middle = pair[0].plus(pair[1].since(pair[0]) / 2);
            prop_assert_eq!(reader.next(middle), Some(pair[1]), "{}", expression);
        }
    }
}
