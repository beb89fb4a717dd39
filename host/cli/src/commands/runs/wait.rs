//! `everstep runs wait`: waits on the server, not by asking again and again, and across restarts of
//! it. `start --wait` waits through here, too.

use super::status;
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit, Failure};
use everstep_client::{Client, RunId, RunView, StateKind, WaitOptions, WaitOutcome};
use std::time::Duration;

/// How often the spinner shows the state of the run anew.
const WATCHED_POLL: Duration = Duration::from_secs(2);

/// Wait until a run ends, or is in a state.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --status it waits for the end of the run and exits with 0 when the run completed, else \
with 1 (5 when it is stuck because of a divergence). With --status it exits with 0 when the run is \
in one of those states. When the time is up it exits with 4.

Examples:
  everstep runs wait 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs wait 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --status sleeping --timeout 10s")]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
    /// Wait for one of these states (repeat, or separate by commas)
    #[arg(long = "status", value_name = "STATE", value_delimiter = ',')]
    #[arg(value_parser = super::filters::parse_state)]
    states: Vec<StateKind>,
    /// The longest to wait; for ever when absent
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    timeout: Option<Duration>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let options =
        WaitOptions { states: args.states, timeout: args.timeout, ..WaitOptions::default() };
    wait(context, &context.client()?, args.run, options).await
}

/// Waits, prints the state that the run is in then, and judges it.
pub(crate) async fn wait(
    context: &Context,
    client: &Client,
    id: RunId,
    mut options: WaitOptions,
) -> Ended {
    if context.output.is_watched() {
        options.poll = WATCHED_POLL;
    }
    let waited = {
        let progress = context.output.spinner(format!("waiting for run {id}"));
        let show = |run: &RunView| {
            let status = status::explained(run, context.now(), 80);
            progress.say(format!("run {id} is {}: {status}", run.state.as_str()));
        };
        client.wait_observed(id, &options, show).await?
    };
    let run = &waited.run;
    if context.output.is_json() {
        context.output.value(run)?;
    } else {
        let state = status::painted(run.state, run.state.as_str(), context.output.paint);
        let status = match &run.output {
            Some(output) => crate::text::lines(output.as_str()),
            None => status::explained(run, context.now(), 200),
        };
        context.output.line(format!("{state}  {status}").trim_end())?;
    }
    judge(run, waited.outcome, &options.states)
}

/// What the end of a wait means for the exit code.
fn judge(run: &RunView, outcome: WaitOutcome, states: &[StateKind]) -> Ended {
    let show = format!("`everstep runs show {}` shows what happened", run.id);
    match (outcome, run.state) {
        (WaitOutcome::Timeout, state) => {
            let detail = format!("the time is up, and the run is {}", state.as_str());
            Err(Failure::new("wait.timeout", detail).fix(show).exit(Exit::Timeout))
        }
        (WaitOutcome::Reached, _) if !states.is_empty() => Ok(Exit::Done),
        (_, StateKind::Stuck) => {
            let (code, message, remedy) = match &run.stuck {
                Some(cause) => (cause.code.as_str(), cause.message.as_str(), cause.remedy.clone()),
                None => ("run.stuck", "the run is stuck", show),
            };
            let exit = if code == "divergence" { Exit::Divergence } else { Exit::Failed };
            Err(Failure::new(code, message).fix(remedy).exit(exit))
        }
        (WaitOutcome::Missed, state) if !states.is_empty() => {
            let detail = format!("the run ended as {} instead", state.as_str());
            Err(Failure::new("wait.missed", detail).fix(show))
        }
        (_, StateKind::Failed) => Err(match &run.failure {
            Some(failure) => Failure::new(&failure.code, &failure.message),
            None => Failure::new("run.failed", "the run failed"),
        }
        .fix(show)),
        (_, StateKind::Cancelled) => {
            let reason = run.cancel_reason.as_deref().unwrap_or("no reason given");
            Err(Failure::new("run.cancelled", format!("the run was cancelled: {reason}")))
        }
        _ => Ok(Exit::Done),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::commands::runs::timeline::samples;

    fn code(state: StateKind, outcome: WaitOutcome, states: &[StateKind]) -> Exit {
        let run = RunView { state, ..samples::run() };
        judge(&run, outcome, states).unwrap_or_else(|failure| failure.exit)
    }

    #[test]
    fn the_end_of_the_run_decides_the_exit_code() {
        use WaitOutcome::{Missed, Reached, Timeout};
        assert_eq!(code(StateKind::Completed, Reached, &[]), Exit::Done);
        assert_eq!(code(StateKind::Failed, Reached, &[]), Exit::Failed);
        assert_eq!(code(StateKind::Cancelled, Reached, &[]), Exit::Failed);
        assert_eq!(code(StateKind::Stuck, Missed, &[]), Exit::Failed);
        assert_eq!(code(StateKind::Sleeping, Timeout, &[]), Exit::Timeout);
        assert_eq!(code(StateKind::Failed, Reached, &[StateKind::Failed]), Exit::Done);
        assert_eq!(code(StateKind::Completed, Missed, &[StateKind::Sleeping]), Exit::Failed);
    }

    #[test]
    fn a_divergence_has_a_code_of_its_own() {
        let stuck = Some(everstep_core::StuckCause {
            code: "divergence".into(),
            message: "at journal position 3".into(),
            remedy: "mend it".into(),
            divergence: None,
        });
        let run = RunView { state: StateKind::Stuck, stuck, ..samples::run() };
        let failure = judge(&run, WaitOutcome::Missed, &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Divergence);
        assert_eq!(failure.report.unwrap().fix.unwrap(), "mend it");
    }
}
