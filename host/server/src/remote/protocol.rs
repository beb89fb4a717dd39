//! What hosts and servers say to each other, as MessagePack with names.
//!
//! Either side ignores fields that it does not know, and frames without an answer whose kind it does
//! not know; to one that waits for an answer it says that it does not know the kind. Fields are only
//! added, with a default. What cannot be added like that is a new version: the two sides agree on
//! the newest that both speak, and each speaks those of the versions before and behind it.

use crate::link::{HandBack, LinkError, Report};
use everstep_core::{Digest, Message, OpId, Payload, Record, RunId, Token};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// The versions of the protocol that this program speaks.
pub const VERSIONS: Versions = Versions { oldest: 1, newest: 1 };
/// What the connection is upgraded to.
pub const UPGRADE: &str = "everstep-host";
/// Where the server takes hosts.
pub const PATH: &str = "/v1/hosts/connect";
/// The largest frame, in bytes.
pub const FRAME_MAX: usize = 128 << 20;
/// The most requests of a host that wait for an answer at once.
pub const REQUESTS_MAX: usize = 1_024;
/// The most bytes of requests of a host that wait for an answer at once; one frame is always
/// allowed.
pub const REQUEST_BYTES_MAX: usize = 256 << 20;
/// Bytes of a module that are sent at once.
pub const CHUNK: usize = 1 << 20;
/// How long each side waits for the other's first word.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// A range of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
}

impl Versions {
    /// The newest version that is in both; none when there is none.
    #[must_use]
    pub fn agree(self, other: Self) -> Option<u32> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.oldest == self.newest {
            true => write!(f, "{}", self.newest),
            false => write!(f, "{} to {}", self.oldest, self.newest),
        }
    }
}

/// The kinds of frames.
pub mod kind {
    /// Host: who it is. Its first word.
    pub const HELLO: &str = "hello";
    /// Server: the host is taken in. Its first word.
    pub const WELCOME: &str = "welcome";
    /// Server: the host is not taken in. Its first and last word.
    pub const REFUSED: &str = "refused";
    /// Both: still here.
    pub const PING: &str = "ping";
    /// Both: this side ends the connection, and nothing is wrong.
    pub const GOODBYE: &str = "goodbye";
    /// Server: what its clock shows.
    pub const CLOCK: &str = "clock";
    /// Host: so many more runs may come.
    pub const GRANT: &str = "grant";
    /// Server: a run.
    pub const WORK: &str = "work";
    /// Server: something happened to a run that the host has.
    pub const MOVED: &str = "moved";
    /// Server: the host has a run no longer.
    pub const LOST: &str = "lost";
    /// Host: no more work is to come. Asks for an answer.
    pub const STOP: &str = "stop";
    /// Server: the answer to the request with the same id.
    pub const ANSWER: &str = "answer";
    /// Host: a commit.
    pub const COMMIT: &str = "commit";
    /// Host: asks for a record.
    pub const RECORD: &str = "record";
    /// Host: asks for a piece of a journal.
    pub const JOURNAL: &str = "journal";
    /// Host: asks for a piece of a module.
    pub const MODULE: &str = "module";
    /// Host: a message to another run.
    pub const SEND: &str = "send";
    /// Host: prolongs leases.
    pub const RENEW: &str = "renew";
    /// Host: ends a lease.
    pub const HAND_BACK: &str = "hand_back";
    /// Host: what a task says of itself. Nobody answers.
    pub const PROGRESS: &str = "progress";
    /// Host: asks for the snapshot of a run.
    pub const SNAPSHOT: &str = "snapshot";
    /// Host: a snapshot of a run, or that there is none any more.
    pub const PUT_SNAPSHOT: &str = "put_snapshot";
    /// Host: what it tells of its work. Nobody answers.
    pub const NOTE: &str = "note";
}

/// In front of each frame: what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its kind.
    pub kind: String,
    /// Of a request and its answer: what they have in common. 0 for what is not answered.
    #[serde(default)]
    pub id: u64,
}

/// A run and the token under which it is leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// The token.
    pub token: Token,
}

/// What a host of whatever version says first of all: part of [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speaks {
    /// The versions that it speaks.
    pub versions: Versions,
}

/// Who a host is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The versions that it speaks.
    pub versions: Versions,
    /// Names the process: whoever comes with it again is the same.
    pub identity: String,
    /// For people.
    pub name: String,
    /// The version of the program.
    #[serde(default)]
    pub program: String,
    /// How many runs it drives at once.
    pub concurrency: u32,
    /// The pool that it serves.
    #[serde(default)]
    pub pool: Option<String>,
    /// The workflows that it serves; empty for all.
    #[serde(default)]
    pub workflows: Vec<String>,
    /// What it believes to have.
    #[serde(default)]
    pub leases: Vec<Lease>,
    /// How it is.
    #[serde(default)]
    pub report: Report,
    /// Its clock, in milliseconds since 1970; 0 when it does not say.
    #[serde(default)]
    pub clock_ms: u64,
}

