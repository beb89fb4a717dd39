//! Sends a request through `wasi:http`. A module that makes no request does not import it, because
//! nothing but [`send`] refers to it.

use super::request::Target;
use super::{HttpError, Method, Request, Response};
use std::time::Duration;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method as WasiMethod,
    OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::streams::{InputStream, StreamError};

/// The most that one write may carry, says `wasi:io`.
const WRITE: usize = 4096;
const READ: u64 = 64 << 10;

/// Sends the request and reads the whole response.
pub(super) fn send(request: &Request, target: Target) -> Result<Response, HttpError> {
    let outgoing = head(request, &target)?;
    let body = outgoing.body().map_err(|()| invalid("its body cannot be written"))?;
    let host = target.authority;
    let pending = outgoing_handler::handle(outgoing, options(request.timeout)?)
        .map_err(|code| explain(&host, &code))?;
    // A server may answer before it has read the whole body, and when the connection broke, the
    // response says why; so what became of the write does not matter by itself.
    let _ = write(body, &request.body);
    let incoming = receive(&pending).map_err(|code| explain(&host, &code))?;
    read(&host, incoming, request.max_bytes)
}

fn head(request: &Request, target: &Target) -> Result<OutgoingRequest, HttpError> {
    let headers = Fields::new();
    let length = ("content-length".to_owned(), request.body.len().to_string());
    let length = (!request.body.is_empty()).then_some(&length);
    for (name, value) in request.headers.iter().chain(length) {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| invalid(format!("header `{name}`: {error:?}")))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let method = match request.method {
        Method::Get => WasiMethod::Get,
        Method::Head => WasiMethod::Head,
        Method::Post => WasiMethod::Post,
        Method::Put => WasiMethod::Put,
        Method::Patch => WasiMethod::Patch,
        Method::Delete => WasiMethod::Delete,
        Method::Options => WasiMethod::Options,
    };
    let scheme = if target.secure { Scheme::Https } else { Scheme::Http };
    outgoing
        .set_method(&method)
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(&target.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&target.path)))
        .map_err(|()| invalid(format!("`{}{}` is no URL", target.authority, target.path)))?;
    Ok(outgoing)
}

fn options(timeout: Option<Duration>) -> Result<Option<RequestOptions>, HttpError> {
    let Some(timeout) = timeout else { return Ok(None) };
    let nanos = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    let options = RequestOptions::new();
    options
        .set_connect_timeout(nanos)
        .and_then(|()| options.set_first_byte_timeout(nanos))
        .and_then(|()| options.set_between_bytes_timeout(nanos))
        .map_err(|()| invalid("this host supports no timeouts"))?;
    Ok(Some(options))
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), ()> {
    let stream = body.write()?;
    for chunk in bytes.chunks(WRITE) {
        stream.blocking_write_and_flush(chunk).map_err(|_| ())?;
    }
    // The stream is a child of the body, which cannot be finished before the stream is gone.
    drop(stream);
    OutgoingBody::finish(body, None).map_err(|_| ())
}

fn receive(pending: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(response)) => response,
        Some(Err(())) | None => Err(ErrorCode::InternalError(Some("no response".into()))),
    }
}

fn read(host: &str, incoming: IncomingResponse, limit: usize) -> Result<Response, HttpError> {
    let status = incoming.status();
    let headers = incoming.headers().entries();
    let broken = |cause: &str| HttpError::Connection { host: host.into(), cause: cause.into() };
    let incoming_body = incoming.consume().map_err(|()| broken("the body is gone"))?;
    let stream = incoming_body.stream().map_err(|()| broken("the body is gone"))?;
    let mut body = Vec::new();
    while let Some(chunk) = next(&stream).map_err(|cause| broken(&cause))? {
        if body.len() + chunk.len() > limit {
            return Err(HttpError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status, headers, body })
}

fn next(stream: &InputStream) -> Result<Option<Vec<u8>>, String> {
    match stream.blocking_read(READ) {
        Ok(chunk) => Ok(Some(chunk)),
        Err(StreamError::Closed) => Ok(None),
        Err(StreamError::LastOperationFailed(error)) => Err(error.to_debug_string()),
    }
}

fn explain(host: &str, code: &ErrorCode) -> HttpError {
    let host = host.to_owned();
    let cause = code.to_string();
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            HttpError::Denied { host }
        }
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => HttpError::Timeout { host, cause },
        ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong => HttpError::InvalidRequest(cause),
        _ => HttpError::Connection { host, cause },
    }
}

fn invalid(reason: impl Into<String>) -> HttpError {
    HttpError::InvalidRequest(reason.into())
}
