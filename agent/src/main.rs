//! The binary: a list of steps.

use std::{path::Path, process::ExitCode};

use clap::Parser;
use kantaloupe_agent::{
    VERSION,
    cli::{ChecksCommand, Cli, Command, ListOutput, USAGE, explain, fail, say},
    config::Config,
    inventory, logging, preflight, run,
    signals::Signals,
};
use kantaloupe_checks::Fault;
use tracing::{error, info};

/// glibc's allocator keeps an arena per thread and maps large buffers anew each time; both show under many streams.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return fail("another TLS provider is installed already", 1);
    }
    match Cli::parse().command {
        Command::Run { config } => start(&config),
        Command::Explain { code, lang } => explain(&code, preflight::language(lang.map(Into::into))),
        Command::Inventory { from, output } => inventory::from::print(&from, output),
        Command::Preflight(args) => preflight::main(preflight::Command::Preflight, &args),
        Command::Doctor(args) => preflight::main(preflight::Command::Doctor, &args),
        Command::Checks {
            command: ChecksCommand::List { output, lang },
        } => preflight::list(
            output == ListOutput::Json,
            preflight::language(lang.map(Into::into)),
        ),
        Command::Version => say(&format!("kantaloupe-agent {VERSION}")),
    }
}

fn start(path: &Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return fail(&error.fault().to_string(), USAGE),
    };
    logging::init(config.log_format, &config.log_level);
    info!(
        version = VERSION,
        config = config.effective(),
        "kantaloupe-agent starts"
    );
    // One thread moves 5 Gbit/s. A second one would cost each byte more CPU, since what one core has just decrypted would
    // be read by another, and the agent is a guest in somebody's cluster.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(config)),
        Err(error) => fail(&format!("no threads can be started: {error}"), 1),
    }
}

async fn serve(config: Config) -> ExitCode {
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("signals cannot be received: {error}"), 1),
    };
    let kube = match run::infer_kube().await {
        Ok(kube) => kube,
        Err(fault) => return give_up(&fault),
    };
    let agent = match run::start(config, kube, signals.shutdown()).await {
        Ok(agent) => agent,
        Err(fault) => return give_up(&fault),
    };
    tokio::select! {
        ended = agent.join() => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => give_up(&fault),
        },
        code = signals.second() => ExitCode::from(code),
    }
}

fn give_up(fault: &Fault) -> ExitCode {
    error!(code = fault.code().as_str(), "{}", fault.what_and_detail());
    let status = if fault.code().area() == "CFG" { USAGE } else { 1 };
    fail(&fault.to_string(), status)
}
