//! `everstep hosts`: who executes the runs of the server.

use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit};
use crate::text;
use clap::Subcommand;
use everstep_client::HostView;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  everstep hosts list")]
pub(crate) enum Verb {
    /// List the hosts
    List(ListArgs),
}

/// List the hosts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep hosts list
  everstep hosts list --json | jq -r '.name + \" \" + (.leases | tostring)'

With --json, each host is one line.")]
pub(crate) struct ListArgs {}

pub(crate) async fn run(context: &Context, verb: Verb) -> Ended {
    let Verb::List(ListArgs {}) = verb;
    let hosts = context.client()?.hosts().await?.hosts;
    if context.output.is_json() {
        hosts.iter().try_for_each(|host| context.output.row(host))?;
        return Ok(Exit::Done);
    }
    if hosts.is_empty() {
        context.output.note("no hosts; `everstep host --server URL` starts one");
        return Ok(Exit::Done);
    }
    let (now, paint) = (context.now(), context.output.paint);
    let head = ["HOST", "NAME", "SERVES", "RUNS", "CONNECTED", "STATE", "ADDRESS", "SERVER"];
    let rows = hosts.iter().map(|host| {
        vec![
            host.id.to_string(),
            host.name.clone(),
            text::one_line(&serves(host), 60),
            format!("{} of {}", host.leases, host.concurrency),
            format!("{} ago", durations::between(host.connected_at, now)),
            state(host).to_owned(),
            host.address.clone().unwrap_or_else(|| "in the server".to_owned()),
            host.server.clone().unwrap_or_else(|| "this one".to_owned()),
        ]
    });
    let head = head.map(|title| paint.faint(title)).to_vec();
    let mut rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    // Most installations have one server.
    if hosts.iter().all(|host| host.server.is_none()) {
        rows.iter_mut().for_each(|row| drop(row.pop()));
    }
    text::table(&rows).iter().try_for_each(|line| context.output.line(line))?;
    Ok(Exit::Done)
}

fn serves(host: &HostView) -> String {
    let workflows = match host.workflows.is_empty() {
        true => "all workflows".to_owned(),
        false => host.workflows.join(", "),
    };
    match &host.pool {
        Some(pool) => format!("{workflows} in pool {pool}"),
        None => workflows,
    }
}

fn state(host: &HostView) -> &'static str {
    match (host.connected, host.draining) {
        (false, _) => "lost",
        (true, true) => "draining",
        (true, false) => "connected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everstep_client::Timestamp;

    #[test]
    fn what_a_host_serves_is_said_in_words() {
        let mut host = HostView {
            id: 1,
            name: "a".into(),
            server: None,
            pool: None,
            workflows: Vec::new(),
            concurrency: 1,
            free: 1,
            leases: 0,
            connected: true,
            draining: false,
            connected_at: Timestamp::default(),
            heard_at: Timestamp::default(),
            protocol: None,
            address: None,
            replays: 0,
        };
        assert_eq!((serves(&host).as_str(), state(&host)), ("all workflows", "connected"));
        host.pool = Some("gpu".into());
        host.workflows = vec!["train".into(), "test".into()];
        host.draining = true;
        assert_eq!(serves(&host), "train, test in pool gpu");
        assert_eq!(state(&host), "draining");
        host.connected = false;
        assert_eq!(state(&host), "lost");
    }
}
