//! The log: JSON lines on standard output.

use tracing_subscriber::{
    EnvFilter, filter::LevelFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::LogFormat;

/// Two libraries tell as errors what our own lines say better.
const SILENT: &str = "rustls_platform_verifier=off,kube_client::client::builder=off";

/// The audit log is written whatever the level.
const AUDIT: &str = "audit=info";

/// The filter for a level: that level for our own crates, which share a prefix. Libraries stay at `warn` whatever the
/// level: below it they print frames and headers of other people's requests, secrets among them.
fn filter(level: &str) -> EnvFilter {
    let own = level.parse().unwrap_or(LevelFilter::INFO);
    let others = own.min(LevelFilter::WARN);
    EnvFilter::builder().parse_lossy(format!("{others},kantaloupe={own},{AUDIT},{SILENT}"))
}

/// Installs the log. Called once, by the binary; a second call is ignored.
pub fn init(format: LogFormat, level: &str) {
    let registry = tracing_subscriber::registry().with(filter(level));
    // An error here means that a subscriber is there already: keep that one.
    let _already_set = match format {
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false),
            )
            .try_init(),
        LogFormat::Text => registry.with(fmt::layer().with_ansi(false)).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn every_directive_of_the_filter_is_understood() {
        // parse_lossy drops what it cannot read; count what is left.
        let text = filter("debug").to_string();
        for name in SILENT.split(',') {
            assert!(text.contains(name.trim()), "{name} is missing in {text}");
        }
        assert!(text.contains("kantaloupe=debug"), "{text}");
    }

    #[test]
    fn no_library_talks_at_trace() {
        for level in ["trace", "error", "no level, so info"] {
            let seen = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&seen);
            let count = fmt::layer().with_writer(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                std::io::sink()
            });
            let subscriber = tracing_subscriber::registry().with(filter(level)).with(count);
            tracing::subscriber::with_default(subscriber, || {
                tracing::trace!(target: "h2::codec", "frame");
                tracing::trace!(target: "hyper::proto", "header");
                tracing::debug!(target: "rustls::client", "secret");
                assert_eq!(seen.load(Ordering::Relaxed), 0, "{level}");
                tracing::info!(target: kantaloupe_proto::agent_log::TARGET, "request");
                assert_eq!(seen.load(Ordering::Relaxed), 1, "{level}");
                tracing::error!(target: "kantaloupe_agent::proxy", "request");
                assert_eq!(seen.load(Ordering::Relaxed), 2, "{level}");
            });
        }
    }
}
