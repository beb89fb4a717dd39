//! `/v1/runs/{id}/journal`: what happened to a run, in order.

use super::Api;
use super::extract::{Params, RunPath};
use super::problem::ApiError;
use axum::Json;
use axum::extract::State;
use everstep_core::api::JournalPage;

#[utoipa::path(get, path = "/v1/runs/{id}/journal", tag = "runs", operation_id = "readJournal",
    params(
        ("id" = String, Path, description = "The run's id."),
        ("from" = Option<u64>, Query, description = "The first position; else 0."),
        ("limit" = Option<u64>, Query,
            description = "About how many entries, at most 1,000; else 500.")),
    responses(
        (status = 200, description = "A page.", body = ref("#/components/schemas/JournalPage")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn page(
    State(api): State<Api>,
    RunPath(run): RunPath,
    mut params: Params,
) -> Result<Json<JournalPage>, ApiError> {
    let from = params.number("from")?.unwrap_or(0);
    let limit = params.size("limit")?;
    params.finish()?;
    Ok(Json(api.service.journal(run, from, limit).await?))
}
