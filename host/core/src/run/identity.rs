//! What operations are known by in a replay and in a next attempt of the run, made from what the
//! journal has. [`Command::identity`](crate::Command::identity) makes the same from a command.

use crate::InputHash;
use crate::activation::{CommandIdentity, CommandKind};

pub(super) fn named_identity(kind: CommandKind, name: &str) -> CommandIdentity {
    CommandIdentity { kind, name: name.to_owned(), input_hash: None }
}

fn hashed(kind: CommandKind, name: &str, hash: InputHash) -> CommandIdentity {
    CommandIdentity { kind, name: name.to_owned(), input_hash: Some(hash) }
}

pub(super) fn task_identity(name: &str, input: InputHash) -> CommandIdentity {
    hashed(CommandKind::Task, name, input)
}

pub(super) fn send_identity(name: &str, data: InputHash) -> CommandIdentity {
    hashed(CommandKind::Send, name, data)
}

pub(super) fn child_identity(workflow: &str, input: InputHash) -> CommandIdentity {
    hashed(CommandKind::Child, workflow, input)
}
