//! What the dispatcher promises: one host per run, nothing is lost, who gets what.
#![allow(clippy::unwrap_used)]

use super::*;
use everstep_core::{Digest, Limits, Payload, Run, StartOptions, StartRequest, Timestamp};
use futures::FutureExt;

fn run(n: u8) -> RunId {
    RunId::from_bytes([n; 16])
}

fn record(n: u8, workflow: &str, pool: Option<&str>) -> Record {
    let request = StartRequest {
        id: run(n),
        workflow: workflow.into(),
        version: "1".into(),
        digest: Digest::of(b""),
        engine: 1,
        limits: Limits::default(),
        input: Payload::null(),
        options: StartOptions { pool: pool.map(str::to_owned), ..StartOptions::default() },
        due: None,
        parent: None,
    };
    Run::start(request, Timestamp::default()).record
}

fn with_lease(lease: Duration) -> Arc<Dispatch> {
    Arc::new(Dispatch::alone(Timing { lease, ..Timing::default() }, 100))
}

fn dispatch() -> Arc<Dispatch> {
    with_lease(Duration::from_secs(60))
}

fn named(identity: &str) -> Introduction {
    Introduction { identity: identity.into(), concurrency: 10, ..Introduction::default() }
}

fn join(dispatch: &Dispatch, identity: &str) -> Seat {
    dispatch.join(named(identity), &[]).seat
}

/// The run that a host gets now, if there is one for it.
fn now(dispatch: &Arc<Dispatch>, host: Seat) -> Option<(RunId, Token)> {
    let taken = dispatch.next(host).now_or_never()??;
    let leased = (taken.run, taken.token);
    taken.keep();
    Some(leased)
}

#[test]
fn a_run_is_queued_once_and_leased_to_one_host() {
    let d = dispatch();
    let host = join(&d, "a");
    assert!(d.wake(run(1)) && d.wake(run(1)));
    assert_eq!(d.counts(), (1, 0));
    let (id, token) = now(&d, host).unwrap();
    assert!(d.is_leased(id) && d.holds(id, token) && token > Token(100));
    assert_eq!(d.counts(), (0, 1));
    assert_eq!(now(&d, host), None);
}

#[test]
fn what_happens_to_a_leased_run_is_told_to_its_holder_and_never_lost() {
    let d = dispatch();
    let host = join(&d, "a");
    d.wake(run(1));
    let (id, token) = now(&d, host).unwrap();
    for _ in 0..2 {
        d.changed(&record(1, "w", None), false);
        assert_eq!(d.next_news(host).now_or_never(), Some(News::Moved(id)));
    }
    assert!(d.hand_back(id, token, &HandBack::Idle(None)), "it moved before it was handed back");
    let (again, newer) = now(&d, host).unwrap();
    assert!(again == id && newer > token);
    d.wake(id);
    assert!(d.hand_back(id, newer, &HandBack::Idle(None)), "a timer came due meanwhile");
    let (_, newer) = now(&d, host).unwrap();
    assert!(!d.hand_back(id, token, &HandBack::Now), "an old token ends nothing");
    assert!(d.holds(id, newer));
}

#[test]
fn a_run_whose_commit_is_under_way_waits_until_it_is_through() {
    let d = with_lease(Duration::ZERO);
    let (host, other) = (join(&d, "a"), join(&d, "b"));
    d.wake(run(1));
    let (id, token) = now(&d, host).unwrap();
    let first = d.begin_commit(id, token).unwrap();
    let second = d.begin_commit(id, token).unwrap();
    d.expire_leases();
    assert!(d.begin_commit(id, token).is_none(), "the lease is lost");
    assert!(d.wake(id), "it is known to need a host");
    drop(first);
    assert_eq!((now(&d, host), now(&d, other)), (None, None), "it may still change");
    drop(second);
    let (again, newer) = now(&d, other).unwrap();
    assert!(again == id && newer > token);
    drop(d.begin_commit(id, newer).unwrap());
    assert!(d.holds(id, newer) && d.counts() == (0, 1), "nothing else was asked for");
}

