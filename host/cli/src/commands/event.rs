//! `everstep event send`: sends an event to one run or to many.

use super::start::read_input;
use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use clap::Subcommand;
use everstep_client::{EventBody, EventTarget, MulticastBody, Payload, RunId};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  everstep event send 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f approved")]
pub(crate) enum Verb {
    /// Send an event to a run, or to several
    Send(Args),
}

/// Send an event to a run, or to several.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep event send 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f approved --data '{\"by\":\"Ada\"}'
  everstep event send 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f paid --reference invoice-17
  everstep event send key:payment:order-7 paid
  everstep event send 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f,key:payment:order-8 closed")]
pub(crate) struct Args {
    /// The run's id, or `key:WORKFLOW:KEY`; several with commas
    #[arg(value_delimiter = ',', required = true, value_parser = target)]
    run: Vec<EventTarget>,
    /// The event's name
    name: String,
    /// What it says: JSON, @FILE, or - for the standard input; null when absent
    #[arg(long)]
    data: Option<String>,
    /// Names this event: a run receives it once, however often it is sent
    #[arg(long, value_name = "ID")]
    reference: Option<String>,
}

fn target(text: &str) -> Result<EventTarget, String> {
    match text.strip_prefix("key:").map(|rest| rest.split_once(':')) {
        Some(Some((workflow, key))) => {
            Ok(EventTarget::Key { workflow: workflow.to_owned(), key: key.to_owned() })
        }
        Some(None) => Err("write key:WORKFLOW:KEY".to_owned()),
        None => {
            text.parse::<RunId>().map(|run| EventTarget::Run { run }).map_err(|e| e.to_string())
        }
    }
}

pub(crate) async fn run(context: &Context, verb: Verb) -> Ended {
    let Verb::Send(args) = verb;
    let data: Option<Payload> = match &args.data {
        Some(text) => Some(read_input(text)?),
        None => None,
    };
    let event = EventBody { name: args.name, data, reference: args.reference };
    if let [EventTarget::Run { run }] = args.run.as_slice() {
        let sent = context.client()?.send_event(*run, &event).await?;
        if context.output.is_json() {
            context.output.value(&sent)?;
        } else {
            context.output.line(if sent.duplicate { "the run has it already" } else { "sent" })?;
        }
        return Ok(Exit::Done);
    }
    let answer = context.client()?.multicast(&MulticastBody { to: args.run, event }).await?;
    if context.output.is_json() {
        context.output.value(&answer)?;
    } else {
        for result in &answer.results {
            let what = match (&result.detail, result.duplicate) {
                (Some(detail), _) => detail.as_str(),
                (None, true) => "has it already",
                (None, false) => "sent",
            };
            context.output.line(&format!("{}  {what}", result.run))?;
        }
    }
    let refused = answer.results.iter().filter(|result| !result.ok).count();
    if refused > 0 {
        let detail = format!("{refused} of {} runs did not take the event", answer.results.len());
        return Err(Failure::new("event.refused", detail));
    }
    Ok(Exit::Done)
}