/// The host is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that both speak from now on.
    pub version: u32,
    /// What the server calls the host.
    pub host: u64,
    /// How often each side lets the other hear of it, and leases are renewed.
    pub heartbeat_ms: u64,
    /// How long a lease lasts.
    pub lease_ms: u64,
    /// The runs that the host does not have any more.
    #[serde(default)]
    pub lost: Vec<RunId>,
    /// The server's clock, in milliseconds since 1970, which the host goes by; 0 when it does not say.
    #[serde(default)]
    pub clock_ms: u64,
}

/// What the server's clock shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockFrame {
    /// Milliseconds since 1970.
    pub clock_ms: u64,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable word.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// So many more runs may come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// How many.
    pub slots: u32,
}

/// A run to advance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkFrame {
    /// Which, and under which token.
    pub lease: Lease,
    /// Its record.
    pub record: Record,
}

/// Asks for a run's record, or says which one has moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRun {
    /// The run.
    pub run: RunId,
}

/// Asks for a piece of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalFrom {
    /// Whose.
    pub run: RunId,
    /// From this position on.
    pub from: u64,
}

/// Asks for a piece of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleFrom {
    /// Which.
    pub digest: Digest,
    /// From this byte on.
    pub offset: u64,
}

/// A piece of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModulePiece {
    /// How long all of it is.
    pub total: u64,
    /// The piece.
    pub bytes: Bytes,
}

/// A message to another run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendFrame {
    /// Whose.
    pub from: RunId,
    /// What, and to whom.
    pub message: Message,
}

/// A snapshot of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFrame {
    /// The run.
    pub run: RunId,
    /// None when there is none any more.
    #[serde(default)]
    pub snapshot: Option<Bytes>,
}

/// What a task says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgressFrame {
    /// The run.
    pub run: RunId,
    /// The task.
    pub op: OpId,
    /// None when it is over.
    #[serde(default)]
    pub progress: Option<Payload>,
}

/// Prolongs leases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Renew {
    /// Which.
    pub leases: Vec<Lease>,
    /// How the host is.
    #[serde(default)]
    pub report: Report,
}

/// Ends a lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandBackFrame {
    /// Which.
    pub lease: Lease,
    /// Why.
    pub how: HandBack,
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer<T> {
    /// What was asked for.
    Done(T),
    /// Why not.
    Refused(Refusal),
}

impl<T> From<Result<T, LinkError>> for Answer<T> {
    fn from(result: Result<T, LinkError>) -> Self {
        match result {
            Ok(value) => Self::Done(value),
            Err(error) => Self::Refused(Refusal::from(error)),
        }
    }
}

impl<T> From<Answer<T>> for Result<T, LinkError> {
    fn from(answer: Answer<T>) -> Self {
        match answer {
            Answer::Done(value) => Ok(value),
            Answer::Refused(refusal) => Err(refusal.into()),
        }
    }
}

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        let code = match &error {
            LinkError::Conflict => "conflict",
            LinkError::LeaseLost => "lease_lost",
            LinkError::Corrupt(_) => "corrupt",
            LinkError::TooLarge(_) => "too_large",
            LinkError::Unavailable(_) => "unavailable",
        };
        Self { code: code.into(), detail: error.to_string() }
    }
}

impl From<Refusal> for LinkError {
    fn from(Refusal { code, detail }: Refusal) -> Self {
        match code.as_str() {
            "conflict" => Self::Conflict,
            "lease_lost" => Self::LeaseLost,
            "corrupt" => Self::Corrupt(detail),
            "too_large" => Self::TooLarge(detail),
            // What a newer server says in other words may pass, too.
            _ => Self::Unavailable(detail),
        }
    }
}

/// Bytes that are written as such, and not as a list of numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_owned()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = items.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_both_speak_is_agreed_on() {
        let of = |oldest, newest| Versions { oldest, newest };
        for (ours, theirs, agreed) in [
            (of(1, 1), of(1, 1), Some(1)),
            (of(1, 2), of(2, 3), Some(2)),
            (of(2, 3), of(1, 2), Some(2)),
            (of(1, 4), of(2, 3), Some(3)),
            (of(1, 1), of(2, 3), None),
            (of(3, 4), of(1, 2), None),
        ] {
            assert_eq!(ours.agree(theirs), agreed, "{ours} and {theirs}");
        }
    }
}
