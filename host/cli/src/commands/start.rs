//! `everstep start`: starts a run, and waits for its end when told to.

use crate::args::parse_tag;
use crate::commands::runs::wait;
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit, Failure};
use clap::ValueEnum;
use everstep_client::{OnConflict, Payload, RetryPolicy, StartBody, Timestamp, WaitOptions};
use std::io::Read;
use std::time::Duration;

/// Start a run and print its id.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep start user-onboarding --input '{\"email\":\"ada@example.com\"}'
  everstep start payment --input @order.json --key order-4711 --wait
  everstep start payment --input @order.json --key-template 'order-${id}'
  everstep start morning --delay 8h --tag team=growth
  everstep start report --pool large
  generate-report-options | everstep start report --input - --wait --wait-timeout 5m")]
pub(crate) struct Args {
    /// The workflow's name
    workflow: String,
    /// Its version; the newest one when absent
    #[arg(long)]
    version: Option<String>,
    /// The input: JSON, @FILE, or - for stdin; null when absent
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// Idempotency key: the same key never starts a second run of the workflow
    #[arg(long)]
    key: Option<String>,
    /// Make the key from the input, as in 'order-${order.id}'; else the workflow's own template does
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "key")]
    key_template: Option<String>,
    /// Refuse when the key is taken, or answer with the run that has it
    #[arg(long, value_enum, default_value_t = Conflict::ReturnExisting)]
    on_conflict: Conflict,
    /// Start after this time, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = durations::parse, conflicts_with = "at")]
    delay: Option<Duration>,
    /// Start at this instant, such as 2026-05-01T09:30:00Z
    #[arg(long, value_name = "RFC3339")]
    at: Option<Timestamp>,
    /// The longest the run may take, from when it is due
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    timeout: Option<Duration>,
    /// Searchable label (repeat for more)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Only hosts that serve this pool may have the run (`everstep host --pool`)
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Wait until the run ends; exit with 1 when it did not complete
    #[arg(long)]
    wait: bool,
    /// The longest to wait; for ever when absent
    #[arg(long, value_name = "DURATION", value_parser = durations::parse, requires = "wait")]
    wait_timeout: Option<Duration>,
    #[command(flatten)]
    retry: Retry,
}

