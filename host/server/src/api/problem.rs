//! Errors as clients see them: problem details (RFC 9457) with a stable code and a fix. Every
//! handler, extractor and fallback of this API answers with an [`ApiError`].

use crate::service::ServiceError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use everstep_core::api::Problem;
use everstep_core::{ForkRefusal, Refusal};
use everstep_engine::ModuleError;
use everstep_store::StoreError;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The service refused it.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The request cannot be read.
    #[error("{0}")]
    Invalid(String),
    /// The body is something else than it must be.
    #[error("the content type must be {expected}")]
    MediaType {
        /// What it must be.
        expected: &'static str,
    },
    /// The body is larger than any good one.
    #[error("the body has more than {most} bytes")]
    TooLarge {
        /// Bytes.
        most: u64,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {seconds} s")]
    TooSlow {
        /// How long the server waited.
        seconds: u64,
    },
    /// There is nothing at this path.
    #[error("there is nothing at {path}")]
    UnknownRoute {
        /// The path.
        path: String,
    },
    /// The path knows other methods only.
    #[error("{method} is not possible at {path}")]
    MethodNotAllowed {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
}

impl ApiError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Service(error) => error.code(),
            Self::Invalid(_) => "request.invalid",
            Self::MediaType { .. } => "request.media_type",
            Self::TooLarge { .. } => "payload.too_large",
            Self::TooSlow { .. } => "request.timeout",
            Self::UnknownRoute { .. } => "route.unknown",
            Self::MethodNotAllowed { .. } => "route.method",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Service(error) => error.fix(),
            Self::Invalid(_) => "compare the request with /openapi.json".into(),
            Self::MediaType { expected } => format!("send the header `content-type: {expected}`"),
            Self::TooLarge { .. } => "put large data elsewhere and pass a reference to it".into(),
            Self::TooSlow { .. } => "try again over a faster connection".into(),
            Self::UnknownRoute { .. } | Self::MethodNotAllowed { .. } => {
                "see /openapi.json for the paths and methods there are".into()
            }
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Service(error) => service_status(error),
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownRoute { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let code = self.code();
        Problem {
            kind: format!("docs/errors.md#{}", anchor(code)),
            status: self.status().as_u16(),
            code: code.into(),
            detail: self.to_string(),
            fix: self.fix(),
            upgrade: match self {
                Self::Service(ServiceError::Diverges(report)) => Some(report.clone()),
                _ => None,
            },
            changes: match self {
                Self::Service(ServiceError::Narrows(it) | ServiceError::AsksForMore(it)) => {
                    it.clone()
                }
                _ => Vec::new(),
            },
        }
    }
}

/// The anchor that Markdown gives the heading of a code: dots vanish.
fn anchor(code: &str) -> String {
    code.replace('.', "")
}

fn service_status(error: &ServiceError) -> StatusCode {
    use ServiceError as E;
    match error {
        E::RunNotFound(_) | E::ModuleNotFound(_) | E::ScheduleNotFound(_) => StatusCode::NOT_FOUND,
        E::PayloadTooLarge { .. }
        | E::ModuleTooLarge { .. }
        | E::Module(ModuleError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        E::Fork(ForkRefusal::Journal(_)) => StatusCode::INTERNAL_SERVER_ERROR,
        E::Busy(_) | E::Draining | E::Module(ModuleError::Busy(_)) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        E::UnknownWorkflow { .. }
        | E::UnknownVersion { .. }
        | E::InputInvalid { .. }
        | E::EventUnknown { .. }
        | E::EventInvalid { .. }
        | E::TaskNotFailed { .. }
        | E::TooDeep { .. }
        | E::InvalidOption { .. }
        | E::KeyInvalid(_)
        | E::KeyTemplate(_)
        | E::Module(_)
        | E::Schema { .. }
        | E::Spec(_)
        | E::TooManySchedules { .. }
        | E::TooManyVersions(_)
        | E::VersionRetired { .. }
        | E::Fork(_)
        | E::ForkDiverges(_)
        | E::ForkStuck { .. }
        | E::ForkTooLong { .. }
        | E::Refused(Refusal::Limit { .. }) => StatusCode::UNPROCESSABLE_ENTITY,
        E::KeyTaken(_)
        | E::KeyInputMismatch(_)
        | E::VersionTaken { .. }
        | E::VersionIsDefault { .. }
        | E::ModuleInUse { .. }
        | E::NothingToRollBack(_)
        | E::Diverges(_)
        | E::Narrows(_)
        | E::AsksForMore(_)
        | E::ReferenceTaken { .. }
        | E::Refused(Refusal::IllegalTransition { .. } | Refusal::AlreadySo(_)) => {
            StatusCode::CONFLICT
        }
        E::Store(error) => store_status(error),
        E::Refused(Refusal::Corrupt { .. }) | E::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn store_status(error: &StoreError) -> StatusCode {
    match error {
        StoreError::BadCursor(_) => StatusCode::BAD_REQUEST,
        StoreError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        StoreError::PublicationChanged { .. } | StoreError::Duplicate | StoreError::NotEnded => {
            StatusCode::CONFLICT
        }
        StoreError::Corrupt { .. } | StoreError::Inconsistent(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        StoreError::Conflict { .. }
        | StoreError::AlreadyExists
        | StoreError::LeaseLost
        | StoreError::ScheduleChanged { .. }
        | StoreError::Unavailable(_)
        | StoreError::InUse { .. }
        | StoreError::Format { .. }
        | StoreError::Foreign { .. }
        | StoreError::BadUrl(_)
        | StoreError::Unfit(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = self.status();
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::error!(code = problem.code, detail = problem.detail, "request failed");
        }
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        let media_type = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, media_type);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
