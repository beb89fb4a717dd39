//! `/v1/runs`: start, list, show, wait, cancel, retry.

use super::extract::{JsonBody, OptionalJsonBody, Params, RunPath};
use super::problem::ApiError;
use super::selection::{selection, states};
use super::{Api, elsewhere};
use crate::service::{ServiceError, WaitFor};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use everstep_core::api::{CancelBody, RetryBody, RunList, RunView, StartBody, Started, Waited};
use std::time::Duration;

#[utoipa::path(post, path = "/v1/runs", tag = "runs", operation_id = "startRun",
    description = "Starts a run. It is durable when the answer comes.",
    request_body(content = ref("#/components/schemas/StartBody"),
        content_type = "application/json"),
    responses(
        (status = 202, description = "It is started.", body = ref("#/components/schemas/Started")),
        (status = 200, description = "The idempotency key named a run that existed.",
            body = ref("#/components/schemas/Started")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn start(
    State(api): State<Api>,
    JsonBody(body): JsonBody<StartBody>,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let started = api.service.start(body).await?;
    let status = if started.created { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(started)))
}

#[utoipa::path(get, path = "/v1/runs", tag = "runs", operation_id = "listRuns",
    description = "Runs, newest first. All filters must hold. A page may be shorter than asked \
        for and still have a cursor.",
    params(
        ("workflow" = Option<String>, Query, description = "Runs of this workflow."),
        ("version" = Option<String>, Query, description = "Runs of this version."),
        ("state" = Option<String>, Query,
            description = "Runs in one of these states: repeated, or a list with commas."),
        ("parent" = Option<String>, Query, description = "Children of this run."),
        ("tag" = Option<String>, Query,
            description = "Runs with this tag, `name:value`; repeated: with all of them."),
        ("failure_code" = Option<String>, Query,
            description = "Runs that failed with this code, or are stuck by it."),
        ("started_after" = Option<String>, Query,
            description = "Runs started at this instant or later."),
        ("started_before" = Option<String>, Query,
            description = "Runs started before this instant."),
        ("updated_after" = Option<String>, Query,
            description = "Runs to which something last happened at this instant or later. \
                Quick together with another filter."),
        ("updated_before" = Option<String>, Query,
            description = "Runs to which nothing has happened since this instant."),
        ("limit" = Option<u64>, Query, description = "Runs per page, at most 1,000; else 100."),
        ("cursor" = Option<String>, Query, description = "The `cursor` of the page before.")),
    responses(
        (status = 200, description = "A page.", body = ref("#/components/schemas/RunList")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn list(
    State(api): State<Api>,
    mut params: Params,
) -> Result<Json<RunList>, ApiError> {
    let selection = selection(&mut params)?;
    let cursor = params.text("cursor")?;
    let limit = params.size("limit")?;
    params.finish()?;
    Ok(Json(api.service.list(selection, cursor, limit).await?))
}

#[utoipa::path(get, path = "/v1/runs/{id}", tag = "runs", operation_id = "showRun",
    params(("id" = String, Path, description = "The run's id.")),
    responses(
        (status = 200, description = "The run with its input and pending operations.",
            body = ref("#/components/schemas/RunView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn show(
    State(api): State<Api>,
    RunPath(run): RunPath,
    headers: HeaderMap,
) -> Result<Json<RunView>, ApiError> {
    if let Some(url) = api.service.elsewhere(run)
        && !elsewhere::is_asked_by_server(&headers)
        && let Some(view) = elsewhere::ask(&url, &format!("/v1/runs/{run}")).await
    {
        return Ok(Json(view));
    }
    Ok(Json(api.service.show(run).await?))
}

#[utoipa::path(get, path = "/v1/runs/{id}/wait", tag = "runs", operation_id = "waitForRun",
    description = "Waits until the run is in a state. The answer says whether it was reached, the \
        time was up, or it cannot be reached (the run ended otherwise, or is stuck).",
    params(
        ("id" = String, Path, description = "The run's id."),
        ("status" = Option<String>, Query,
            description = "States to wait for: repeated, or a list with commas; else any end."),
        ("timeout_ms" = Option<u64>, Query,
            description = "How long to wait: at most, and when absent, 60,000. Ask again to wait \
                longer.")),
    responses(
        (status = 200, description = "How the wait ended.",
            body = ref("#/components/schemas/Waited")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn wait(
    State(api): State<Api>,
    RunPath(run): RunPath,
    mut params: Params,
) -> Result<Json<Waited>, ApiError> {
    let wanted = WaitFor {
        states: states(params.words("status"), "status")?,
        timeout: params.number("timeout_ms")?.map(Duration::from_millis),
    };
    params.finish()?;
    tokio::select! {
        biased;
        waited = api.service.wait(run, &wanted) => Ok(Json(waited?)),
        () = api.drained() => Err(ServiceError::Draining.into()),
    }
}

#[utoipa::path(post, path = "/v1/runs/{id}/cancel", tag = "runs", operation_id = "cancelRun",
    description = "Asks a run to stop. It may clean up for a while, then it is ended. Asking again \
        changes nothing.",
    params(("id" = String, Path, description = "The run's id.")),
    request_body(content = ref("#/components/schemas/CancelBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "The run, which knows.",
            body = ref("#/components/schemas/RunView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn cancel(
    State(api): State<Api>,
    RunPath(run): RunPath,
    OptionalJsonBody(body): OptionalJsonBody<CancelBody>,
) -> Result<Json<RunView>, ApiError> {
    Ok(Json(api.service.cancel(run, body).await?))
}

#[utoipa::path(post, path = "/v1/runs/{id}/retry", tag = "runs", operation_id = "retryRun",
    description = "Continues a run that is stuck, after what stopped it was mended, or tries a \
        failed one again. Results of completed operations are kept; tasks that failed are tried \
        anew, or given the outputs of the body.",
    params(("id" = String, Path, description = "The run's id.")),
    request_body(content = ref("#/components/schemas/RetryBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "The run, ready to go on.",
            body = ref("#/components/schemas/RunView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn retry(
    State(api): State<Api>,
    RunPath(run): RunPath,
    OptionalJsonBody(body): OptionalJsonBody<RetryBody>,
) -> Result<Json<RunView>, ApiError> {
    Ok(Json(api.service.retry(run, body).await?))
}
