//! Settings of what callers may use at once.

use clap::Args;

/// Flags of the limits. 0 is no limit. Each is for one user, one cluster, or one organisation.
#[derive(Debug, Args)]
pub struct LimitArgs {
    #[arg(long = "user-requests", env = "KANTALOUPE_GATEWAY_USER_REQUESTS", default_value_t = LimitConfig::DEFAULT.user.requests,
        help = "Requests to clusters per second and user, five seconds' worth at once; 0 is no limit")]
    user_requests: u32,
    #[arg(long = "cluster-requests", env = "KANTALOUPE_GATEWAY_CLUSTER_REQUESTS", default_value_t = LimitConfig::DEFAULT.cluster.requests,
        help = "The same per cluster")]
    cluster_requests: u32,
    #[arg(long = "organization-requests", env = "KANTALOUPE_GATEWAY_ORGANIZATION_REQUESTS", default_value_t = LimitConfig::DEFAULT.organization.requests,
        help = "The same per organisation")]
    organization_requests: u32,
    #[arg(long = "user-streams", env = "KANTALOUPE_GATEWAY_USER_STREAMS", default_value_t = LimitConfig::DEFAULT.user.streams,
        help = "Requests and streams that a user may have open at once; 0 is no limit")]
    user_streams: u32,
    #[arg(long = "cluster-streams", env = "KANTALOUPE_GATEWAY_CLUSTER_STREAMS", default_value_t = LimitConfig::DEFAULT.cluster.streams,
        help = "The same per cluster, at most 512")]
    cluster_streams: u32,
    #[arg(long = "organization-streams", env = "KANTALOUPE_GATEWAY_ORGANIZATION_STREAMS", default_value_t = LimitConfig::DEFAULT.organization.streams,
        help = "The same per organisation")]
    organization_streams: u32,
    #[arg(long = "user-mib-per-minute", env = "KANTALOUPE_GATEWAY_USER_MIB_PER_MINUTE", default_value_t = LimitConfig::DEFAULT.user.mib_per_minute,
        help = "MiB per minute, both ways together, of a user; beyond it streams are slowed down. 0 is no limit")]
    user_mib_per_minute: u32,
    #[arg(long = "cluster-mib-per-minute", env = "KANTALOUPE_GATEWAY_CLUSTER_MIB_PER_MINUTE", default_value_t = LimitConfig::DEFAULT.cluster.mib_per_minute,
        help = "The same per cluster")]
    cluster_mib_per_minute: u32,
    #[arg(long = "organization-mib-per-minute", env = "KANTALOUPE_GATEWAY_ORGANIZATION_MIB_PER_MINUTE", default_value_t = LimitConfig::DEFAULT.organization.mib_per_minute,
        help = "The same per organisation")]
    organization_mib_per_minute: u32,
}

/// What one user, cluster or organisation may use; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests per second.
    pub requests: u32,
    /// Requests and streams open at once.
    pub streams: u32,
    /// MiB per minute, both ways together.
    pub mib_per_minute: u32,
}

/// What callers may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitConfig {
    /// One user.
    pub user: Limit,
    /// One cluster.
    pub cluster: Limit,
    /// One organisation.
    pub organization: Limit,
}

impl LimitConfig {
    /// Above what people and their tools do: kubectl's discovery makes some hundred requests at once and client-go 50 a
    /// second; and a whole 10 Gbit/s line of an organisation.
    pub const DEFAULT: Self = Self {
        user: Limit {
            requests: 200,
            streams: 512,
            mib_per_minute: 16 << 10,
        },
        cluster: Limit {
            requests: 400,
            streams: 512,
            mib_per_minute: 32 << 10,
        },
        organization: Limit {
            requests: 1000,
            streams: 4096,
            mib_per_minute: 64 << 10,
        },
    };
}

impl From<&LimitArgs> for LimitConfig {
    fn from(args: &LimitArgs) -> Self {
        let limit = |requests, streams, mib_per_minute| Limit {
            requests,
            streams,
            mib_per_minute,
        };
        Self {
            user: limit(args.user_requests, args.user_streams, args.user_mib_per_minute),
            cluster: limit(
                args.cluster_requests,
                args.cluster_streams,
                args.cluster_mib_per_minute,
            ),
            organization: limit(
                args.organization_requests,
                args.organization_streams,
                args.organization_mib_per_minute,
            ),
        }
    }
}