/// When to try the whole run again.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Retry of the whole run")]
pub(crate) struct Retry {
    /// Attempts in all; 1 never retries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    retry_attempts: Option<u32>,
    /// The wait before the first retry
    #[arg(long, value_name = "DURATION", value_parser = durations::parse, default_value = "1s")]
    #[arg(requires = "retry_attempts")]
    retry_delay: Duration,
    /// How much longer each wait is than the one before
    #[arg(long, value_name = "FACTOR", default_value_t = 2.0, requires = "retry_attempts")]
    retry_factor: f64,
    /// The longest wait
    #[arg(long, value_name = "DURATION", value_parser = durations::parse, default_value = "1m")]
    #[arg(requires = "retry_attempts")]
    retry_max_delay: Duration,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Conflict {
    Error,
    ReturnExisting,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let waits = args.wait.then_some(args.wait_timeout);
    let client = context.client()?;
    let started = client.start(&body(args)?).await?;
    if !started.created {
        context.output.note("the key names a run that exists");
    }
    let Some(timeout) = waits else {
        if context.output.is_json() {
            context.output.value(&started)?;
        } else {
            context.output.line(&started.id.to_string())?;
        }
        return Ok(Exit::Done);
    };
    if !context.output.is_json() {
        context.output.line(&started.id.to_string())?;
    }
    let options = WaitOptions { timeout, ..WaitOptions::default() };
    wait::wait(context, &client, started.id, options).await
}

fn body(args: Args) -> Result<StartBody, Failure> {
    Ok(StartBody {
        workflow: args.workflow,
        version: args.version,
        input: args.input.as_deref().map(read_input).transpose()?,
        delay_ms: args.delay.map(durations::millis),
        at: args.at,
        idempotency_key: args.key,
        key_template: args.key_template,
        on_conflict: match args.on_conflict {
            Conflict::Error => OnConflict::Error,
            Conflict::ReturnExisting => OnConflict::ReturnExisting,
        },
        retry: args.retry.policy(),
        timeout_ms: args.timeout.map(durations::millis),
        tags: args.tags.into_iter().collect(),
        pool: args.pool,
    })
}

impl Retry {
    pub(crate) fn policy(&self) -> Option<RetryPolicy> {
        let max_attempts = self.retry_attempts?;
        let initial_ms = durations::millis(self.retry_delay);
        Some(if max_attempts == 1 {
            RetryPolicy::Never
        } else if self.retry_factor == 1.0 {
            RetryPolicy::Fixed { max_attempts, delay_ms: initial_ms }
        } else {
            RetryPolicy::Exponential {
                max_attempts,
                initial_ms,
                factor: self.retry_factor,
                max_delay_ms: durations::millis(self.retry_max_delay),
                jitter: false,
            }
        })
    }
}

/// JSON as it was typed, from a file (`@FILE`), or from the standard input (`-`).
pub(crate) fn read_input(given: &str) -> Result<Payload, Failure> {
    let unreadable = |from: &str, e: std::io::Error| {
        Failure::usage("input.unreadable", format!("cannot read {from}: {e}"))
            .fix("give the input as JSON, as @FILE, or as - for stdin")
    };
    let bytes = match (given, given.strip_prefix('@')) {
        ("-", _) => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|e| unreadable("stdin", e))?;
            bytes
        }
        (_, Some(file)) => std::fs::read(file).map_err(|e| unreadable(file, e))?,
        _ => given.as_bytes().to_vec(),
    };
    Payload::from_bytes(&bytes).map_err(|e| {
        Failure::usage("input.invalid", format!("the input is {e}"))
            .fix("text needs its own quotes: --input '\"text\"'; a file is @FILE")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser;

    fn parsed(arguments: &[&str]) -> Result<StartBody, String> {
        let all = ["everstep", "start"].iter().chain(arguments);
        let cli = Cli::try_parse_from(all).map_err(|e| e.to_string())?;
        let Verb::Start(args) = cli.verb else { panic!("another verb") };
        body(args).map_err(|failure| failure.report.unwrap().detail)
    }

    #[test]
    fn a_plain_start_asks_for_nothing() {
        assert_eq!(parsed(&["w"]), Ok(StartBody::new("w")));
    }

    #[test]
    fn options_become_the_body() {
        let body = parsed(&[
            "w",
            "--version",
            "2",
            "--input",
            "{\"a\": 1}",
            "--key",
            "k",
            "--on-conflict",
            "error",
            "--delay",
            "1h30m",
            "--timeout",
            "2d",
            "--pool",
            "gpu",
            "--tag",
            "a=b",
            "--tag",
            "c=d=e",
            "--retry-attempts",
            "3",
        ])
        .unwrap();
        assert_eq!(body.input.unwrap().as_str(), "{\"a\": 1}");
        assert_eq!(body.delay_ms, Some(5_400_000));
        assert_eq!(body.timeout_ms, Some(172_800_000));
        assert_eq!(body.pool.as_deref(), Some("gpu"));
        assert_eq!(body.tags["c"], "d=e");
        assert_eq!(body.on_conflict, OnConflict::Error);
        assert_eq!(body.retry.unwrap().max_attempts(), 3);
        assert_eq!(body.retry.unwrap().delay_after(2, 0), Some(2_000));
    }

    #[test]
    fn the_input_comes_from_a_file_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[1]").unwrap();
        let body = parsed(&["w", "--input", &format!("@{}", file.path().display())]).unwrap();
        assert_eq!(body.input.unwrap().as_str(), "[1]");
        assert!(parsed(&["w", "--input", "@/no/file"]).unwrap_err().contains("/no/file"));
        assert!(parsed(&["w", "--input", "{"]).unwrap_err().contains("not a JSON value"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (arguments, word) in [
            (&["w", "--delay", "soon"][..], "not a duration"),
            (&["w", "--delay", "1s", "--at", "2026-05-01T09:30:00Z"], "cannot be used with"),
            (&["w", "--at", "tomorrow"], "not an instant"),
            (&["w", "--key", "k", "--key-template", "${id}"], "cannot be used with"),
            (&["w", "--tag", "a"], "KEY=VALUE"),
            (&["w", "--retry-delay", "1s"], "--retry-attempts"),
            (&["w", "--wait-timeout", "1s"], "--wait"),
            (&["w", "--retry-attempts", "0"], "0 is not in"),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
    }
}
