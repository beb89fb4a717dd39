//! `everstep runs fork`: starts a run that begins as another one did, with edited results.

use crate::context::Context;
use crate::exit::{Ended, Exit};
use everstep_client::{Payload, RunId};
use everstep_core::OpId;
use everstep_core::api::{EditBody, ForkBody};

/// Start a run that begins as another one did, with edited results.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The fork has the journal of the run up to position N, or to where an edit makes the workflow ask for \
something else, and goes on from there by itself: its tasks are really executed. The run itself is left \
alone. `everstep runs journal` and `everstep runs travel` show positions and operations.

Examples:
  everstep runs fork 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --at 7
  everstep runs fork 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --at 12 --edit 3='{\"granted\":false}'
  everstep runs fork 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --at 12 --edit @5=42 --key what-if-1")]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
    /// The journal position in front of which the fork begins to live, or the end of the step it is in
    #[arg(long, value_name = "N")]
    at: u64,
    /// Give operation OP, or the side value at position @SEQ, this result; may be repeated
    #[arg(long = "edit", value_name = "OP=JSON", value_parser = edit)]
    edits: Vec<EditBody>,
    /// Idempotency key: the same request with the same key never makes a second fork of the run
    #[arg(long, value_name = "K")]
    key: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let body = ForkBody { at: args.at, edits: args.edits, idempotency_key: args.key };
    let forked = context.client()?.fork(args.run, &body).await?;
    if context.output.is_json() {
        context.output.value(&forked)?;
        return Ok(Exit::Done);
    }
    context.output.line(&forked.id.to_string())?;
    if forked.at != args.at {
        context.output.note(&format!("the journal was cut at position {}", forked.at));
    }
    if !forked.created {
        context.output.note("the fork with this key existed");
    }
    Ok(Exit::Done)
}

fn edit(text: &str) -> Result<EditBody, String> {
    let (target, value) = text.split_once('=').ok_or("it is written OP=JSON or @SEQ=JSON")?;
    let value = Payload::from_bytes(value.as_bytes())
        .map_err(|e| format!("the value is {e}; text needs its own quotes"))?;
    let number = |digits: &str| digits.parse::<u64>().map_err(|e| format!("`{target}`: {e}"));
    let (op, seq) = match target.strip_prefix('@') {
        Some(seq) => (None, Some(number(seq)?)),
        None => (Some(OpId(number(target)?)), None),
    };
    Ok(EditBody { op, seq, value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn edits_name_an_operation_or_a_position() {
        let op = edit("3={\"a\":\"b=c\"}").unwrap();
        assert_eq!((op.op, op.seq, op.value.as_str()), (Some(OpId(3)), None, "{\"a\":\"b=c\"}"));
        let seq = edit("@12=null").unwrap();
        assert_eq!((seq.op, seq.seq), (None, Some(12)));
        for wrong in ["3", "x=1", "@=1", "3=hello", "-1=1"] {
            assert!(edit(wrong).is_err(), "{wrong}");
        }
    }
}
