//! Metrics as exporters expose them.

use std::fmt::Write as _;

use kantaloupe_gpu::metrics::{Sample, text};

/// Each line gives at most a sample or a report, and a sample that is written again is read as the same.
pub fn run(data: &[u8]) {
    let read = text::parse(data);
    let lines = data.split(|byte| *byte == b'\n').count();
    assert!(read.samples.len() + read.malformed_lines <= lines);
    assert!(read.malformed.len() <= text::MAX_REPORTED);
    for sample in &read.samples {
        assert!(!sample.name.is_empty() && sample.labels.len() <= text::MAX_LABELS);
        let again = write(sample);
        let again = text::parse(again.as_bytes());
        assert_eq!(again.malformed, []);
        assert_eq!(again.samples.len(), 1, "one sample became several");
        let again = &again.samples[0];
        assert_eq!(
            (&again.name, &again.labels, again.at),
            (&sample.name, &sample.labels, sample.at)
        );
        assert!(
            again.value.to_bits() == sample.value.to_bits() || again.value.is_nan() && sample.value.is_nan()
        );
    }
}

fn write(sample: &Sample<'_>) -> String {
    let escape = |text: &str| {
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    let mut line = format!("{{\"{}\"", escape(&sample.name));
    for (name, value) in &sample.labels {
        let _infallible = write!(line, ",\"{}\"=\"{}\"", escape(name), escape(value));
    }
    let _infallible = write!(line, "}} {}", sample.value);
    if let Some(at) = sample.at {
        let _infallible = write!(line, " {}", at.as_millisecond());
    }
    line
}
