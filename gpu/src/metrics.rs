//! Live use, read from metrics: a scraped exposition or an answer of the cluster's Prometheus in, records of the inventory out.
//!
//! ```text
//! text::parse ───┐                     names (what each name means)
//!                ├─> Sample ─> usage::Collector ─> GpuUsage, ContainerUsage
//! answer::Reader ┘                     devices (which device it is about)
//! query: the expressions that are asked    server: what answers    locate: where it is
//! ```

pub mod answer;
pub mod devices;
pub mod labels;
pub mod locate;
pub mod names;
pub mod query;
pub mod server;
pub mod text;
pub mod usage;

use std::borrow::Cow;

use jiff::Timestamp;

/// One value of one series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample<'a> {
    /// Name of the metric.
    pub name: Cow<'a, str>,
    /// Labels, without `__name__`. A label that is missing and one that is empty are the same.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The value; it may be NaN or infinite.
    pub value: f64,
    /// When it was measured, if the source says so.
    pub at: Option<Timestamp>,
}

impl Sample<'_> {
    /// The value of a label; `None` if it is missing or empty.
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }

    /// The first of several labels that is there.
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.label(name))
    }
}

/// `seconds` since the epoch as a point of time; `None` if it is none that can be.
pub(crate) fn timestamp(seconds: f64) -> Option<Timestamp> {
    /// Year 9999, beyond which no calendar here goes.
    const END: f64 = 253_402_207_200.0;
    if !(0.0..END).contains(&seconds) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok()
}
