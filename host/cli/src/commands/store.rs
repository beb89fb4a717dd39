//! `everstep store`: what can be done with the data of a server while none works on it.

use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use crate::store_at::StoreAt;
use clap::Subcommand;
use everstep_store::{Copied, CopyError, Embedded, copy};
use serde_json::json;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  everstep store copy --from .everstep/data --to redis://127.0.0.1:6379")]
pub(crate) enum Verb {
    /// Copy everything into an empty store, and compare
    Copy(CopyArgs),
}

/// Copy everything into an empty store, and compare.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Stop the servers of both first. Snapshots of memory are left out; they are taken again. A copy that broke \
off leaves a part in the target: empty it and begin again.

Examples:
  everstep store copy --from .everstep/data --to redis://127.0.0.1:6379
  everstep store copy --from 'redis://127.0.0.1:6379?namespace=flows' --to /var/lib/everstep")]
pub(crate) struct CopyArgs {
    /// The store to read: a folder, or redis://HOST:PORT
    #[arg(long, value_name = "PATH|URL")]
    from: String,
    /// The store to write, which has to be empty
    #[arg(long, value_name = "PATH|URL")]
    to: String,
}

pub(crate) async fn run(context: &Context, verb: Verb) -> Ended {
    let Verb::Copy(args) = verb;
    let output = &context.output;
    if let StoreAt::Folder(path) = StoreAt::parse(&args.from)?
        && !Embedded::is_in(&path)
    {
        let detail = format!("there is no store in {}", path.display());
        return Err(Failure::usage("store.missing", detail).fix("give the folder of a server"));
    }
    let open = async |text: &str| {
        let opened = StoreAt::parse(text)?.open().await;
        opened.map_err(|error| {
            Failure::new(error.code(), format!("{text}: {error}"))
                .fix("stop the servers of both stores, and look at the Redis if it is one")
        })
    };
    let (from, to) = (open(&args.from).await?, open(&args.to).await?);
    let progress = output.spinner("copying".into());
    let copied = copy(&*from, &*to, |copied| progress.say(words(copied))).await;
    drop(progress);
    from.close().await;
    to.close().await;
    let copied = copied.map_err(failed)?;
    if output.is_json() {
        let Copied { modules, schedules, runs, entries, log_lines, compared } = copied;
        output.value(&json!({
            "modules": modules, "schedules": schedules, "runs": runs,
            "entries": entries, "log_lines": log_lines, "compared": compared,
        }))?;
    } else {
        output.line(&format!("copied and compared: {}", words(&copied)))?;
    }
    Ok(Exit::Done)
}

fn words(copied: &Copied) -> String {
    let Copied { modules, schedules, runs, entries, log_lines, compared } = copied;
    format!(
        "{modules} modules, {schedules} schedules, {runs} runs with {entries} entries and {log_lines} \
         log lines; {compared} runs are the same"
    )
}

fn failed(error: CopyError) -> Failure {
    let fix = match &error {
        CopyError::NotEmpty(_) => "give an empty folder, or a namespace that is not used yet",
        CopyError::Differs(_) => "stop the servers of both stores, empty the target, begin again",
        CopyError::Source(_) => "look at the source; nothing in it was changed",
        CopyError::Target(_) => "look at the target, empty it, begin again",
    };
    Failure::new(error.code(), error.to_string()).fix(fix)
}
