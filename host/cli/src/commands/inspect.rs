//! `everstep inspect`: what is in a component, found out on this machine. It passes the same checks
//! as an upload, so a file that can be inspected can be uploaded.

use crate::commands::upload::read;
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit, Failure};
use crate::output::{Output, Paint};
use crate::text;
use everstep_core::manifest::{TaskDefinition, WorkflowDefinition};
use everstep_core::{Manifest, RetryPolicy};
use everstep_engine::{Engine, EngineOptions, Module};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Show what a component contains, asks for and imports.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep inspect target/wasm32-wasip2/release/onboarding.wasm
  everstep inspect onboarding.wasm --json | jq '.manifest.workflows[0].input'

With --json, the schemas of inputs and outputs are shown, too.")]
pub(crate) struct Args {
    /// The component
    file: PathBuf,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let module = load(&context.output, &args.file).await?;
    if context.output.is_json() {
        context.output.value(&serde_json::json!({
            "digest": module.digest(),
            "size": module.size(),
            "imports": module.imports(),
            "manifest": **module.manifest(),
            "snapshots": module.unsound().is_none(),
            "unsound": module.unsound(),
        }))?;
    } else {
        for line in described(&module, context.output.paint) {
            context.output.line(&line)?;
        }
    }
    Ok(Exit::Done)
}

/// Reads, checks and compiles a component.
pub(crate) async fn load(output: &Output, file: &Path) -> Result<Arc<Module>, Failure> {
    let bytes = read(file)?;
    let _progress = output.spinner(format!("compiling {}", file.display()));
    compile(bytes).await
}

/// Checks and compiles a component, away from the threads that serve the terminal.
pub(crate) async fn compile(bytes: Vec<u8>) -> Result<Arc<Module>, Failure> {
    // One guest runs here, so there is no need to reserve room for a thousand.
    let options = EngineOptions { max_instances: 4, max_tasks: 1, ..EngineOptions::default() };
    let compiled = tokio::task::spawn_blocking(move || {
        let engine =
            Engine::new(options).map_err(|e| Failure::new("engine.setup", e.to_string()))?;
        engine.compile(&bytes).map_err(|e| Failure::new(e.code(), e.to_string()).fix(e.fix()))
    });
    compiled.await.map_err(|e| Failure::new("engine.broken", e.to_string()))?
}

fn described(module: &Module, paint: Paint) -> Vec<String> {
    let size = u64::try_from(module.size()).unwrap_or(u64::MAX);
    let snapshots = module.unsound().map_or("yes".to_owned(), |why| format!("no: {why}"));
    let head = [
        vec![paint.faint("digest"), module.digest().to_string()],
        vec![paint.faint("size"), text::bytes(size)],
        vec![paint.faint("built by"), text::one_line(&module.manifest().sdk, 80)],
        vec![paint.faint("snapshots"), snapshots],
    ];
    let mut lines = text::table(&head);
    lines.extend(definitions(module.manifest(), paint));
    lines.extend(section(paint, "imports", module.imports().to_vec()));
    lines
}

/// The workflows, tasks and grants of a module.
pub(super) fn definitions(manifest: &Manifest, paint: Paint) -> Vec<String> {
    let workflows: Vec<_> = manifest.workflows.iter().map(workflow).collect();
    let mut lines = section(paint, "workflows", text::table(&workflows));
    let tasks: Vec<_> = manifest.tasks.iter().map(task).collect();
    lines.extend(section(paint, "tasks", text::table(&tasks)));
    lines.extend(section(paint, "grants", grants(manifest)));
    lines
}

/// What the tasks ask for, one line each.
pub(super) fn grants(manifest: &Manifest) -> Vec<String> {
    let of_task = |task: &TaskDefinition| {
        let hosts = task.grants.hosts.iter().map(|host| format!("may reach {host}"));
        let secrets = task.grants.secrets.iter().map(|name| format!("may read secret {name}"));
        let grants = hosts.chain(secrets).map(|grant| format!("{} {grant}", task.name));
        grants.map(|line| text::one_line(&line, 160)).collect::<Vec<_>>()
    };
    manifest.tasks.iter().flat_map(of_task).collect()
}

