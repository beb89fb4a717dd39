//! `/v1/runs/{id}/events` and `/v1/events/multicast`: sending events to runs.

use super::Api;
use super::extract::{JsonBody, RunPath};
use super::problem::ApiError;
use axum::Json;
use axum::extract::State;
use everstep_core::api::{EventBody, EventSent, Multicast, MulticastBody};

#[utoipa::path(post, path = "/v1/runs/{id}/events", tag = "events", operation_id = "sendEvent",
    description = "Sends an event to a run. It is durable when the answer comes. One with a \
        reference that the run knows is not received again.",
    params(("id" = String, Path, description = "The run's id.")),
    request_body(content = ref("#/components/schemas/EventBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "The run has it.",
            body = ref("#/components/schemas/EventSent")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn send(
    State(api): State<Api>,
    RunPath(run): RunPath,
    JsonBody(body): JsonBody<EventBody>,
) -> Result<Json<EventSent>, ApiError> {
    Ok(Json(api.service.send_event(run, body).await?))
}

#[utoipa::path(post, path = "/v1/events/multicast", tag = "events", operation_id = "multicastEvent",
    description = "Sends an event to many runs, by id or by idempotency key. The answer says for \
        each what became of it.",
    request_body(content = ref("#/components/schemas/MulticastBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "What became of it, in the order of the request.",
            body = ref("#/components/schemas/Multicast")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn multicast(
    State(api): State<Api>,
    JsonBody(body): JsonBody<MulticastBody>,
) -> Result<Json<Multicast>, ApiError> {
    Ok(Json(api.service.multicast(body).await?))
}
