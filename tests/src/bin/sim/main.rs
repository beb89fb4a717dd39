//! Deterministic simulation: the real state machine, server and host loop, with a simulated store, network,
//! clock and guest, single-threaded, all chance from one number. `make sim` runs it over many seeds; what a
//! seed does is the same in every process. See docs/reliability.md.
//!
//! Without `--seed` it is the foreman, which runs each seed in a process of its own and adds them up.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod clients;
mod dice;
mod foreman;
mod guest;
mod script;
mod stage;
mod store;
mod verdict;
mod wire;
mod witness;
mod world;

use foreman::{Report, Wish};
use std::process::ExitCode;
use std::sync::Arc;
use world::World;

fn main() -> ExitCode {
    match foreman::read_wish() {
        Ok(Wish::Many(many)) => foreman::run(&many),
        Ok(Wish::One { seed, defect, aloud }) => {
            dice::seed_the_process(seed);
            let report = simulate(seed, defect, aloud);
            println!("{}", serde_json::to_string(&report).unwrap());
            ExitCode::from(u8::from(!report.violations.is_empty()))
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn simulate(seed: u64, defect: Option<world::Defect>, aloud: bool) -> Report {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let world = runtime.block_on(async {
        let world = World::new(seed, defect, aloud);
        everstep_server::clock::take_from(world::told);
        play(&world).await;
        world
    });
    let report = Report::new(seed, &world);
    // Those that were crashed wait for ever, and so would their end.
    runtime.shutdown_background();
    report
}

async fn play(world: &Arc<World>) {
    let stage = stage::Stage::new(world).await;
    stage.start_server().await;
    stage.start_hosts();
    let mut clients = Vec::new();
    for wanted in clients::wanted(world) {
        let (world, stage) = (Arc::clone(world), Arc::clone(&stage));
        clients.push(tokio::spawn(clients::client(world, stage, wanted)));
    }
    stage.suffer().await;
    let mut known = Vec::new();
    for client in clients {
        known.push(client.await.unwrap());
    }
    verdict::rest(world).await;
    verdict::judge(world, &stage.module, &known).await;
}
