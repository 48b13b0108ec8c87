//! `kantaloupe-gateway`: see `kantaloupe-gateway serve --help`.

use std::{path::Path, process::ExitCode};

use kantaloupe_gateway::{
    app::{self, Gateway},
    cli::{self, Audit, Command, Users},
    config::{Config, ServeArgs},
    logging,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

// The system's allocator keeps freed memory of thousands of connections in per-thread arenas.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse() {
        Ok(Command::Serve(args)) => serve(*args),
        Ok(Command::Users(Users::ResetAdmin { data_dir })) => reset_admin(&data_dir),
        Ok(Command::Audit(Audit::Verify(args))) => cli::verify(&args),
        Ok(Command::Explain { code, lang }) => cli::explain(&code, &lang),
        Ok(Command::Version) => cli::say(concat!("kantaloupe-gateway ", env!("CARGO_PKG_VERSION"))),
        Err(status) => status,
    }
}

fn reset_admin(data_dir: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map(|runtime| runtime.block_on(app::reset_admin(data_dir))) {
        Ok(Ok(file)) => cli::say(&format!(
            "The token is in {}. Start the gateway now.",
            file.display()
        )),
        Ok(Err(error)) => cli::refuse(&error),
        Err(error) => cli::fail(&format!("The runtime did not start: {error}")),
    }
}

fn serve(args: ServeArgs) -> ExitCode {
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(errors) => return cli::refuse(&errors.into()),
    };
    logging::init(config.log_format, config.log_level);
    config.log();
    // Fails only if a provider is installed already, which then is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Half of the cores, since the kernel's part of moving bytes needs as much as ours, and since a byte that passes from
    // core to core inside the gateway costs more. tokio reads the variable by itself.
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        runtime.worker_threads(cores.div_ceil(2));
    }
    match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(run(config)),
        Err(error) => cli::fail(&format!("The runtime did not start: {error}")),
    }
}

async fn run(config: Config) -> ExitCode {
    let mut stop = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            return cli::fail(&format!("Signals cannot be received: {error}"));
        }
    };
    let gateway = match Gateway::start(config).await {
        Ok(gateway) => gateway,
        Err(error) => return cli::refuse(&error),
    };
    told(&mut stop).await;
    tracing::info!("stopping");
    tokio::select! {
        () = gateway.shutdown() => {}
        () = told(&mut stop) => tracing::warn!("told again: stopped before open streams have ended"),
    }
    ExitCode::SUCCESS
}

/// Waits for SIGTERM or SIGINT.
async fn told((terminate, interrupt): &mut (Signal, Signal)) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