#[test]
fn an_expired_lease_goes_to_somebody_else_and_its_host_is_told() {
    let d = with_lease(Duration::ZERO);
    let host = join(&d, "a");
    d.wake(run(1));
    let (id, token) = now(&d, host).unwrap();
    d.expire_leases();
    assert!(!d.holds(id, token));
    assert_eq!(d.next_news(host).now_or_never(), Some(News::Lost(id, token)));
    assert_eq!(d.renew(host.host, &[(id, token)], Report::default()), [id]);
    assert!(now(&d, host).unwrap().1 > token);
}

#[tokio::test]
async fn draining_ends_the_wait_for_work() {
    let d = dispatch();
    let host = join(&d, "a");
    let waiting = tokio::spawn({
        let d = Arc::clone(&d);
        async move { d.next(host).await.is_none() }
    });
    tokio::task::yield_now().await;
    d.drain();
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn who_stops_waiting_takes_nothing_with_him() {
    let d = dispatch();
    let host = join(&d, "a");
    let mut waiting = Box::pin(d.next(host));
    assert!(waiting.as_mut().now_or_never().is_none());
    d.wake(run(1));
    assert_eq!(d.counts(), (0, 1), "it is on the way");
    drop(waiting);
    assert_eq!(d.counts(), (1, 0), "and back");
    drop(d.next(host).await.unwrap());
    assert_eq!(d.counts(), (1, 0), "what was taken and not kept is back, too");
}

#[test]
fn pools_and_workflows_decide_who_gets_what() {
    let d = dispatch();
    let plain = join(&d, "plain");
    let gpu = d.join(Introduction { pool: Some("gpu".into()), ..named("gpu") }, &[]).seat;
    let pay = d.join(Introduction { workflows: vec!["pay".into()], ..named("pay") }, &[]).seat;
    d.changed(&record(1, "train", Some("gpu")), false);
    d.changed(&record(2, "mail", None), false);
    d.changed(&record(3, "pay", None), false);
    d.changed(&record(4, "train", Some("tpu")), false);
    let id = |leased: Option<(RunId, Token)>| leased.map(|(run, _)| run);
    assert_eq!(id(now(&d, pay)), Some(run(3)));
    assert_eq!(id(now(&d, pay)), None);
    assert_eq!(id(now(&d, plain)), Some(run(2)));
    assert_eq!(id(now(&d, plain)), None);
    assert_eq!(id(now(&d, gpu)), Some(run(1)));
    assert_eq!(id(now(&d, gpu)), None);
    assert_eq!(d.counts(), (1, 3), "nobody serves the last pool");
}

#[test]
fn a_run_of_which_nothing_is_known_is_passed_on_to_who_may_have_it() {
    let d = dispatch();
    let (plain, gpu) = (join(&d, "plain"), Introduction { pool: Some("gpu".into()), ..named("g") });
    let gpu = d.join(gpu, &[]).seat;
    d.wake(run(1));
    let taken = d.next(plain).now_or_never().unwrap().unwrap();
    let record = record(1, "train", Some("gpu"));
    assert!(!taken.is_for_its_host(&record));
    taken.pass_on(record);
    assert_eq!(now(&d, plain), None);
    assert_eq!(now(&d, gpu).map(|(run, _)| run), Some(run(1)));
}

#[tokio::test]
async fn the_freest_of_those_that_wait_gets_the_run() {
    let d = dispatch();
    let (small, large) = (join(&d, "small"), join(&d, "large"));
    d.wake(run(1));
    now(&d, small).unwrap();
    let (mut one, mut other) = (Box::pin(d.next(small)), Box::pin(d.next(large)));
    assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
    d.wake(run(2));
    assert_eq!(other.await.unwrap().run, run(2));
}

#[tokio::test]
async fn a_run_goes_to_the_host_that_rested_with_it_if_that_comes_soon() {
    let d = dispatch();
    let (home, other) = (join(&d, "home"), join(&d, "other"));
    let rest = |n: u8| {
        d.changed(&record(n, "w", None), false);
        let taken = d.next(home).now_or_never().unwrap().unwrap();
        assert!(taken.is_for_its_host(&record(n, "w", None)));
        let (run, token) = (taken.run, taken.token);
        taken.keep();
        assert!(!d.hand_back(run, token, &HandBack::Idle(None)));
    };
    rest(1);
    rest(2);
    d.wake(run(1));
    d.wake(run(2));
    assert_eq!(now(&d, other), None, "they wait for their host");
    assert_eq!(now(&d, home).map(|(run, _)| run), Some(run(1)));
    let serving = tokio::spawn({
        let d = Arc::clone(&d);
        async move { d.serve_homes().await }
    });
    let taken = d.next(other).await.unwrap();
    assert_eq!(taken.run, run(2), "it does not wait for ever");
    serving.abort();
}

#[test]
fn a_host_that_comes_back_keeps_what_it_has_and_hears_of_it() {
    let d = dispatch();
    let first = d.join(named("a"), &[]);
    let host = first.seat;
    (1..=3).for_each(|n| assert!(d.wake(run(n))));
    let kept = now(&d, host).unwrap();
    let forgotten = now(&d, host).unwrap();
    d.lose_touch(host, Duration::from_secs(60));
    assert!(d.holds(kept.0, kept.1) && !d.hosts()[0].connected);
    let back = d.join(named("a"), &[kept, (run(9), Token(7))]);
    assert_eq!((back.seat.host, back.lost), (host.host, vec![run(9)]));
    assert!(first.superseded.notified().now_or_never().is_some());
    assert!(d.holds(kept.0, kept.1) && !d.holds(forgotten.0, forgotten.1));
    let news: Vec<_> = std::iter::from_fn(|| d.next_news(back.seat).now_or_never()).collect();
    assert!(news.contains(&News::Moved(kept.0)), "what it missed: {news:?}");
    d.lose_touch(host, Duration::ZERO);
    d.expire_leases();
    assert!(d.holds(kept.0, kept.1), "the end of the old connection is not that of the new one");
    d.leave(host);
    d.stop_work(host);
    assert_eq!(d.counts(), (2, 1));
    let mut waiting = Box::pin(d.next(back.seat));
    assert_eq!(waiting.as_mut().now_or_never().map(|taken| taken.is_some()), Some(true));
}

#[test]
fn a_host_that_is_gone_has_its_patience_and_one_that_leaves_none() {
    let d = dispatch();
    let gone = d.join(named("gone"), &[]);
    let leaves = join(&d, "leaves");
    (1..=2).for_each(|n| assert!(d.wake(run(n))));
    let first = now(&d, gone.seat).unwrap();
    now(&d, leaves).unwrap();
    d.leave(leaves);
    assert_eq!(d.counts(), (1, 1), "at once");
    d.lose_touch(gone.seat, Duration::ZERO);
    assert!(d.holds(first.0, first.1));
    d.expire_leases();
    assert_eq!(d.counts(), (2, 0));
    assert_eq!(d.next(gone.seat).now_or_never().map(|taken| taken.is_none()), Some(true));
}

#[test]
fn a_host_that_drains_gets_nothing_more_and_keeps_what_it_has() {
    let d = dispatch();
    let host = join(&d, "a");
    d.wake(run(1));
    let (id, token) = now(&d, host).unwrap();
    d.stop_work(host);
    d.wake(run(2));
    assert!(matches!(d.next(host).now_or_never(), Some(None)));
    assert!(d.holds(id, token));
}

#[tokio::test]
async fn a_host_has_no_more_than_it_drives_at_once() {
    let d = dispatch();
    let host = d.join(Introduction { concurrency: 1, ..named("a") }, &[]).seat;
    assert!(d.wake(run(1)) && d.wake(run(2)));
    let (id, token) = now(&d, host).unwrap();
    let mut waiting = Box::pin(d.next(host));
    assert!(waiting.as_mut().now_or_never().is_none());
    d.hand_back(id, token, &HandBack::Idle(None));
    assert_eq!(waiting.await.unwrap().run, run(2));
}

#[tokio::test]
async fn the_end_of_an_old_connection_does_not_disturb_the_new_one() {
    let d = dispatch();
    let old = join(&d, "a");
    let mut before = Box::pin(d.next(old));
    assert!(before.as_mut().now_or_never().is_none());
    let new = join(&d, "a");
    let mut after = Box::pin(d.next(new));
    assert!(after.as_mut().now_or_never().is_none());
    drop(before);
    d.wake(run(1));
    assert_eq!(after.await.unwrap().run, run(1));
    assert!(matches!(d.next(old).now_or_never(), Some(None)));
    d.changed(&record(1, "w", None), false);
    assert_eq!(d.next_news(old).now_or_never(), None, "it takes nobody's news");
}

#[test]
fn a_pool_that_nobody_serves_keeps_no_other_from_being_queued() {
    let d = dispatch();
    let numbered = |n: usize, pool| {
        let mut record = record(0, "w", pool);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        Arc::make_mut(&mut record.origin).id = RunId::from_bytes(id);
        record
    };
    (0..=QUEUE_MAX).for_each(|n| d.changed(&numbered(n, Some("nobody")), false));
    assert_eq!(d.counts(), (QUEUE_MAX, 0), "the rest stays in the store");
    d.changed(&numbered(QUEUE_MAX + 1, None), false);
    let host = join(&d, "a");
    assert!(now(&d, host).is_some());
    assert_eq!(now(&d, host), None);
}

/// The last byte of a run is its shard here.
fn sharded() -> Arc<Dispatch> {
    Arc::new(Dispatch::new(Timing::default(), |run| u16::from(run.as_bytes()[15])))
}

#[test]
fn what_another_server_owns_is_none_of_our_business() {
    let d = sharded();
    let host = join(&d, "a");
    d.gain(1, 7);
    assert!(d.wake(run(2)) && d.wake(run(1)));
    d.changed(&record(2, "w", None), false);
    assert!(d.owns(run(1)) && !d.owns(run(2)) && !d.leads());
    let (id, token) = now(&d, host).unwrap();
    assert_eq!((id, token.0 >> 40), (run(1), 7), "its token begins with the epoch of the claim");
    assert_eq!(now(&d, host), None);
    d.know_elsewhere([(2, "http://b".into()), (1, "http://b".into())].into());
    assert_eq!(d.elsewhere(run(2)).as_deref(), Some("http://b"));
    assert_eq!(d.elsewhere(run(1)), None);
}

#[test]
fn with_a_shard_go_its_leases_and_its_queue() {
    let d = sharded();
    let host = join(&d, "a");
    (0..3).for_each(|shard| d.gain(shard, 1));
    assert!(d.leads());
    d.wake(run(1));
    let (held, token) = now(&d, host).unwrap();
    d.changed(&record(2, "w", None), false);
    d.changed(&record(0, "w", None), false);
    d.lose(&[1, 2].into());
    assert!(!d.holds(held, token), "it can write nothing more");
    assert_eq!(d.next_news(host).now_or_never(), Some(News::Lost(held, token)));
    assert_eq!(d.renew(host.host, &[(held, token)], Report::default()), [held]);
    assert_eq!(now(&d, host).unwrap().0, run(0), "the others stay");
    assert_eq!(d.counts(), (0, 1));
    d.gain(1, 2);
    d.wake(run(1));
    let (_, again) = now(&d, host).unwrap();
    assert!(again > token && again.0 >> 40 == 2);
    d.hand_back(held, token, &HandBack::Now);
    assert!(d.holds(held, again), "what is said under the old lease does nothing");
}
