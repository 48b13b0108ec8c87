//! What is counted of recordings.

use std::fmt::{self, Write as _};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// How a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// With its session.
    Whole,
    /// Before it.
    Cut,
    /// It could not be begun.
    Refused,
    /// The gateway's process ended, and the next one has mended it.
    Mended,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Whole => "whole",
            Self::Cut => "cut",
            Self::Refused => "refused",
            Self::Mended => "mended",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

/// The families.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordingMetrics {
    ended: Family<OutcomeLabel, Counter>,
    pub(crate) active: Gauge,
    pub(crate) bytes: Counter,
    pub(crate) removed: Counter,
}

impl RecordingMetrics {
    pub(crate) fn ended(&self, outcome: Outcome) {
        self.ended.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kantaloupe_gateway_recordings",
            "Recordings of terminal sessions by how they ended",
            self.ended.clone(),
        );
        registry.register(
            "kantaloupe_gateway_recordings_active",
            "Terminal sessions that are being recorded",
            self.active.clone(),
        );
        registry.register(
            "kantaloupe_gateway_recording_bytes",
            "Bytes written into recordings",
            self.bytes.clone(),
        );
        registry.register(
            "kantaloupe_gateway_recordings_removed",
            "Recordings that retention has removed",
            self.removed.clone(),
        );
    }
}
