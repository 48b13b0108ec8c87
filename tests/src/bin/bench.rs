//! `make bench`: measures, prints a table, writes `target/bench/report.json`.
//! Arguments: names of groups to run (default all), `--runs N` (default 5).
#![allow(clippy::print_stdout)]

use std::path::Path;

use kantaloupe_tests::bench::{chain, inventory, link, memory, report, trust};

// As what ships.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn profile(run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(run)
}

fn main() -> anyhow::Result<()> {
    let mut runs = 5;
    let mut only = vec![];
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "profile-link" => return link::profile(true),
            "profile-bare" => return link::profile(false),
            "profile-down" => return profile(chain::profile(false, 8)),
            "profile-up" => return profile(chain::profile(true, 8)),
            "profile-down1" => return profile(chain::profile(false, 1)),
            "profile-up1" => return profile(chain::profile(true, 1)),
            "profile-small" => return profile(chain::profile_small()),
            "--runs" => runs = args.next().unwrap_or_default().parse()?,
            _ => only.push(arg),
        }
    }
    let wanted = |group: &str| only.is_empty() || only.iter().any(|o| o == group);
    println!("{}", report::head());
    let mut report = report::Report::default();
    if wanted("link") {
        link::run(&mut report, runs)?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    if wanted("loopback") {
        runtime.block_on(chain::loopback(&mut report, runs))?;
    }
    if wanted("trust") {
        trust::run(&mut report, runs)?;
    }
    if wanted("wan") {
        runtime.block_on(chain::wan(&mut report, runs.min(3)))?;
    }
    if wanted("memory") {
        runtime.block_on(memory::one(&mut report))?;
    }
    if wanted("fleet") {
        runtime.block_on(memory::fleet(&mut report))?;
    }
    if wanted("inventory") {
        runtime.block_on(inventory::run(&mut report))?;
    }
    report.write(Path::new("target/bench/report.json"))
}
