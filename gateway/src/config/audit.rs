//! Settings of the audit.

use clap::Args;

/// Half a year: longer than it usually takes until somebody asks who did something.
const RETENTION_DAYS: u32 = 180;
/// MiB of the database: some eight million entries.
const MAX_MIB: u64 = 8 << 10;
/// Bytes of the journal that may wait for the database: hours of a busy gateway, and little beside the database.
const MAX_BACKLOG: u64 = 1 << 30;

/// Flags of the audit, unparsed.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What becomes of requests that cannot be written into the audit: refuse or allow.
    #[arg(
        long = "audit-failure",
        env = "KANTALOUPE_GATEWAY_AUDIT_FAILURE",
        default_value = "refuse"
    )]
    pub failure: String,
    /// Days after which entries of the audit are removed; 0 keeps them as long as there is room.
    #[arg(long = "audit-retention-days", env = "KANTALOUPE_GATEWAY_AUDIT_RETENTION_DAYS", default_value_t = RETENTION_DAYS)]
    pub retention_days: u32,
    /// MiB that the audit's database may have; beyond it the oldest entries are removed.
    #[arg(long = "audit-max-mib", env = "KANTALOUPE_GATEWAY_AUDIT_MAX_MIB", default_value_t = MAX_MIB)]
    pub max_mib: u64,
}

/// What becomes of a request that cannot be written into the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFailure {
    /// It is refused.
    Refuse,
    /// It goes on, and a later entry says how many are missing.
    Allow,
}

/// Checked settings of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// What becomes of a request that cannot be written.
    pub failure: AuditFailure,
    /// Days after which entries go; 0 is never.
    pub retention_days: u32,
    /// Bytes that the database may have.
    pub max_bytes: u64,
    /// Bytes of the journal that may wait for the database. No option: only tests have a reason to change it.
    pub max_backlog: u64,
    /// Whether anything is written at all. No option: only the measurement of what it costs has a reason to change it.
    pub enabled: bool,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            failure: AuditFailure::Refuse,
            retention_days: RETENTION_DAYS,
            max_bytes: MAX_MIB << 20,
            max_backlog: MAX_BACKLOG,
            enabled: true,
        }
    }
}

impl AuditConfig {
    pub(super) fn parse(args: &AuditArgs, bad: &mut Vec<String>) -> Self {
        let failure = match args.failure.as_str() {
            "refuse" => AuditFailure::Refuse,
            "allow" => AuditFailure::Allow,
            other => {
                bad.push(format!("--audit-failure: {other:?} is neither refuse nor allow"));
                AuditFailure::Refuse
            }
        };
        if args.max_mib == 0 || args.max_mib > u64::MAX >> 20 {
            bad.push(format!("--audit-max-mib: {} is no usable size", args.max_mib));
        }
        Self {
            failure,
            retention_days: args.retention_days,
            max_bytes: args.max_mib.saturating_mul(1 << 20),
            max_backlog: MAX_BACKLOG,
            enabled: true,
        }
    }
}
