//! The text format in which exporters expose metrics (Prometheus 0.0.4, OpenMetrics 1.0).
//!
//! A line that cannot be read is reported and hides no other. Source of the format:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::{Sample, timestamp};

/// Longest text that is read: a DCGM exporter of 16 cards gives 200 KiB, a Prometheus federation of 5,000 nodes about 50 MiB.
pub const MAX_BYTES: usize = 64 << 20;
/// Longest line. Labels may hold a whole command line, hardly more.
pub const MAX_LINE: usize = 64 << 10;
/// Labels of one series; Prometheus' own default limit is none, exporters have up to 30.
pub const MAX_LABELS: usize = 128;
/// Samples of one text: 40,000 devices of 40 metrics each.
pub const MAX_SAMPLES: usize = 2_000_000;
/// Lines that are reported one by one; of the others only the number is kept.
pub const MAX_REPORTED: usize = 20;

/// What could be read of a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exposition<'a> {
    /// The samples, in the order of the text.
    pub samples: Vec<Sample<'a>>,
    /// The first lines that could not be read.
    pub malformed: Vec<Malformed>,
    /// How many lines could not be read.
    pub malformed_lines: usize,
    /// The text went on, but a limit was reached.
    pub truncated: bool,
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Malformed {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Problem {
    #[error("it is longer than {MAX_LINE} bytes")]
    TooLong,
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it begins with no name of a metric")]
    NoName,
    #[error("a label is malformed")]
    Label,
    #[error("a label is there twice")]
    LabelTwice,
    #[error("it has more than {MAX_LABELS} labels")]
    TooManyLabels,
    #[error("the value is no number")]
    Value,
    #[error("the timestamp is no number")]
    Timestamp,
    #[error("something follows the sample")]
    Rest,
}

/// Reads a text. Comments, `# HELP`, `# TYPE`, `# EOF` and exemplars are skipped.
pub fn parse(text: &[u8]) -> Exposition<'_> {
    let mut read = Exposition::default();
    let limited = &text[..text.len().min(MAX_BYTES)];
    read.truncated = limited.len() < text.len();
    // OpenMetrics counts seconds, the older format milliseconds; only the last line tells which it is.
    let seconds = text.trim_ascii_end().ends_with(b"# EOF");
    for (index, line) in limited.split(|byte| *byte == b'\n').enumerate() {
        match read_line(line, seconds) {
            Ok(None) => {}
            Ok(Some(_)) if read.samples.len() == MAX_SAMPLES => {
                read.truncated = true;
                break;
            }
            Ok(Some(sample)) => read.samples.push(sample),
            Err(problem) => {
                read.malformed_lines += 1;
                if read.malformed.len() < MAX_REPORTED {
                    read.malformed.push(Malformed {
                        line: index + 1,
                        problem,
                    });
                }
            }
        }
    }
    read
}

fn read_line(line: &[u8], seconds: bool) -> Result<Option<Sample<'_>>, Problem> {
    if line.len() > MAX_LINE {
        return Err(Problem::TooLong);
    }
    let line = str::from_utf8(line).map_err(|_| Problem::NotUtf8)?;
    let line = line.trim_matches([' ', '\t', '\r']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut rest = Rest(line);
    let mut sample = Sample {
        name: rest.take_name().into(),
        ..Sample::default()
    };
    rest.skip_blank();
    if rest.take('{') {
        read_labels(&mut rest, &mut sample)?;
    }
    if sample.name.is_empty() {
        return Err(Problem::NoName);
    }
    sample.value = number(rest.word()).ok_or(Problem::Value)?;
    rest.skip_blank();
    if !rest.0.is_empty() && !rest.0.starts_with('#') {
        let at = number(rest.word()).ok_or(Problem::Timestamp)?;
        sample.at = timestamp(if seconds { at } else { at / 1000.0 });
    }
    rest.skip_blank();
    // What follows a # is an exemplar.
    if rest.0.is_empty() || rest.0.starts_with('#') {
        Ok(Some(sample))
    } else {
        Err(Problem::Rest)
    }
}

/// Reads up to the closing brace. A quoted name without a value is the metric's, as Prometheus 3 writes names outside of ASCII.
fn read_labels<'a>(rest: &mut Rest<'a>, sample: &mut Sample<'a>) -> Result<(), Problem> {
    loop {
        rest.skip_blank();
        if rest.take('}') {
            return Ok(());
        }
        let name = if rest.0.starts_with('"') {
            rest.quoted().ok_or(Problem::Label)?
        } else {
            rest.take_name().into()
        };
        if name.is_empty() {
            return Err(Problem::Label);
        }
        rest.skip_blank();
        if rest.take('=') {
            rest.skip_blank();
            let value = rest.quoted().ok_or(Problem::Label)?;
            if sample.labels.iter().any(|(known, _)| *known == name) {
                return Err(Problem::LabelTwice);
            }
            if sample.labels.len() == MAX_LABELS {
                return Err(Problem::TooManyLabels);
            }
            sample.labels.push((name, value));
        } else if sample.name.is_empty() {
            sample.name = name;
        } else {
            return Err(Problem::Label);
        }
        rest.skip_blank();
        if !rest.take(',') && !rest.0.starts_with('}') {
            return Err(Problem::Label);
        }
    }
}

/// A number as Go prints it: `+Inf`, `NaN`, `1e+09`.
pub(super) fn number(text: &str) -> Option<f64> {
    // Rust reads "infinity" and "nan" as Go does; neither takes an empty text.
    text.parse().ok()
}

/// What is left of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip_blank(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// A name of a metric or label, which may be empty.
    fn take_name(&mut self) -> &'a str {
        let end = self
            .0
            .bytes()
            .enumerate()
            .find(|(at, byte)| {
                !(byte.is_ascii_alphabetic()
                    || matches!(byte, b'_' | b':')
                    || *at > 0 && byte.is_ascii_digit())
            })
            .map_or(self.0.len(), |(at, _)| at);
        let (name, rest) = self.0.split_at(end);
        self.0 = rest;
        name
    }

    fn word(&mut self) -> &'a str {
        self.skip_blank();
        let end = self.0.find([' ', '\t']).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    /// A text in quotes; `\\`, `\"` and `\n` are resolved, any other backslash stays.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let text = self.0.strip_prefix('"')?;
        let mut end = None;
        let mut escaped = false;
        let mut any_escape = false;
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => {
                    escaped = true;
                    any_escape = true;
                }
                b'"' => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let (inside, rest) = text.split_at(end?);
        self.0 = &rest[1..];
        Some(if any_escape {
            unescape(inside).into()
        } else {
            inside.into()
        })
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, char == '\\') {
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(other @ ('\\' | '"')) => plain.push(other),
                Some(other) => plain.extend(['\\', other]),
                None => plain.push('\\'),
            },
            (char, false) => plain.push(char),
        }
    }
    plain
}
