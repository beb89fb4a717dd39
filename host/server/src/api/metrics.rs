//! `/metrics`: what the server does, in numbers, in the text format of Prometheus.

use super::Api;
use super::problem::ApiError;
use axum::extract::State;
use axum::http::{HeaderName, header};
use std::fmt::Write;

/// The text format and its version.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4";

#[utoipa::path(get, path = "/metrics", tag = "server", operation_id = "readMetrics",
    responses(
        (status = 200, description = "Metrics in the text format of Prometheus.", body = String),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn metrics(
    State(api): State<Api>,
) -> Result<([(HeaderName, &'static str); 1], String), ApiError> {
    let store = api.service.store_stats().await?;
    let (queued, leased) = api.service.queued_and_leased();
    let hosts = api.service.hosts();
    let connected = hosts.iter().filter(|host| host.connected);
    let (passed, failed) = api.service.self_checks();
    let resumes = api.service.resume_counts();
    let counters = [
        ("everstep_runs_started_total", "Runs started.", api.service.starts()),
        (
            "everstep_self_checks_total",
            "Finished runs that were executed again and compared.",
            passed + failed,
        ),
        ("everstep_self_check_failures_total", "Those that were not what they had been.", failed),
        (
            "everstep_resumes_by_snapshot_total",
            "Runs that came into memory from a snapshot.",
            resumes.by_snapshot,
        ),
        (
            "everstep_resumes_by_replay_total",
            "Runs that came into memory by the replay of their whole journal.",
            resumes.by_replay,
        ),
        ("everstep_snapshots_taken_total", "Snapshots that were taken.", resumes.taken),
        ("everstep_snapshot_bytes_total", "The bytes of these.", resumes.bytes),
        (
            "everstep_snapshots_refused_total",
            "Snapshots that were there and could not be used.",
            resumes.refused,
        ),
        ("everstep_store_commits_total", "Commits made durable.", store.commits),
        ("everstep_store_fsyncs_total", "Groups of commits made durable together.", store.fsyncs),
        ("everstep_store_written_bytes_total", "Bytes written for commits.", store.bytes_written),
    ];
    let gauges = [
        ("everstep_runs_queued", "Runs that wait for a host.", queued as u64),
        ("everstep_runs_leased", "Runs that a host has.", leased as u64),
        (
            "everstep_shards_owned",
            "Shards of the store that this server takes care of.",
            api.service.shards_owned() as u64,
        ),
        ("everstep_hosts", "Hosts that are connected.", connected.clone().count() as u64),
        (
            "everstep_hosts_free",
            "Runs that connected hosts could take now.",
            connected.map(|host| host.free).sum(),
        ),
        ("everstep_store_commits_waiting", "Commits that wait for the disk.", store.waiting),
        (
            "everstep_clients_waiting",
            "Clients that wait for a run or follow its logs.",
            api.service.waiting() as u64,
        ),
    ];
    let mut text = String::new();
    let kinds = [("counter", counters.as_slice()), ("gauge", gauges.as_slice())];
    for (kind, metrics) in kinds {
        for (name, help, value) in metrics {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
    }
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], text))
}
