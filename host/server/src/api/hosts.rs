//! `/v1/hosts`: which hosts there are, and the door through which they come.

use super::problem::ApiError;
use super::{Api, elsewhere};
use crate::remote::{self, protocol::UPGRADE};
use crate::service::ServiceError;
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONNECTION, UPGRADE as UPGRADE_HEADER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use everstep_core::api::{HostList, HostView};
use futures::future::join_all;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;

#[utoipa::path(get, path = "/v1/hosts", tag = "hosts", operation_id = "listHosts",
    description = "The hosts that are connected, or may come back to the runs that they have. On a store \
        that several servers share, those of the others follow, with the address of their server; a host \
        that is connected to several is listed for each.",
    responses(
        (status = 200, description = "All of them.", body = ref("#/components/schemas/HostList")),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap) -> Json<HostList> {
    let mut hosts = api.service.hosts();
    if !elsewhere::is_asked_by_server(&headers) {
        let others = api.service.other_servers();
        let asked = others.iter().map(async |url| {
            let list: Option<HostList> = elsewhere::ask(url, "/v1/hosts").await;
            let hosts = list.map(|list| list.hosts).unwrap_or_default().into_iter();
            hosts.map(|host| HostView { server: Some(url.to_string()), ..host }).collect()
        });
        let asked: Vec<Vec<HostView>> = join_all(asked).await;
        hosts.extend(asked.into_iter().flatten());
    }
    Json(HostList { hosts })
}

#[utoipa::path(get, path = "/v1/hosts/connect", tag = "hosts", operation_id = "connectHost",
    description = "For `everstep host`: turns the connection into a stream of the host protocol \
        (`Upgrade: everstep-host`).",
    responses(
        (status = 101, description = "The connection speaks the host protocol from now on."),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn connect(
    State(api): State<Api>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let asked = request.headers().get(UPGRADE_HEADER);
    if asked.is_none_or(|asked| asked != UPGRADE) {
        let detail = format!("this path is for hosts, which ask for `Upgrade: {UPGRADE}`");
        return Err(ApiError::Invalid(detail));
    }
    if api.is_draining() {
        return Err(ServiceError::Draining.into());
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|ConnectInfo(address)| address.to_string());
    let upgrading = hyper::upgrade::on(&mut request);
    let (doorway, draining) = (Arc::clone(&api.doorway), api.draining.clone());
    tokio::spawn(async move {
        match upgrading.await {
            Ok(stream) => remote::serve(TokioIo::new(stream), doorway, peer, draining).await,
            Err(error) => tracing::debug!(%error, "a host did not come through the door"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE_HEADER, HeaderValue::from_static(UPGRADE));
    Ok(response)
}
