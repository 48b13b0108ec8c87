//! asciicast v2 (<https://docs.asciinema.org/manual/asciicast/v2/>): a head and then one event in each line. No I/O, no clock.

use std::time::Duration;

use serde::Serialize;

use super::terminal::Output;

/// The size until the client has told its own.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;
/// Bytes of a character of UTF-8.
const CHARACTER: usize = 4;

#[derive(Serialize)]
struct Head<'a> {
    version: u8,
    width: u16,
    height: u16,
    timestamp: i64,
    title: &'a str,
}

/// The first line of a recording.
pub(super) fn head(timestamp: i64, title: &str) -> Vec<u8> {
    let head = Head {
        version: 2,
        width: COLUMNS,
        height: ROWS,
        timestamp,
        title,
    };
    let mut line = serde_json::to_vec(&head).expect("texts and numbers always serialize");
    line.push(b'\n');
    line
}

/// Makes lines of events.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// The beginning of a character whose rest has not come yet, of each output.
    rests: [Vec<u8>; 2],
}

impl Encoder {
    /// Appends what was shown; what is no UTF-8 as U+FFFD, as a terminal shows it.
    pub(super) fn output(&mut self, at: Duration, from: Output, bytes: &[u8], to: &mut Vec<u8>) {
        let rest = &mut self.rests[match from {
            Output::Out => 0,
            Output::Err => 1,
        }];
        let mut joined = std::mem::take(rest);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            if chunk.invalid().is_empty() {
                continue;
            }
            if chunks.peek().is_none() && is_begun(chunk.invalid()) {
                *rest = chunk.invalid().to_vec();
            } else {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        if !text.is_empty() {
            event(at, "o", &text, to);
        }
    }

    /// Appends a size of the terminal.
    pub(super) fn resize(at: Duration, columns: u16, rows: u16, to: &mut Vec<u8>) {
        event(at, "r", &format!("{columns}x{rows}"), to);
    }

    /// Appends what is left at the end.
    pub(super) fn finish(&mut self, at: Duration, to: &mut Vec<u8>) {
        for rest in &mut self.rests {
            if !std::mem::take(rest).is_empty() {
                event(at, "o", "\u{fffd}", to);
            }
        }
    }
}

/// Whether more bytes could make a character of these, which are none.
fn is_begun(bytes: &[u8]) -> bool {
    bytes.len() < CHARACTER && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn event(at: Duration, code: &str, text: &str, to: &mut Vec<u8>) {
    let before = format!("[{}.{:06},\"{code}\",", at.as_secs(), at.subsec_micros());
    to.extend_from_slice(before.as_bytes());
    serde_json::to_writer(&mut *to, text).expect("texts always serialize");
    to.extend_from_slice(b"]\n");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn values(lines: &[u8]) -> Vec<Value> {
        lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[test]
    fn characters_that_come_in_pieces_are_whole_and_what_is_none_is_shown_as_such() {
        let (mut encoder, mut lines) = (Encoder::default(), head(7, "a \"b\""));
        let text = "上海\u{1b}[0m\r\n".as_bytes();
        for byte in text {
            encoder.output(Duration::from_millis(1500), Output::Out, &[*byte], &mut lines);
            // The other output in between does not mix in.
            encoder.output(Duration::ZERO, Output::Err, b"", &mut lines);
        }
        encoder.output(Duration::ZERO, Output::Err, b"a\xffb\xe4", &mut lines);
        Encoder::resize(Duration::from_secs(61), 120, 33, &mut lines);
        encoder.finish(Duration::from_secs(62), &mut lines);
        let values = values(&lines);
        let expected = json!({"version": 2, "width": 80, "height": 24, "timestamp": 7, "title": "a \"b\""});
        assert_eq!(values[0], expected);
        let shown: String = values[1..]
            .iter()
            .filter(|event| event[0] == 1.5 && event[1] == "o")
            .map(|event| event[2].as_str().unwrap())
            .collect();
        assert_eq!(shown.as_bytes(), text);
        let last: Vec<_> = values.iter().rev().take(3).cloned().collect();
        assert_eq!(
            last,
            [
                json!([62.0, "o", "\u{fffd}"]),
                json!([61.0, "r", "120x33"]),
                json!([0.0, "o", "a\u{fffd}b"])
            ]
        );
    }
}
