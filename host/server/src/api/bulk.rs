//! `/v1/runs/bulk`: the same for many runs.

use super::Api;
use super::extract::JsonBody;
use super::problem::ApiError;
use axum::Json;
use axum::extract::State;
use everstep_core::api::{BulkBody, BulkReport};

#[utoipa::path(post, path = "/v1/runs/bulk", tag = "runs", operation_id = "bulkRuns",
    description = "Does the same to many runs, each on its own, and says what became of each. A \
        filter that names no state means the runs in a state that allows the action.",
    request_body(content = ref("#/components/schemas/BulkBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "A result for every run.",
            body = ref("#/components/schemas/BulkReport")),
        (status = "default", description = "Why nothing was done.",
            content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn act(
    State(api): State<Api>,
    JsonBody(body): JsonBody<BulkBody>,
) -> Result<Json<BulkReport>, ApiError> {
    Ok(Json(api.service.bulk(body).await?))
}
