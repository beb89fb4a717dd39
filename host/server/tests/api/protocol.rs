//! What holds for every request: unknown paths, wrong methods, ids that are none, the bounds on
//! waiting clients and uploads, metrics.

use crate::fixture::Fixture;
use everstep_server::service::ServiceOptions;
use std::time::Duration;

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let fixture = Fixture::new().await;
    for path in ["/", "/v1", "/v1/run", "/v1/runs/x/y/z", "/v2/runs"] {
        fixture.get(path).await.problem(404, "route.unknown");
    }
    fixture.post("/v1/modules/x", "", Vec::new()).await.problem(405, "route.method");
    fixture.post("/healthz", "", Vec::new()).await.problem(405, "route.method");
    for path in ["/v1/runs/x", "/v1/runs/x/journal", "/v1/runs/x/wait", "/v1/runs/%ff/logs"] {
        fixture.get(path).await.problem(400, "request.invalid");
    }
    let nobody = "0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f";
    for path in ["", "/journal", "/logs", "/wait"] {
        fixture.get(&format!("/v1/runs/{nobody}{path}")).await.problem(404, "run.not_found");
    }
    for action in ["cancel", "retry"] {
        let answer = fixture.post(&format!("/v1/runs/{nobody}/{action}"), "", Vec::new()).await;
        answer.problem(404, "run.not_found");
    }
}

#[tokio::test]
async fn only_so_many_clients_may_wait() {
    let options = ServiceOptions { waiting_max: 1, ..ServiceOptions::default() };
    let fixture = Fixture::with(options).await;
    let run = fixture.run().await;
    let path = format!("/v1/runs/{run}/wait?timeout_ms=2000");
    let second = async {
        while fixture.service.waiting() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fixture.get(&path).await.problem(503, "server.busy");
        fixture.complete(run, "1").await;
    };
    let (first, ()) = tokio::join!(fixture.get(&path), second);
    assert_eq!(first.status, 200);
}

#[tokio::test]
async fn only_so_many_uploads_are_received() {
    let options = ServiceOptions { uploads_max: 0, ..ServiceOptions::default() };
    let fixture = Fixture::with(options).await;
    fixture.upload(vec![0; 1_000]).await.problem(503, "server.busy");
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let fixture = Fixture::new().await;
    fixture.run().await;
    let text = fixture.get("/metrics").await;
    let text = text.text();
    for line in [
        "# TYPE everstep_runs_started_total counter",
        "everstep_runs_started_total 1",
        "everstep_store_commits_total 1",
        "everstep_runs_queued 1",
        "everstep_runs_leased 0",
        "everstep_clients_waiting 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_work_is_reported() {
    let fixture = Fixture::new().await;
    fixture.store.close().await;
    fixture.get("/readyz").await.problem(503, "store.unavailable");
    fixture.get("/v1/runs").await.problem(503, "store.unavailable");
    fixture.get("/healthz").await.good_text("ok\n");
}
