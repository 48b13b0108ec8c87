//! Settings of recordings.

use clap::Args;

/// MiB of one session: some days of typing, or one large file that somebody has put on the screen.
const SESSION_MIB: u64 = 256;
/// MiB of all recordings.
const MAX_MIB: u64 = 10 << 10;

/// Flags of recordings, unparsed.
#[derive(Debug, Args)]
pub struct RecordingArgs {
    /// Which sessions are recorded: off, on (exec and attach with a terminal) or all (exec and attach).
    #[arg(long, env = "KANTALOUPE_GATEWAY_RECORD_TERMINALS", default_value = "off")]
    pub record_terminals: String,
    /// MiB that the recording of one session may have; with more the session ends.
    #[arg(long, env = "KANTALOUPE_GATEWAY_RECORDING_SESSION_MIB", default_value_t = SESSION_MIB)]
    pub recording_session_mib: u64,
    /// MiB that all recordings may have; beyond it the oldest are removed. 0 is no limit.
    #[arg(long, env = "KANTALOUPE_GATEWAY_RECORDINGS_MAX_MIB", default_value_t = MAX_MIB)]
    pub recordings_max_mib: u64,
}

/// Which sessions are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordMode {
    /// None.
    Off,
    /// Exec and attach with a terminal.
    Terminals,
    /// Every exec and attach.
    All,
}

/// Checked settings of recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingConfig {
    /// Which sessions.
    pub mode: RecordMode,
    /// Bytes of one session.
    pub session_bytes: u64,
    /// Bytes of all; 0 is no limit.
    pub total_bytes: u64,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self {
            mode: RecordMode::Off,
            session_bytes: SESSION_MIB << 20,
            total_bytes: MAX_MIB << 20,
        }
    }
}

impl RecordingConfig {
    pub(super) fn parse(args: &RecordingArgs, bad: &mut Vec<String>) -> Self {
        let mode = match args.record_terminals.as_str() {
            "off" => RecordMode::Off,
            "on" => RecordMode::Terminals,
            "all" => RecordMode::All,
            other => {
                bad.push(format!("--record-terminals: {other:?} is none of off, on, all"));
                RecordMode::Off
            }
        };
        let mut bytes = |flag: &str, mib: u64, least: u64| {
            if mib < least || mib > u64::MAX >> 20 {
                bad.push(format!("{flag}: {mib} is no usable size"));
            }
            mib.saturating_mul(1 << 20)
        };
        Self {
            mode,
            session_bytes: bytes("--recording-session-mib", args.recording_session_mib, 1),
            total_bytes: bytes("--recordings-max-mib", args.recordings_max_mib, 0),
        }
    }
}
