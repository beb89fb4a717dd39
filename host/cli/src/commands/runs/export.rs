//! `everstep runs export`: whole runs as JSON lines, to stdout or to a file. Runs are fetched one
//! after the other and written as they come, so nothing is kept in memory.

use super::filters::Filters;
use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use everstep_client::{Client, RunId};
use futures::TryStreamExt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Print whole runs as JSON lines: what each is, its journal, its log lines.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs export 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f > run.jsonl
  everstep runs export --workflow payment --state failed --out failed.jsonl

The file given by --out is replaced. With --json and --out, the number of runs and bytes is printed.")]
pub(crate) struct Args {
    /// The runs' ids
    #[arg(value_name = "RUN")]
    runs: Vec<RunId>,
    #[command(flatten)]
    filters: Filters,
    /// All runs, when no filter is given
    #[arg(long)]
    all: bool,
    /// Write to this file, not to stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let named = [!args.runs.is_empty(), !args.filters.is_empty(), args.all];
    if named.into_iter().filter(|given| *given).count() != 1 {
        return Err(Failure::usage("runs.unselected", "say which runs, and say it once")
            .fix("name runs, or give filters such as --workflow, or say --all"));
    }
    let client = context.client()?;
    let mut target = Target::open(context, args.out)?;
    let mut count = 0_u64;
    for run in &args.runs {
        fetch(&client, *run, &mut target).await?;
        count += 1;
    }
    if args.runs.is_empty() {
        let mut found = std::pin::pin!(client.runs_stream(args.filters.filter()));
        while let Some(run) = found.try_next().await? {
            fetch(&client, run.id, &mut target).await?;
            count += 1;
        }
    }
    target.finish(context, count)?;
    Ok(Exit::Done)
}

async fn fetch(client: &Client, run: RunId, target: &mut Target<'_>) -> Result<(), Failure> {
    let mut pieces = std::pin::pin!(client.export(run).await?);
    while let Some(piece) = pieces.try_next().await? {
        target.write(&piece)?;
    }
    Ok(())
}

/// Where the lines go.
enum Target<'c> {
    Stdout(&'c Context),
    File { path: PathBuf, file: BufWriter<File>, bytes: u64 },
}

impl<'c> Target<'c> {
    fn open(context: &'c Context, out: Option<PathBuf>) -> Result<Self, Failure> {
        let Some(path) = out else { return Ok(Self::Stdout(context)) };
        let file = File::create(&path).map_err(|e| unwritable(&path, &e).exit(Exit::Usage))?;
        Ok(Self::File { path, file: BufWriter::new(file), bytes: 0 })
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(context) => context.output.raw(piece),
            Self::File { path, file, bytes } => {
                *bytes += piece.len() as u64;
                file.write_all(piece).map_err(|e| unwritable(path, &e))
            }
        }
    }

    fn finish(self, context: &Context, runs: u64) -> Result<(), Failure> {
        let Self::File { path, mut file, bytes } = self else { return Ok(()) };
        let written = file.flush().and_then(|()| file.get_ref().sync_all());
        written.map_err(|e| unwritable(&path, &e))?;
        if context.output.is_json() {
            let out = path.display().to_string();
            return context
                .output
                .value(&serde_json::json!({ "out": out, "runs": runs, "bytes": bytes }));
        }
        context.output.note(&format!(
            "{runs} runs, {} in {}",
            crate::text::bytes(bytes),
            path.display()
        ));
        Ok(())
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("file.unwritable", format!("cannot write {}: {error}", path.display()))
        .fix("choose another file with --out")
}
