//! The log: JSON lines on standard output.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::LogFormat;

/// Libraries stay at `warn` whatever the level: at `debug` and below they print frames and headers of other people's
/// requests, which help nobody who reads the log of an agent. Two tell as errors what our own lines say better.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,rustls=warn,rustls_platform_verifier=off,tower=warn,\
                     tungstenite=warn,tokio_tungstenite=warn,kube_client=warn,kube_client::client::builder=off";

/// The filter for a level: that level for us, `warn` for libraries.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(format!("{level},{QUIET}"))
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
    use super::*;

    #[test]
    fn every_directive_of_the_filter_is_understood() {
        // parse_lossy drops what it cannot read; count what is left.
        let text = filter("debug").to_string();
        for name in QUIET.split(',') {
            assert!(text.contains(name.trim()), "{name} is missing in {text}");
        }
        assert!(text.contains("debug"), "{text}");
    }
}
