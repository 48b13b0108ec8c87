//! Answers of Prometheus' HTTP API to instant queries, read piece by piece as they arrive: at no time is more than one series in
//! memory, so an answer about 40,000 devices costs no more than one about ten.
//!
//! Format: <https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries>.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::{Sample, text, timestamp};

/// Longest text of one series. Labels may hold a whole command line, hardly more.
pub const MAX_SERIES_BYTES: usize = 64 << 10;
/// What is around the series: status, type, warnings.
pub const MAX_FRAME_BYTES: usize = 64 << 10;
/// Nesting of objects and arrays; a series has 2 levels, what is around it 3.
const MAX_DEPTH: usize = 16;

/// Why an answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Prometheus says that the query failed.
    #[error("it answered with the error {kind}: {message}")]
    Refused {
        /// Such as `timeout` or `bad_data`.
        kind: String,
        /// Its words, cut to 300 characters.
        message: String,
    },
    /// It is not what the API answers.
    #[error("it answered with something else than Prometheus' JSON: {0}")]
    Malformed(String),
    /// More series than are wanted.
    #[error("it answered with more than {0} series")]
    TooManySeries(usize),
    /// One series is too long, or what is around them.
    #[error("it answered with {0} that is too long")]
    TooLong(&'static str),
}

/// What came with the series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// How many series there were.
    pub series: usize,
    /// Series that could not be read.
    pub malformed: usize,
    /// What Prometheus warns of, such as an incomplete answer.
    pub warnings: Vec<String>,
}

/// Reads one answer.
#[derive(Debug)]
pub struct Reader {
    name: &'static str,
    max_series: usize,
    frame: Vec<u8>,
    element: Vec<u8>,
    state: Lexer,
    answer: Answer,
}

/// Where in the JSON text the reader is.
#[derive(Debug, Default)]
struct Lexer {
    /// Open brackets, outermost first.
    open: Vec<u8>,
    string: bool,
    escaped: bool,
    /// The last string at depth 1 and at depth 2: where they are keys, they name what follows.
    keys: [Vec<u8>; 2],
    /// Inside `data.result`.
    result: bool,
}

impl Reader {
    /// For an answer whose samples get the name `name` where they have none (aggregation drops it), and of which at most
    /// `max_series` series are wanted.
    pub fn new(name: &'static str, max_series: usize) -> Self {
        Self {
            name,
            max_series,
            frame: Vec::new(),
            element: Vec::new(),
            state: Lexer::default(),
            answer: Answer::default(),
        }
    }

