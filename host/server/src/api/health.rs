//! `/healthz` and `/readyz`: for whatever watches over the process. Alive means that it answers;
//! ready means that it can be sent work.

use super::Api;
use super::problem::ApiError;
use crate::service::ServiceError;
use axum::extract::State;
use std::time::Duration;

/// A store that takes longer to answer is none to send work to.
const PATIENCE: Duration = Duration::from_secs(2);

#[utoipa::path(get, path = "/healthz", tag = "server", operation_id = "isAlive",
    responses((status = 200, description = "The process is alive.", body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

#[utoipa::path(get, path = "/readyz", tag = "server", operation_id = "isReady",
    responses(
        (status = 200, description = "The server takes requests.", body = String),
        (status = 503, description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn readyz(State(api): State<Api>) -> Result<&'static str, ApiError> {
    if api.is_draining() {
        return Err(ServiceError::Draining.into());
    }
    match tokio::time::timeout(PATIENCE, api.service.store_stats()).await {
        Ok(stats) => stats.map(|_| "ok\n").map_err(ApiError::from),
        Err(_) => Err(ServiceError::Busy("the store does not answer in time").into()),
    }
}
