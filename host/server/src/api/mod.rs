//! The HTTP API: reads requests, asks the service, writes answers. One file per resource.
//!
//! Invariants: no business rule lives here; every error is a problem with a stable code; every route
//! is registered together with its description, so that `/openapi.json` lists all and only the
//! routes there are; what is buffered for a client is bounded.

mod bulk;
mod control;
mod elsewhere;
mod events;
mod export;
mod extract;
mod health;
mod hosts;
mod journal;
mod logs;
mod metrics;
mod modules;
mod openapi;
mod problem;
mod progress;
mod runs;
mod schedules;
mod selection;
mod upgrades;
mod workflows;

pub use problem::ApiError;

use crate::link::LinkParts;
use crate::remote::Doorway;
use crate::service::Service;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Extension, Router, middleware};
use extract::BodyLimit;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What a JSON body may have beside the payload in it, in bytes.
const JSON_SLACK: u64 = 64 << 10;

/// What the handlers share.
#[derive(Clone)]
struct Api {
    service: Arc<Service>,
    doorway: Arc<Doorway>,
    draining: watch::Receiver<bool>,
    document: Arc<str>,
}

impl Api {
    /// Returns when the server begins to shut down.
    async fn drained(&self) {
        let mut draining = self.draining.clone();
        // A server whose drain switch is gone is not coming back either.
        let _ = draining.wait_for(|draining| *draining).await;
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}

/// The whole API over a service, and the door for hosts. Long polls and streams end when `draining`
/// becomes true.
pub fn router(parts: LinkParts, draining: watch::Receiver<bool>) -> Router {
    let service = Arc::clone(&parts.service);
    let doorway = Arc::new(Doorway { parts });
    let json_limit = service.options().limits.payload_bytes.saturating_add(JSON_SLACK);
    let (router, description) = described().split_for_parts();
    let document = Arc::from(openapi::document(description).to_string());
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_route)
        .layer(DefaultBodyLimit::max(usize::try_from(json_limit).unwrap_or(usize::MAX)))
        .layer(Extension(BodyLimit(json_limit)))
        .layer(middleware::from_fn(trace))
        .with_state(Api { service, doorway, draining, document })
}

/// Every route with its description.
fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(modules::upload, modules::list))
        .routes(routes!(modules::show))
        .routes(routes!(modules::content))
        .routes(routes!(modules::retire))
        .routes(routes!(workflows::list))
        .routes(routes!(workflows::show))
        .routes(routes!(workflows::set_default))
        .routes(routes!(workflows::roll_back))
        .routes(routes!(upgrades::upgrade))
        .routes(routes!(runs::start, runs::list))
        .routes(routes!(bulk::act))
        .routes(routes!(runs::show))
        .routes(routes!(runs::wait))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::retry))
        .routes(routes!(control::terminate))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::wake))
        .routes(routes!(control::fork))
        .routes(routes!(events::send))
        .routes(routes!(events::multicast))
        .routes(routes!(journal::page))
        .routes(routes!(logs::lines))
        .routes(routes!(export::lines))
        .routes(routes!(schedules::create, schedules::list))
        .routes(routes!(schedules::show, schedules::delete))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::trigger))
        .routes(routes!(schedules::backfill))
        .routes(routes!(hosts::list))
        .routes(routes!(hosts::connect))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi_json))
}

#[utoipa::path(get, path = "/openapi.json", tag = "server", operation_id = "describe",
    responses((status = 200, description = "This document.", content_type = "application/json")))]
async fn openapi_json(
    State(api): State<Api>,
) -> ([(axum::http::HeaderName, &'static str); 1], String) {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], api.document.to_string())
}

async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::UnknownRoute { path: shortened(uri.path()) }
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::MethodNotAllowed { method: shortened(method.as_str()), path: shortened(uri.path()) }
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

async fn trace(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let begun = Instant::now();
    let response = next.run(request).await;
    let (status, elapsed) = (response.status().as_u16(), begun.elapsed());
    tracing::debug!(%method, path, status, ?elapsed, "answered");
    response
}