fn section(paint: Paint, title: &str, lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() {
        return Vec::new();
    }
    let head = [String::new(), paint.name(title)];
    head.into_iter().chain(lines.iter().map(|line| format!("  {line}"))).collect()
}

fn workflow(workflow: &WorkflowDefinition) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(workflow.retry.as_ref().map(retry));
    notes.extend(workflow.key.as_ref().map(|key| format!("key {key}")));
    notes.extend(workflow.timeout_ms.map(|ms| format!("at most {}", duration(ms))));
    let events: Vec<&str> =
        workflow.events.iter().flat_map(|events| events.keys()).map(String::as_str).collect();
    if !events.is_empty() {
        notes.push(format!("events {}", events.join(" ")));
    }
    row(
        &format!("{} {}", workflow.name, workflow.version),
        workflow.input.as_ref(),
        workflow.output.as_ref(),
        &notes,
        workflow.description.as_deref(),
    )
}

fn task(task: &TaskDefinition) -> Vec<String> {
    let mut notes = vec![retry(&task.options.retry_policy())];
    let limits = [
        ("each attempt", task.options.attempt_timeout_ms),
        ("in all", task.options.total_timeout_ms),
    ];
    for (what, limit) in limits {
        notes.extend(limit.map(|ms| format!("{what} at most {}", duration(ms))));
    }
    let silence = task.heartbeat_timeout_ms;
    notes.extend(silence.map(|ms| format!("a heartbeat every {}", duration(ms))));
    notes.extend(task.concurrency.map(|most| format!("{most} at once")));
    let rate = task.rate.map(|rate| (rate.tasks, duration(u64::from(rate.per_ms.get()))));
    notes.extend(rate.map(|(tasks, per)| format!("{tasks} per {per}")));
    row(&task.name, task.input.as_ref(), task.output.as_ref(), &notes, task.description.as_deref())
}

fn row(
    name: &str,
    input: Option<&serde_json::Value>,
    output: Option<&serde_json::Value>,
    notes: &[String],
    description: Option<&str>,
) -> Vec<String> {
    let types = format!("{} → {}", schema_name(input), schema_name(output));
    let notes = notes.join(", ");
    [name, &types, &notes, description.unwrap_or_default()]
        .map(|cell| text::one_line(cell, 100))
        .to_vec()
}

/// What to call a schema: its title, else its type.
fn schema_name(schema: Option<&serde_json::Value>) -> String {
    let word = |key: &str| schema.and_then(|schema| schema.get(key)?.as_str().map(str::to_owned));
    word("title").or_else(|| word("type")).unwrap_or_else(|| "any".into())
}

fn retry(policy: &RetryPolicy) -> String {
    match *policy {
        RetryPolicy::Never => "1 attempt".into(),
        RetryPolicy::Fixed { max_attempts, delay_ms } => {
            format!("{max_attempts} attempts, {} apart", duration(delay_ms))
        }
        RetryPolicy::Exponential { max_attempts, initial_ms, factor, max_delay_ms, jitter } => {
            let jitter = if jitter { ", jittered" } else { "" };
            format!(
                "{max_attempts} attempts, {} apart, then ×{factor} up to {}{jitter}",
                duration(initial_ms),
                duration(max_delay_ms)
            )
        }
    }
}

fn duration(millis: u64) -> String {
    durations::short(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_manifest_is_described() {
        let manifest = Manifest::parse(
            br#"{"format":1,"sdk":"everstep-sdk 0.1.0","workflows":[
            {"name":"onboarding","version":"1.0","input":{"title":"Signup","type":"object"},
            "output":{"type":"string"},"timeout_ms":172800000,"key":"user-${email}",
            "events":{"approved":{},"paid":{}}},{"name":"x","version":"2"}],
            "tasks":[{"name":"send","description":"Sends it.",
            "retry":{"kind":"fixed","max_attempts":3,"delay_ms":1500},"attempt_timeout_ms":30000,
            "grants":{"hosts":["api.example.com","localhost:*"],"secrets":["MAIL_TOKEN"]}},
            {"name":"load","concurrency":2,"rate":{"tasks":10,"per_ms":60000},
            "heartbeat_timeout_ms":5000}]}"#,
        )
        .unwrap();
        insta::assert_snapshot!(definitions(&manifest, Paint::plain()).join("\n"));
    }
}
