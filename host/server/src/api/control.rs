//! `/v1/runs/{id}/…`: what operators ask of a run beside cancel and retry.

use super::Api;
use super::extract::{JsonBody, OptionalJsonBody, RunPath};
use super::problem::ApiError;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use everstep_core::api::{ForkBody, ForkStarted, ReasonBody, RunView};

#[utoipa::path(post, path = "/v1/runs/{id}/terminate", tag = "runs", operation_id = "terminateRun",
    description = "Ends a run at once, without telling its workflow.",
    params(("id" = String, Path, description = "The run's id.")),
    request_body(content = ref("#/components/schemas/ReasonBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "The run as it is now.",
            body = ref("#/components/schemas/RunView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn terminate(
    State(api): State<Api>,
    RunPath(run): RunPath,
    OptionalJsonBody(body): OptionalJsonBody<ReasonBody>,
) -> Result<Json<RunView>, ApiError> {
    Ok(Json(api.service.terminate(run, body).await?))
}

#[utoipa::path(post, path = "/v1/runs/{id}/pause", tag = "runs", operation_id = "pauseRun",
    description = "Lets a run stand still: what is under way ends, nothing new begins.",
    params(("id" = String, Path, description = "The run's id.")),
    request_body(content = ref("#/components/schemas/ReasonBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "The run as it is now.",
            body = ref("#/components/schemas/RunView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn pause(
    State(api): State<Api>,
    RunPath(run): RunPath,
    OptionalJsonBody(body): OptionalJsonBody<ReasonBody>,
) -> Result<Json<RunView>, ApiError> {
    Ok(Json(api.service.pause(run, body).await?))
}

#[utoipa::path(post, path = "/v1/runs/{id}/resume", tag = "runs", operation_id = "resumeRun",
    description = "Lets a paused run go on.",
    params(("id" = String, Path, description = "The run's id.")),
    responses(
        (status = 200, description = "The run as it is now.",
            body = ref("#/components/schemas/RunView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn resume(
    State(api): State<Api>,
    RunPath(run): RunPath,
) -> Result<Json<RunView>, ApiError> {
    Ok(Json(api.service.resume(run).await?))
}

#[utoipa::path(post, path = "/v1/runs/{id}/wake", tag = "runs", operation_id = "wakeRun",
    description = "Ends the sleep of a sleeping run that would end first.",
    params(("id" = String, Path, description = "The run's id.")),
    responses(
        (status = 200, description = "The run as it is now.",
            body = ref("#/components/schemas/RunView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn wake(
    State(api): State<Api>,
    RunPath(run): RunPath,
) -> Result<Json<RunView>, ApiError> {
    Ok(Json(api.service.wake(run).await?))
}

#[utoipa::path(post, path = "/v1/runs/{id}/fork", tag = "runs", operation_id = "forkRun",
    description = "Starts a run that begins as this one did: with its journal up to a position, in \
        which results may be edited. The run itself is left alone.",
    params(("id" = String, Path, description = "The run's id.")),
    request_body(content = ref("#/components/schemas/ForkBody"),
        content_type = "application/json"),
    responses(
        (status = 202, description = "The fork is started.",
            body = ref("#/components/schemas/ForkStarted")),
        (status = 200, description = "The idempotency key named a fork that existed.",
            body = ref("#/components/schemas/ForkStarted")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn fork(
    State(api): State<Api>,
    RunPath(run): RunPath,
    JsonBody(body): JsonBody<ForkBody>,
) -> Result<(StatusCode, Json<ForkStarted>), ApiError> {
    let forked = api.service.fork(run, body).await?;
    let status = if forked.created { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(forked)))
}