    /// Takes the next piece; `each` gets the samples that are complete with it.
    pub fn push(&mut self, piece: &[u8], each: &mut impl FnMut(&Sample<'_>)) -> Result<(), AnswerError> {
        for byte in piece {
            self.byte(*byte, each)?;
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8, each: &mut impl FnMut(&Sample<'_>)) -> Result<(), AnswerError> {
        let inside = self.state.result && self.state.open.len() > 3;
        let structural = self.state.step(byte)?;
        if inside || self.state.result && self.state.open.len() > 3 {
            if self.element.len() == MAX_SERIES_BYTES {
                return Err(AnswerError::TooLong("a series"));
            }
            self.element.push(byte);
            if structural && self.state.open.len() == 3 {
                self.complete(each)?;
            }
            return Ok(());
        }
        // Between series there is nothing but commas. Anything else (a scalar's numbers) stays, and is found malformed at the end.
        if self.state.result && structural && byte == b',' && self.state.open.len() == 3 {
            return Ok(());
        }
        if self.frame.len() == MAX_FRAME_BYTES {
            return Err(AnswerError::TooLong("a frame"));
        }
        self.frame.push(byte);
        Ok(())
    }

    fn complete(&mut self, each: &mut impl FnMut(&Sample<'_>)) -> Result<(), AnswerError> {
        self.answer.series += 1;
        if self.answer.series > self.max_series {
            return Err(AnswerError::TooManySeries(self.max_series));
        }
        match series(&self.element, self.name) {
            Some(sample) => each(&sample),
            None => self.answer.malformed += 1,
        }
        self.element.clear();
        Ok(())
    }

    /// The end of the answer.
    pub fn finish(mut self) -> Result<Answer, AnswerError> {
        let frame: Frame = serde_json::from_slice(&self.frame).map_err(|error| {
            let text = String::from_utf8_lossy(&self.frame);
            let begin: String = text.chars().filter(|char| !char.is_control()).take(60).collect();
            AnswerError::Malformed(format!("{error}; it begins with {begin:?}"))
        })?;
        if frame.status != "success" {
            return Err(AnswerError::Refused {
                kind: short(&frame.error_type.unwrap_or_default()),
                message: short(&frame.error.unwrap_or_default()),
            });
        }
        match frame.data {
            Some(Data { result_type, result }) if result_type == "vector" && result.is_empty() => {}
            _ => return Err(AnswerError::Malformed("no vector in it".to_owned())),
        }
        self.answer.warnings = frame.warnings.iter().take(5).map(|text| short(text)).collect();
        Ok(self.answer)
    }
}

impl Lexer {
    /// Takes a byte; whether it is a bracket or comma outside of strings.
    fn step(&mut self, byte: u8) -> Result<bool, AnswerError> {
        let depth = self.open.len();
        if self.string {
            if !self.escaped && byte == b'"' {
                self.string = false;
            } else if let Some(key) = (1..=2).contains(&depth).then(|| &mut self.keys[depth - 1])
                && key.len() < 16
            {
                key.push(byte);
            }
            self.escaped = !self.escaped && byte == b'\\';
            return Ok(false);
        }
        match byte {
            b'"' => {
                self.string = true;
                if (1..=2).contains(&depth) {
                    self.keys[depth - 1].clear();
                }
                Ok(false)
            }
            b'{' | b'[' => {
                if depth == MAX_DEPTH {
                    return Err(AnswerError::Malformed("it is nested too deeply".to_owned()));
                }
                self.open.push(byte);
                self.result |= self.open == b"{{["
                    && (&*self.keys[0], &*self.keys[1]) == (b"data".as_slice(), b"result".as_slice());
                Ok(true)
            }
            b'}' | b']' => {
                let opened = self.open.pop();
                if opened != Some(if byte == b'}' { b'{' } else { b'[' }) {
                    return Err(AnswerError::Malformed("its brackets do not match".to_owned()));
                }
                self.result &= self.open.len() >= 3;
                Ok(true)
            }
            b',' => Ok(true),
            _ => Ok(false),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(300).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    status: String,
    error_type: Option<String>,
    error: Option<String>,
    data: Option<Data>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(default)]
    result: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(borrow, default)]
    metric: Labels<'a>,
    #[serde(borrow)]
    value: (f64, Text<'a>),
}

#[derive(Default)]
struct Labels<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Vec::with_capacity(8);
                while let Some((Text(name), Text(value))) = map.next_entry()? {
                    labels.push((name, value));
                }
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

fn series<'a>(text: &'a [u8], name: &'static str) -> Option<Sample<'a>> {
    let Series {
        metric: Labels(mut labels),
        value: (_asked_at, Text(value)),
    } = serde_json::from_slice(text).ok()?;
    let own = labels.iter().position(|(label, _)| label == "__name__");
    Some(Sample {
        name: own.map_or(Cow::Borrowed(name), |at| labels.swap_remove(at).1),
        labels,
        value: text::number(&value)?,
        // The time in the answer is that of the query.
        at: None,
    })
}

/// Reads a whole answer, as `kubectl get --raw` or curl saved it, with the query's time for the samples'.
pub fn read(
    answer: &[u8],
    max_series: usize,
    each: &mut impl FnMut(&Sample<'_>),
) -> Result<Answer, AnswerError> {
    let at = query_time(answer);
    let mut reader = Reader::new("", max_series);
    reader.push(answer, &mut |sample| {
        let mut sample = sample.clone();
        sample.at = at;
        each(&sample);
    })?;
    reader.finish()
}

/// The time of the query, which every sample of its answer has.
fn query_time(answer: &[u8]) -> Option<jiff::Timestamp> {
    #[derive(Deserialize)]
    struct Whole {
        data: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        result: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        value: (f64, serde::de::IgnoredAny),
    }
    let whole: Whole = serde_json::from_slice(answer).ok()?;
    timestamp(whole.data.result.first()?.value.0)
}
