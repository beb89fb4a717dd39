//! Matching a replay against the journal. While a run is rebuilt, every activation must ask for
//! exactly what the journal recorded; the first difference is a [`Divergence`], which stops the run
//! and changes nothing.

use crate::activation::{Activation, Command, CommandIdentity, CommandKind, Delivery, Outcome};
use crate::difference::{shortened, unequal};
use crate::{Digest, OpId, Payload, RunId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

mod steps;

pub use steps::{Steps, step_begin, step_end};

/// One recorded command of an activation, with its position.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedCommand {
    /// Its position in the journal.
    pub seq: u64,
    /// What a replay must ask for.
    pub identity: CommandIdentity,
    /// The recorded input, for the report.
    pub input: Option<Payload>,
    /// The child run that was started.
    pub child: Option<(OpId, RunId)>,
}

/// One activation as the journal has it: what was delivered and what the guest asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The position of the delivery.
    pub seq: u64,
    /// The attempt of the run that it belongs to.
    pub attempt: u32,
    /// What to deliver.
    pub delivery: Delivery,
    /// What the guest asked for then, in order; the report of an outcome comes last.
    pub recorded: Vec<RecordedCommand>,
    /// What it left of the guest, if that was recorded.
    pub audited: Option<Audited>,
}

/// What an activation left of a guest, as the journal has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audited {
    /// The position of the entry.
    pub seq: u64,
    /// The module that was executed.
    pub module: Digest,
    /// The version of the engine's configuration.
    pub engine: u32,
    /// The hash of the guest's memories and globals.
    pub hash: Digest,
}

/// The first difference between a replay and the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// The journal position of the recorded command, or of the delivery when none was recorded.
    pub seq: u64,
    /// What the journal has; none when the activation recorded fewer commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Asked>,
    /// What the replay asked for; none when it asked for less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The fields that differ.
    pub differences: Vec<Difference>,
}

/// A command as a report shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Kind, name and input hash.
    pub identity: CommandIdentity,
    /// The input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `kind`, `name`, or a path into the input such as `input.user.id`.
    pub field: String,
    /// The journal's side.
    pub expected: String,
    /// The replay's side.
    pub asked: String,
}

impl Step {
    /// The values that the guest recorded then, which a replay gives back to it.
    #[must_use]
    pub fn values(&self) -> Vec<(String, Payload)> {
        let value = |command: &RecordedCommand| match (&command.identity, &command.input) {
            (CommandIdentity { kind: CommandKind::Value, name, .. }, Some(value)) => {
                Some((name.clone(), value.clone()))
            }
            _ => None,
        };
        self.recorded.iter().filter_map(value).collect()
    }

    /// The children that were started then. A fork has some of them from another run, which named
    /// them.
    #[must_use]
    pub fn children(&self) -> BTreeMap<OpId, RunId> {
        self.recorded.iter().filter_map(|command| command.child).collect()
    }

    /// Compares what an activation asked for with what the journal has.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, activation: &Activation) -> Result<(), Box<Divergence>> {
        let asked = activation
            .commands
            .iter()
            .map(asked_command)
            .chain(activation.outcome.iter().filter_map(asked_outcome));
        let mut recorded = self.recorded.iter();
        for asked in asked {
            match recorded.next() {
                Some(expected) if expected.identity == asked.identity => {}
                expected => return Err(self.diverge(expected, Some(asked))),
            }
        }
        match recorded.next() {
            Some(missing) => Err(self.diverge(Some(missing), None)),
            None => Ok(()),
        }
    }

    /// Which of the things that the guest asks for in this step a divergence is about.
    #[must_use]
    pub fn index_of(&self, divergence: &Divergence) -> usize {
        self.recorded.iter().take_while(|command| command.seq < divergence.seq).count()
    }

    /// Compares what an activation left of the guest with what the journal has of that. A journal
    /// without such a record, or one of another module, is no contradiction.
    ///
    /// # Errors
    /// The difference.
    pub fn check_state(
        &self,
        module: Digest,
        engine: u32,
        hash: Digest,
    ) -> Result<(), Box<Divergence>> {
        match &self.audited {
            Some(there)
                if (there.module, there.engine) == (module, engine) && there.hash != hash =>
            {
                let (expected, asked) = (there.hash.to_string(), hash.to_string());
                let differences = vec![Difference { field: "memory".into(), expected, asked }];
                Err(Box::new(Divergence {
                    seq: there.seq,
                    expected: None,
                    asked: None,
                    differences,
                }))
            }
            _ => Ok(()),
        }
    }

    fn diverge(&self, expected: Option<&RecordedCommand>, asked: Option<Asked>) -> Box<Divergence> {
        let expected_at = expected.map(|command| command.seq);
        let expected = expected.map(|command| Asked {
            identity: command.identity.clone(),
            input: command.input.as_ref().and_then(|input| input.read().ok()),
        });
        let differences = differences(expected.as_ref(), asked.as_ref());
        let seq = expected_at.unwrap_or(self.seq + self.recorded.len() as u64);
        Box::new(Divergence { seq, expected, asked, differences })
    }
}

