//! `/v1/upgrades`: moves open runs to another module.

use super::Api;
use super::extract::JsonBody;
use super::problem::ApiError;
use super::progress;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use everstep_core::api::UpgradeBody;
use std::sync::Arc;

#[utoipa::path(post, path = "/v1/upgrades", tag = "runs", operation_id = "upgradeRuns",
    description = "Moves open runs to another module, after all of them have been replayed on it, in \
        memory and without effects. When one does not pass, none is moved, unless `allow_diverging` \
        says that those which do not may stay. With `Accept: application/x-ndjson` the answer is \
        lines: progress, then the answer or the problem.",
    request_body(content = ref("#/components/schemas/UpgradeBody"),
        content_type = "application/json"),
    responses(
        (status = 200, description = "What was found and done.",
            body = ref("#/components/schemas/UpgradeReport")),
        (status = "default", description = "Why nothing was done.",
            content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn upgrade(
    State(api): State<Api>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<UpgradeBody>,
) -> Result<Response, ApiError> {
    let service = Arc::clone(&api.service);
    progress::answer(&headers, |tell| async move {
        Ok((StatusCode::OK, service.upgrade(body, tell).await?))
    })
    .await
}
