//! `/v1/runs/{id}/export`: a whole run as JSON lines, streamed.

use super::Api;
use super::extract::RunPath;
use super::problem::ApiError;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, header};

/// The media type of JSON lines.
const JSON_LINES: &str = "application/x-ndjson";

#[utoipa::path(get, path = "/v1/runs/{id}/export", tag = "runs", operation_id = "exportRun",
    description = "The whole run as of now, as JSON lines: first a line of kind `run`, then its \
        journal (`entry`), then its log lines (`log`). An answer that breaks off is not whole.",
    params(("id" = String, Path, description = "The run's id.")),
    responses(
        (status = 200, description = "The lines.", body = String,
            content_type = "application/x-ndjson"),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn lines(
    State(api): State<Api>,
    RunPath(run): RunPath,
) -> Result<([(HeaderName, &'static str); 1], Body), ApiError> {
    let lines = api.service.export(run).await?;
    Ok(([(header::CONTENT_TYPE, JSON_LINES)], Body::from_stream(lines)))
}
