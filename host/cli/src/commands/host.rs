//! `everstep host`: executes the runs of servers on other machines, until it is told to stop.

use super::server::{Memory, Secret, log_to_stderr, stop_signal, unless_impatient};
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit, Failure};
use crate::output::Output;
use everstep_server::remote::{Happening, ServerAddress};
use everstep_server::{HostOptions, Secrets, Standalone, StandaloneOptions};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Run a host: it executes the runs of a server on another machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
--server may name several servers of one installation, separated by commas; what the host can take is \
shared among them. One that is down is tried again while the others go on. SIGTERM or Ctrl-C hands \
everything back and ends; a second one ends at once.

Examples:
  everstep host --server http://flows:9090
  everstep host --server http://flows-1:9090,http://flows-2:9090 --concurrency 64
  everstep host --server http://flows:9090 --pool large --drain-timeout 2m
  everstep host --server http://flows:9090 --workflows invoice,reminder --secret MAIL_TOKEN")]
pub(crate) struct Args {
    /// How many runs are executed at once (sleeping ones do not count)
    #[arg(long, value_name = "N", default_value_t = 512)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=16_384))]
    concurrency: u32,
    /// Serve only these workflows, separated by commas
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',')]
    workflows: Vec<String>,
    /// Serve only runs that were started for this pool; else only those for none
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// The host's name in lists; else that of the machine, with the number of the process
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where compiled modules are kept: a folder
    #[arg(long, default_value = ".everstep/host", value_name = "PATH")]
    data: PathBuf,
    /// A secret for tasks that ask for it: from a file, or from the variable of that name (repeat
    /// for more)
    #[arg(long = "secret", value_name = "NAME[=@FILE]", value_parser = super::server::parse_secret)]
    secrets: Vec<Secret>,
    #[command(flatten)]
    memory: Memory,
    /// How long tasks that are under way may take to end when the host is stopped
    #[arg(long, value_name = "DURATION", value_parser = durations::parse, default_value = "30s")]
    drain_timeout: Duration,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let output = &context.output;
    let servers = servers(&context.server)?;
    if let Some(pool) = &args.pool {
        let checked = everstep_server::dispatch::check_pool(pool);
        checked.map_err(|why| Failure::usage("option.invalid", why).fix("choose another name"))?;
    }
    log_to_stderr(output);
    let mut host = HostOptions {
        concurrency: args.concurrency as usize,
        drain: args.drain_timeout,
        ..HostOptions::default()
    };
    args.memory.apply(&mut host);
    let options = StandaloneOptions {
        servers,
        name: args.name.unwrap_or_else(own_name),
        pool: args.pool,
        workflows: args.workflows,
        host,
        cache: args.data.join("modules"),
        secrets: Secrets::new(args.secrets.into_iter().collect()),
        observer: observer(output.clone()),
    };
    let host = Standalone::start(options).map_err(|error| {
        Failure::new(error.code(), error.to_string()).fix("`everstep doctor` checks this machine")
    })?;
    stop_signal().await?;
    output.note("handing everything back; once more stops at once");
    let stopped = unless_impatient(host.shutdown()).await;
    report(output, &json!({"event": "stopped"}));
    stopped.map(|()| Exit::Done)
}

fn servers(listed: &str) -> Result<Vec<ServerAddress>, Failure> {
    let mut servers: Vec<ServerAddress> = Vec::new();
    for address in listed.split(',').map(str::trim).filter(|address| !address.is_empty()) {
        let server = ServerAddress::parse(address).map_err(wrong_server)?;
        // Two connections of one host to one server would be two hosts.
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    if servers.is_empty() {
        return Err(wrong_server("no server is named".to_owned()));
    }
    Ok(servers)
}

fn wrong_server(why: String) -> Failure {
    Failure::usage("client.address", why)
        .fix("give addresses such as --server http://127.0.0.1:9090")
}

/// The name of the machine, with the number of the process.
fn own_name() -> String {
    let system = rustix::system::uname();
    let machine = system.nodename().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
    let machine: String = machine.chars().take(100).map(plain).collect();
    format!("{machine}-{}", std::process::id())
}

/// Says what happens to the connections.
fn observer(output: Output) -> Arc<dyn Fn(Happening<'_>) + Send + Sync> {
    Arc::new(move |happening| match happening {
        Happening::Connected(server, host) => {
            output.note(&format!("connected to {server} as host {host}"));
            let event = json!({"event": "connected", "server": server.to_string(), "host": host});
            report(&output, &event);
        }
        Happening::Lost(server, reason) => {
            output.note(&format!("no connection to {server}: {reason}; trying again"));
            let event = json!({"event": "lost", "server": server.to_string(), "reason": reason});
            report(&output, &event);
        }
    })
}

fn report(output: &Output, event: &serde_json::Value) {
    if output.is_json() {
        // A host goes on also when nobody reads any more.
        let _ = output.row(event);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn servers_are_listed_with_commas_and_each_counts_once() {
        let named = servers("http://a:1, http://b:2,http://a:1/,").unwrap();
        let named: Vec<_> = named.iter().map(ToString::to_string).collect();
        assert_eq!(named, ["http://a:1", "http://b:2"]);
        for wrong in ["", "a:1", "https://a"] {
            assert_eq!(servers(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn the_own_name_is_one_that_servers_take() {
        everstep_server::dispatch::check_pool(&own_name()).unwrap();
    }
}
