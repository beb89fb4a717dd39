//! The scripts, each one atomic change or read of one slot.
//!
//! They are sent by their hash and, where a server does not know that (it was restarted, or has taken
//! over), once more with their text. `FUNCTION` would do the same, but a library has one version for
//! all: two versions of Everstep on one Redis, as during an upgrade, would take each other's away, and
//! loading one needs rights of an administrator. A script is known by what it says.
//!
//! All of them declare their keys, and begin with `#!lua`, so that Redis refuses others, and refuses
//! to begin what it could not finish (memory full, replicas missing, disk failing).

use redis::{Cmd, Script, cmd};
use std::sync::LazyLock;

/// A script under its hash.
pub(super) struct Known {
    text: &'static str,
    hash: String,
}

impl Known {
    fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }

    /// The command that runs it: by its hash, or by its text.
    pub(super) fn command(&self, by_text: bool, keys: &[String], args: &[&[u8]]) -> Cmd {
        let mut command = if by_text { cmd("EVAL") } else { cmd("EVALSHA") };
        command.arg(if by_text { self.text } else { &self.hash }).arg(keys.len()).arg(keys);
        for arg in args {
            command.arg(arg);
        }
        command
    }
}

macro_rules! scripts {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(pub(super) static $name: LazyLock<Known> =
            LazyLock::new(|| Known::new(include_str!(concat!("lua/", $file, ".lua"))));)*
    };
}

scripts! {
    COMMIT = "commit",
    ITEMS = "items",
    RECORDS = "records",
    OPEN = "open",
    REMOVE = "remove",
    PUT_SNAPSHOT = "put_snapshot",
    PUBLISH = "publish",
    PUT_SCHEDULE = "put_schedule",
    DELETE_SCHEDULE = "delete_schedule",
    CREATE = "create",
    EPOCH = "epoch",
    JOIN = "join",
    MEMBERS = "members",
    CLAIM = "claim",
}
