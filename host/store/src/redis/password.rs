//! A password that nothing prints.

use crate::StoreError;
use std::fmt;

/// A password. Its `Debug` does not show it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub(super) String);

impl Password {
    /// The first line of a file.
    pub(super) fn of_file(path: &str) -> Result<Self, StoreError> {
        let unread = |error: &dyn fmt::Display| {
            StoreError::BadUrl(format!("the password file {path} cannot be read: {error}"))
        };
        let text = std::fs::read_to_string(path).map_err(|error| unread(&error))?;
        match text.lines().next().filter(|line| !line.is_empty()) {
            Some(line) => Ok(Self(line.to_owned())),
            None => Err(unread(&"its first line is empty")),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(not shown)")
    }
}
