//! What can go wrong with a store. The server maps the codes to problems of its API and to what it
//! does next: conflicts and lost leases are everyday, the rest is for people.

use std::path::PathBuf;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The journal is longer (or shorter) than the commit expects: load the run again and decide
    /// anew. A run that does not exist has length 0.
    #[error("the journal has {length} entries, the commit was decided for another length")]
    Conflict {
        /// The number of entries that the journal really has.
        length: u64,
    },
    /// A commit that creates a run found it there.
    #[error("a run with this id exists already")]
    AlreadyExists,
    /// The run has received what this commit brings.
    #[error("the run has received this already")]
    Duplicate,
    /// The commit's token is older than one that was seen for the run: somebody else owns it now.
    #[error("the lease on this run is lost: a newer token has been seen")]
    LeaseLost,
    /// A run that was to be removed is open, or still needs a host.
    #[error("the run has not ended, or still needs a host")]
    NotEnded,
    /// What is published of the workflow has been changed meanwhile: read it again and decide anew.
    #[error("what is published of workflow `{workflow}` has changed meanwhile")]
    PublicationChanged {
        /// The workflow's name.
        workflow: String,
    },
    /// The schedule has been changed, made or deleted meanwhile: read it again and decide anew.
    #[error("the schedule has changed meanwhile")]
    ScheduleChanged {
        /// The revision of the one that is there.
        revision: Option<u64>,
    },
    /// What is stored is not what was written. Never guessed around.
    #[error("stored data is damaged: {what}")]
    Corrupt {
        /// Which run and position, or which module, and how it was noticed.
        what: String,
    },
    /// The store does not work: it was closed, an I/O error stopped it, or its Redis is away. A commit
    /// that was under way may or may not have become durable. A store in Redis goes on when that is
    /// back; with any other nothing helps but opening it again.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Another process, or another part of this one, has the data directory open.
    #[error("the data directory {path} is in use by {holder}", path = path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Who has it, as far as it is known.
        holder: String,
    },
    /// The file was written in a format that this version does not read.
    #[error(
        "the store was written in format {found} by everstep {written_by}; \
         this version reads format {known}"
    )]
    Format {
        /// The format of the file.
        found: u32,
        /// The format that this version reads and writes.
        known: u32,
        /// The version of Everstep that wrote it.
        written_by: String,
    },
    /// There is a file where the store should be, but it is something else.
    #[error("{path} is not an Everstep store: {why}", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        why: String,
    },
    /// What should say where a store is does not.
    #[error("this is not the address of a store: {0}")]
    BadUrl(String),
    /// The Redis server cannot keep a store.
    #[error("this Redis cannot be used: {0}")]
    Unfit(String),
    /// A commit that contradicts itself. A mistake of the caller.
    #[error("the commit contradicts itself: {0}")]
    Inconsistent(String),
    /// One commit or module with more data than the store takes.
    #[error("{bytes} bytes in one piece are more than the store takes ({limit})")]
    TooLarge {
        /// The size of the piece.
        bytes: u64,
        /// The largest size that is taken.
        limit: u64,
    },
    /// A cursor that no page of this store handed out.
    #[error("`{0}` is not a cursor of this list")]
    BadCursor(String),
}

impl StoreError {
    /// A stable dotted word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "store.conflict",
            Self::AlreadyExists => "store.already_exists",
            Self::Duplicate => "store.duplicate",
            Self::LeaseLost => "store.lease_lost",
            Self::NotEnded => "store.not_ended",
            Self::PublicationChanged { .. } => "store.publication_changed",
            Self::ScheduleChanged { .. } => "store.schedule_changed",
            Self::Corrupt { .. } => "store.corrupt",
            Self::Unavailable(_) => "store.unavailable",
            Self::InUse { .. } => "store.in_use",
            Self::Format { .. } => "store.format",
            Self::Foreign { .. } => "store.foreign",
            Self::BadUrl(_) => "store.bad_url",
            Self::Unfit(_) => "store.unfit",
            Self::Inconsistent(_) => "store.inconsistent",
            Self::TooLarge { .. } => "store.too_large",
            Self::BadCursor(_) => "store.bad_cursor",
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}
