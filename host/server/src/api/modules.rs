//! `/v1/modules`: upload, list, show, fetch, retire.

use super::Api;
use super::extract::{DigestPath, Params, has_type};
use super::problem::ApiError;
use super::progress;
use crate::service::ServiceError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::Response;
use everstep_core::api::{ModuleList, ModuleView, UploadOptions};
use std::sync::Arc;
use std::time::Duration;

/// How long the bytes of an upload may take to arrive. An upload holds one of few places.
const RECEIVE: Duration = Duration::from_secs(300);
/// The media type of a module.
const WASM: &str = "application/wasm";

#[utoipa::path(post, path = "/v1/modules", tag = "modules", operation_id = "uploadModule",
    description = "Uploads a module, a WebAssembly component that exports the world \
        `everstep:workflow/module`, and publishes its workflows. The same bytes again change nothing. \
        With `Accept: application/x-ndjson` the answer is lines: progress, then the answer or the \
        problem.",
    params(
        ("replace" = Option<bool>, Query, description = "Put it behind versions that other modules \
            have. Their open runs are tried on it first, and then moved."),
        ("allow_diverging" = Option<bool>, Query, description = "Move the runs that pass although \
            others do not."),
        ("allow_narrowing" = Option<bool>, Query, description = "Take it although what worked for \
            callers and readers may fail."),
        ("allow_grants" = Option<bool>, Query, description = "Take it although its tasks ask for \
            hosts or secrets that they did not ask for before."),
        ("dry_run" = Option<bool>, Query, description = "Only say what would happen.")),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses(
        (status = 201, description = "It is new.", body = ref("#/components/schemas/Uploaded")),
        (status = 200, description = "It was there, or is only tried.",
            body = ref("#/components/schemas/Uploaded")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn upload(
    State(api): State<Api>,
    mut params: Params,
    request: Request,
) -> Result<Response, ApiError> {
    // Browsers ask before they send these types to another site; a form would go unasked.
    if !has_type(request.headers(), &[WASM, "application/octet-stream"]) {
        return Err(ApiError::MediaType { expected: WASM });
    }
    let options = UploadOptions {
        replace: params.flag("replace")?,
        allow_diverging: params.flag("allow_diverging")?,
        allow_narrowing: params.flag("allow_narrowing")?,
        allow_grants: params.flag("allow_grants")?,
        dry_run: params.flag("dry_run")?,
    };
    params.finish()?;
    let headers = request.headers().clone();
    let permit = api.service.upload_permit()?;
    let bytes = receive(&api, request).await?;
    let service = Arc::clone(&api.service);
    progress::answer(&headers, |tell| async move {
        let uploaded = service.upload(bytes, permit, options, tell).await?;
        let new = uploaded.created && uploaded.active;
        Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, uploaded))
    })
    .await
}

async fn receive(api: &Api, mut request: Request) -> Result<Vec<u8>, ApiError> {
    let most = api.service.options().module_bytes_max;
    DefaultBodyLimit::max(usize::try_from(most).unwrap_or(usize::MAX)).apply(&mut request);
    match tokio::time::timeout(RECEIVE, Bytes::from_request(request, api)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(ServiceError::ModuleTooLarge { most }.into())
        }
        Ok(Err(rejection)) => Err(ApiError::Invalid(rejection.body_text())),
        Err(_) => Err(ApiError::TooSlow { seconds: RECEIVE.as_secs() }),
    }
}

#[utoipa::path(get, path = "/v1/modules", tag = "modules", operation_id = "listModules",
    description = "All modules, in the order of their upload.",
    responses(
        (status = 200, description = "The modules.", body = ref("#/components/schemas/ModuleList")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<ModuleList>, ApiError> {
    Ok(Json(ModuleList { modules: api.service.modules().await? }))
}

#[utoipa::path(get, path = "/v1/modules/{digest}", tag = "modules", operation_id = "showModule",
    params(("digest" = String, Path, description = "`sha256:` and 64 hex digits.")),
    responses(
        (status = 200, description = "The module.", body = ref("#/components/schemas/ModuleView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn show(
    State(api): State<Api>,
    DigestPath(digest): DigestPath,
) -> Result<Json<ModuleView>, ApiError> {
    Ok(Json(api.service.module(digest).await?))
}

#[utoipa::path(get, path = "/v1/modules/{digest}/content", tag = "modules",
    operation_id = "fetchModule",
    params(("digest" = String, Path, description = "`sha256:` and 64 hex digits.")),
    responses(
        (status = 200, description = "The bytes as they were uploaded.", body = Vec<u8>,
            content_type = "application/wasm"),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn content(
    State(api): State<Api>,
    DigestPath(digest): DigestPath,
) -> Result<([(HeaderName, &'static str); 1], Vec<u8>), ApiError> {
    let bytes = api.service.module_content(digest).await?;
    Ok(([(header::CONTENT_TYPE, WASM)], bytes))
}

#[utoipa::path(post, path = "/v1/modules/{digest}/retire", tag = "modules",
    operation_id = "retireModule",
    description = "Closes the versions of a module to new runs. Refused while runs on it are open.",
    params(("digest" = String, Path, description = "`sha256:` and 64 hex digits.")),
    responses(
        (status = 200, description = "The module.", body = ref("#/components/schemas/ModuleView")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn retire(
    State(api): State<Api>,
    DigestPath(digest): DigestPath,
) -> Result<Json<ModuleView>, ApiError> {
    Ok(Json(api.service.retire(digest).await?))
}
