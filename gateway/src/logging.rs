//! The log: structured, on standard error.

use std::io::{self, IsTerminal as _};

use tracing::Level;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::LogFormat;

/// Starts logging. Only the first call in a process counts.
pub fn init(format: LogFormat, level: Level) {
    // What other crates say below warnings is for their authors, and some of it shows headers. Our own crates share a
    // prefix.
    let filter = Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("kantaloupe", level);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(io::stderr),
            )
            .try_init(),
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    // Colours are for people; in a file they would be noise.
                    .with_ansi(io::stderr().is_terminal())
                    .with_writer(io::stderr),
            )
            .try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging runs already");
    }
}
