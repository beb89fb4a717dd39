//! How the program ends: the documented exit codes, and failures with a stable code and a fix. Every
//! verb returns an [`Ended`]; `main` prints the failure and exits.

use everstep_client::ClientError;

/// The exit codes, part of the contract with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    Timeout = 4,
    Divergence = 5,
}

/// How a verb ends.
pub(crate) type Ended = Result<Exit, Failure>;

/// Why a verb did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What to print; nothing when nobody reads any more.
    pub(crate) report: Option<Report>,
}

/// What is printed about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) code: String,
    pub(crate) detail: String,
    pub(crate) fix: Option<String>,
}

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        let report = Report { code: code.into(), detail: detail.into(), fix: None };
        Self { exit: Exit::Failed, report: Some(report) }
    }

    /// Something about what was typed.
    pub(crate) fn usage(code: &str, detail: impl Into<String>) -> Self {
        Self::new(code, detail).exit(Exit::Usage)
    }

    /// Whoever read our output has gone, which is how `everstep … | head` ends.
    pub(crate) fn reader_gone() -> Self {
        Self { exit: Exit::Done, report: None }
    }

    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        if let Some(report) = &mut self.report {
            report.fix = Some(fix.into()).filter(|fix: &String| !fix.is_empty());
        }
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Address { .. } => Exit::Usage,
            ClientError::Unreachable { .. } => Exit::Unreachable,
            ClientError::Timeout { .. } => Exit::Timeout,
            ClientError::Problem(problem) if problem.code == "divergence" => Exit::Divergence,
            ClientError::Problem(_) | ClientError::Protocol { .. } => Exit::Failed,
        };
        Self::new(error.code(), error.to_string()).fix(error.fix()).exit(exit)
    }
}
