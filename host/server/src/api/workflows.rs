//! `/v1/workflows`: versions, what new runs get, and taking that back.

use super::Api;
use super::extract::{NamePath, OptionalJsonBody};
use super::problem::ApiError;
use super::progress;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use everstep_core::api::{DefaultBody, RollbackBody, WorkflowList, WorkflowView};
use std::sync::Arc;

#[utoipa::path(get, path = "/v1/workflows", tag = "workflows", operation_id = "listWorkflows",
    description = "All workflows with their versions, by name.",
    responses(
        (status = 200, description = "The workflows.",
            body = ref("#/components/schemas/WorkflowList")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<WorkflowList>, ApiError> {
    Ok(Json(WorkflowList { workflows: api.service.workflows().await? }))
}

#[utoipa::path(get, path = "/v1/workflows/{name}", tag = "workflows", operation_id = "showWorkflow",
    params(("name" = String, Path, description = "The workflow's name.")),
    responses(
        (status = 200, description = "The workflow.",
            body = ref("#/components/schemas/WorkflowView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn show(
    State(api): State<Api>,
    NamePath(name): NamePath,
) -> Result<Json<WorkflowView>, ApiError> {
    Ok(Json(api.service.workflow(&name).await?))
}

#[utoipa::path(post, path = "/v1/workflows/{name}/default", tag = "workflows",
    operation_id = "setDefaultVersion",
    description = "Chooses the version that new runs get which name none.",
    params(("name" = String, Path, description = "The workflow's name.")),
    request_body(content = ref("#/components/schemas/DefaultBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "The workflow as it is now.",
            body = ref("#/components/schemas/WorkflowView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn set_default(
    State(api): State<Api>,
    NamePath(name): NamePath,
    OptionalJsonBody(body): OptionalJsonBody<DefaultBody>,
) -> Result<Json<WorkflowView>, ApiError> {
    Ok(Json(api.service.set_default(&name, body).await?))
}

#[utoipa::path(post, path = "/v1/workflows/{name}/rollback", tag = "workflows",
    operation_id = "rollBackWorkflow",
    description = "Takes back the last change of what new runs get. Where that was a replaced \
        module, its open runs go back to the one before, if they pass. With \
        `Accept: application/x-ndjson` the answer is lines: progress, then the answer or the problem.",
    params(("name" = String, Path, description = "The workflow's name.")),
    request_body(content = ref("#/components/schemas/RollbackBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "What was taken back.",
            body = ref("#/components/schemas/RolledBack")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn roll_back(
    State(api): State<Api>,
    NamePath(name): NamePath,
    headers: HeaderMap,
    OptionalJsonBody(body): OptionalJsonBody<RollbackBody>,
) -> Result<Response, ApiError> {
    let service = Arc::clone(&api.service);
    progress::answer(&headers, |tell| async move {
        Ok((StatusCode::OK, service.roll_back(&name, body, tell).await?))
    })
    .await
}
