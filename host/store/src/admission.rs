//! The rules by which a store admits or refuses a commit, in one place for all backends that decide
//! in Rust.

use crate::StoreError;
use everstep_core::{Commit, Token};

/// What a store must know of a run to judge a commit to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) token: Token,
    pub(crate) length: u64,
    pub(crate) log_lines: u64,
}

/// What a commit claims and would make of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) expected_length: u64,
    pub(crate) first_log_line: u64,
    pub(crate) token: Option<Token>,
    pub(crate) length: u64,
    pub(crate) log_lines: u64,
}

impl Claim {
    /// The claim of a commit that does not contradict itself.
    pub(crate) fn of(commit: &Commit) -> Result<Self, StoreError> {
        let length = commit.expected_length.saturating_add(commit.entries.len() as u64);
        if commit.record.length != length {
            return Err(StoreError::Inconsistent(format!(
                "{} entries behind {} make {length}, but the record says {}",
                commit.entries.len(),
                commit.expected_length,
                commit.record.length
            )));
        }
        if length == 0 {
            return Err(StoreError::Inconsistent("a run begins with an entry".into()));
        }
        let log_lines = commit.record.log_lines;
        let Some(first_log_line) = log_lines.checked_sub(commit.logs.len() as u64) else {
            return Err(StoreError::Inconsistent(format!(
                "it has {} log lines, but the record says {log_lines} in all",
                commit.logs.len()
            )));
        };
        Ok(Self {
            expected_length: commit.expected_length,
            first_log_line,
            token: commit.token,
            length,
            log_lines,
        })
    }

    /// Admits or refuses the commit to a run with this head (none: there is no such run), and says
    /// what the head is afterwards.
    pub(crate) fn admit(&self, head: Option<&Head>) -> Result<Head, StoreError> {
        let current = match head {
            None if self.expected_length > 0 => return Err(StoreError::Conflict { length: 0 }),
            None => Head::default(),
            Some(head) => {
                if self.token.is_some_and(|token| token < head.token) {
                    return Err(StoreError::LeaseLost);
                }
                if self.expected_length == 0 {
                    return Err(StoreError::AlreadyExists);
                }
                if self.expected_length != head.length {
                    return Err(StoreError::Conflict { length: head.length });
                }
                *head
            }
        };
        if self.first_log_line != current.log_lines {
            return Err(StoreError::Inconsistent(format!(
                "its log lines begin at {}, but the run has {}",
                self.first_log_line, current.log_lines
            )));
        }
        Ok(Head {
            token: self.token.unwrap_or(current.token),
            length: self.length,
            log_lines: self.log_lines,
        })
    }
}
