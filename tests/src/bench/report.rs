//! What a benchmark run says: a table for people, `report.json` for machines.

use std::path::Path;

use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub name: String,
    pub unit: String,
    /// Median of the runs.
    pub value: f64,
    /// The same without what is measured, in the same unit, where there is such a thing.
    pub direct: Option<f64>,
    /// `value / direct`, or the figure itself where it is a ratio.
    pub ratio: Option<f64>,
    pub runs: usize,
    /// (largest - smallest) / median of the runs.
    pub spread: f64,
}

impl Figure {
    /// From the values of several runs.
    pub fn new(name: &str, unit: &str, values: &[f64]) -> Self {
        Self {
            name: name.into(),
            unit: unit.into(),
            value: median(values),
            direct: None,
            ratio: None,
            runs: values.len(),
            spread: spread(values),
        }
    }

    /// With the values of the same runs without what is measured.
    #[must_use]
    pub fn against(mut self, direct: &[f64]) -> Self {
        let direct = median(direct);
        self.ratio = Some(self.value / direct);
        self.direct = Some(direct);
        self
    }
}

/// The middle value; of an even number the lower one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get((sorted.len().saturating_sub(1)) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

fn spread(values: &[f64]) -> f64 {
    let (low, high) = values
        .iter()
        .fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    (high - low) / median(values)
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report(pub Vec<Figure>);

impl Report {
    /// Adds a figure and prints its line.
    pub fn push(&mut self, figure: Figure) {
        println!("{}", line(&figure));
        self.0.push(figure);
    }

    /// Writes the list as JSON.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, serde_json::to_vec_pretty(&self.0)?)?;
        Ok(())
    }
}

/// Head of the table.
pub fn head() -> String {
    format!(
        "{:<34} {:>10} {:>10} {:>7}  {:<8} {:>4} {:>7}",
        "figure", "value", "direct", "ratio", "unit", "runs", "spread"
    )
}

fn line(f: &Figure) -> String {
    let number = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| format!("{v:.3}"));
    format!(
        "{:<34} {:>10} {:>10} {:>7}  {:<8} {:>4} {:>6.0}%",
        f.name,
        number(Some(f.value)),
        number(f.direct),
        number(f.ratio),
        f.unit,
        f.runs,
        f.spread * 100.0
    )
}
