//! Outbound HTTP of tasks, behind the grants of the manifest. A refused request is an ordinary
//! HTTP error to the guest, and a log line that names the missing grant.

use super::SharedLogs;
use crate::grants;
use everstep_core::LogLevel;
use http::{Request, Response, Uri};
use wasmtime_wasi_http::{
    Error, RequestOptions, Result, WasiBody, WasiHttpHooks, default_send_request,
};

/// The rest of a connection's work, after the response has begun.
type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Lets requests to granted hosts pass.
pub(super) struct Gate {
    task: String,
    grants: Vec<String>,
    logs: SharedLogs,
}

impl Gate {
    pub(super) fn new(task: &str, grants: Vec<String>, logs: &SharedLogs) -> Self {
        Self { task: task.to_owned(), grants, logs: logs.clone() }
    }

    /// The host and port of a request, and whether it may be sent.
    fn check(&self, uri: &Uri) -> std::result::Result<(), String> {
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it carries credentials in its authority".into());
        }
        let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(default));
        if grants::allows(&self.grants, host, port) {
            return Ok(());
        }
        let needed = if port == default { host.to_owned() } else { format!("{host}:{port}") };
        Err(format!(
            "task `{}` has no grant for it; add \"{needed}\" to the hosts of its grants",
            self.task
        ))
    }
}

impl WasiHttpHooks for Gate {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Connection,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Connection)>> + Send> {
        if let Err(reason) = self.check(request.uri()) {
            let target = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            let message = format!("the HTTP request to {target} was refused: {reason}");
            self.logs.with(|logs| logs.log(LogLevel::Warn, message, b""));
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        Box::new(async move {
            let (response, connection) = default_send_request(request, options).await?;
            let response = response.map(http_body_util::BodyExt::boxed_unsync);
            Ok((response, Box::new(connection) as Connection))
        })
    }
}
