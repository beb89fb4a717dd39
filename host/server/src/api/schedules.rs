//! `/v1/schedules`: make, list, show, pause, resume, trigger, backfill, delete. In paths a schedule is
//! named by its id or by its reference.

use super::Api;
use super::extract::{JsonBody, OptionalJsonBody, Params};
use super::problem::ApiError;
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use everstep_core::ScheduleId;
use everstep_core::schedule::{
    BackfillBody, Backfilled, Created, ScheduleBody, ScheduleList, ScheduleView, TriggerBody,
    Triggered,
};

/// The schedule that the path names.
pub(super) struct SchedulePath(ScheduleId);

impl<S: Send + Sync> FromRequestParts<S> for SchedulePath {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|e| ApiError::Invalid(e.body_text()))?;
        Ok(Self(name.parse().unwrap_or_else(|_| ScheduleId::from_reference(&name))))
    }
}

#[utoipa::path(post, path = "/v1/schedules", tag = "schedules", operation_id = "createSchedule",
    description = "Makes a schedule. With a reference it can be repeated: the same definition \
        again changes nothing.",
    request_body(content = ref("#/components/schemas/ScheduleBody"),
        content_type = "application/json"),
    responses(
        (status = 201, description = "It is made.",
            body = ref("#/components/schemas/ScheduleCreated")),
        (status = 200, description = "The reference named one that existed.",
            body = ref("#/components/schemas/ScheduleCreated")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn create(
    State(api): State<Api>,
    JsonBody(body): JsonBody<ScheduleBody>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let created = api.service.create_schedule(body).await?;
    let status = if created.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(created)))
}

#[utoipa::path(get, path = "/v1/schedules", tag = "schedules", operation_id = "listSchedules",
    description = "Schedules in the order of their creation.",
    params(
        ("limit" = Option<u64>, Query, description = "Schedules per page, at most 1,000; else 100."),
        ("cursor" = Option<String>, Query, description = "The `cursor` of the page before.")),
    responses(
        (status = 200, description = "A page.", body = ref("#/components/schemas/ScheduleList")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn list(
    State(api): State<Api>,
    mut params: Params,
) -> Result<Json<ScheduleList>, ApiError> {
    let (cursor, limit) = (params.text("cursor")?, params.size("limit")?);
    params.finish()?;
    Ok(Json(api.service.schedules(cursor, limit).await?))
}

#[utoipa::path(get, path = "/v1/schedules/{id}", tag = "schedules", operation_id = "showSchedule",
    params(("id" = String, Path, description = "The schedule's id or reference.")),
    responses(
        (status = 200, description = "The schedule with its next ten occurrences and last fires.",
            body = ref("#/components/schemas/ScheduleView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn show(
    State(api): State<Api>,
    SchedulePath(id): SchedulePath,
) -> Result<Json<ScheduleView>, ApiError> {
    Ok(Json(api.service.schedule(id).await?))
}

#[utoipa::path(delete, path = "/v1/schedules/{id}", tag = "schedules",
    operation_id = "deleteSchedule",
    description = "Deletes a schedule. The runs that it has started go on.",
    params(("id" = String, Path, description = "The schedule's id or reference.")),
    responses(
        (status = 200, description = "The schedule as it was.",
            body = ref("#/components/schemas/ScheduleView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn delete(
    State(api): State<Api>,
    SchedulePath(id): SchedulePath,
) -> Result<Json<ScheduleView>, ApiError> {
    Ok(Json(api.service.delete_schedule(id).await?))
}

#[utoipa::path(post, path = "/v1/schedules/{id}/pause", tag = "schedules",
    operation_id = "pauseSchedule",
    description = "Stands a schedule still. Asking again changes nothing.",
    params(("id" = String, Path, description = "The schedule's id or reference.")),
    responses(
        (status = 200, description = "The schedule.",
            body = ref("#/components/schemas/ScheduleView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn pause(
    State(api): State<Api>,
    SchedulePath(id): SchedulePath,
) -> Result<Json<ScheduleView>, ApiError> {
    Ok(Json(api.service.pause_schedule(id).await?))
}

#[utoipa::path(post, path = "/v1/schedules/{id}/resume", tag = "schedules",
    operation_id = "resumeSchedule",
    description = "Lets a schedule go on. What would have fired meanwhile is passed over.",
    params(("id" = String, Path, description = "The schedule's id or reference.")),
    responses(
        (status = 200, description = "The schedule.",
            body = ref("#/components/schemas/ScheduleView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn resume(
    State(api): State<Api>,
    SchedulePath(id): SchedulePath,
) -> Result<Json<ScheduleView>, ApiError> {
    Ok(Json(api.service.resume_schedule(id).await?))
}

#[utoipa::path(post, path = "/v1/schedules/{id}/trigger", tag = "schedules",
    operation_id = "triggerSchedule",
    description = "Fires now, also when the schedule is paused.",
    params(("id" = String, Path, description = "The schedule's id or reference.")),
    request_body(content = ref("#/components/schemas/TriggerBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "What came of it.",
            body = ref("#/components/schemas/Triggered")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn trigger(
    State(api): State<Api>,
    SchedulePath(id): SchedulePath,
    OptionalJsonBody(body): OptionalJsonBody<TriggerBody>,
) -> Result<Json<Triggered>, ApiError> {
    Ok(Json(api.service.trigger_schedule(id, body).await?))
}

#[utoipa::path(post, path = "/v1/schedules/{id}/backfill", tag = "schedules",
    operation_id = "backfillSchedule",
    description = "Fires every occurrence in a range of the past, in order, at most 1,000. An \
        occurrence that has started a run before does not start another one.",
    params(("id" = String, Path, description = "The schedule's id or reference.")),
    request_body(content = ref("#/components/schemas/BackfillBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "What came of each.",
            body = ref("#/components/schemas/Backfilled")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn backfill(
    State(api): State<Api>,
    SchedulePath(id): SchedulePath,
    JsonBody(body): JsonBody<BackfillBody>,
) -> Result<Json<Backfilled>, ApiError> {
    Ok(Json(api.service.backfill_schedule(id, body).await?))
}