fn asked_command(command: &Command) -> Asked {
    let input = match command {
        Command::StartTask { input, .. } => input.read().ok(),
        Command::SendEvent { event, .. } => event.data.read().ok(),
        Command::StartChild { request, .. } => request.input.read().ok(),
        Command::RecordValue { value, .. } => value.read().ok(),
        Command::StartTimer { .. }
        | Command::AwaitEvent { .. }
        | Command::CancelOperation { .. } => None,
    };
    Asked { identity: command.identity(), input }
}

/// A guest that ends as cancelled is recorded by the bookkeeping entry `RunCancelled`, which also
/// the host writes; so that outcome is no part of the comparison.
fn asked_outcome(outcome: &Outcome) -> Option<Asked> {
    let input = match outcome {
        Outcome::Completed(output) | Outcome::Continued(output) => output.read().ok(),
        Outcome::Failed(_) => None,
        Outcome::Cancelled => return None,
    };
    Some(Asked { identity: outcome.identity(), input })
}

fn differences(expected: Option<&Asked>, asked: Option<&Asked>) -> Vec<Difference> {
    let (Some(expected), Some(asked)) = (expected, asked) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut compare = |field: &str, left: &str, right: &str| {
        if left != right {
            let (field, expected, asked) = (field.into(), left.into(), right.into());
            found.push(Difference { field, expected, asked });
        }
    };
    compare("kind", expected.identity.kind.as_str(), asked.identity.kind.as_str());
    compare("name", &expected.identity.name, &asked.identity.name);
    if let (Some(left), Some(right)) = (&expected.input, &asked.input) {
        let fields = unequal("input", left, right).into_iter();
        found.extend(fields.map(|it| Difference {
            field: it.path,
            expected: it.left,
            asked: it.right,
        }));
    }
    found
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity.fmt(f)?;
        if let Some(input) = &self.input {
            write!(f, " {}", shortened(&input.to_string()))?;
        }
        Ok(())
    }
}

impl Divergence {
    /// What divergences of one cause have in common: both sides without their inputs, or the fields
    /// that differ.
    #[must_use]
    pub fn summary(&self) -> String {
        let side = |asked: &Option<Asked>| {
            asked.as_ref().map_or("nothing".into(), |asked| asked.identity.to_string())
        };
        let (expected, asked) = (side(&self.expected), side(&self.asked));
        if expected != asked {
            return format!("the journal has {expected}, the module asks for {asked}");
        }
        let fields: Vec<_> = self.differences.iter().map(|it| it.field.as_str()).collect();
        if self.expected.is_none() {
            return format!(
                "the guest is another one than in the journal: {} differs",
                fields.join(", ")
            );
        }
        format!("{expected}: {} differs", fields.join(", "))
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side =
            |asked: &Option<Asked>| asked.as_ref().map_or("nothing".into(), Asked::to_string);
        writeln!(f, "at journal position {}", self.seq)?;
        if self.expected.is_some() || self.asked.is_some() {
            writeln!(f, "  the journal has   {}", side(&self.expected))?;
            write!(f, "  the code asks for {}", side(&self.asked))?;
        } else {
            write!(f, "  the guest asks for the same, but is not what it was")?;
        }
        for d in &self.differences {
            write!(f, "\n    {}: {} → {}", d.field, d.expected, d.asked)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
