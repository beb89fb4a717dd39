//! The stand-in for `wasi:http` in native builds, which have no host to send a request.

use super::request::Target;
use super::{HttpError, Request, Response};

/// Refuses.
pub(super) fn send(request: &Request, target: Target) -> Result<Response, HttpError> {
    Err(HttpError::Unavailable { request: format!("{:?} {}", request.method, target.authority) })
}
