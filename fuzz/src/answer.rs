//! Answers of Prometheus to instant queries.

use kantaloupe_gpu::metrics::answer::{AnswerError, Reader};

/// Far fewer than an input holds.
const MAX_SERIES: usize = 50;

/// How an answer is cut into pieces does not matter, and never more series are given than are wanted.
pub fn run(data: &[u8]) {
    let whole = read(data, data.len().max(1));
    let bytes = read(data, 1);
    assert_eq!(whole, bytes);
    assert!(whole.0.len() <= MAX_SERIES);
}

type Given = (Vec<(String, usize, u64)>, Result<usize, AnswerError>);

fn read(data: &[u8], piece: usize) -> Given {
    let mut given = Vec::new();
    let mut reader = Reader::new("name", MAX_SERIES);
    for piece in data.chunks(piece) {
        let pushed = reader.push(piece, &mut |sample| {
            given.push((
                sample.name.to_string(),
                sample.labels.len(),
                sample.value.to_bits(),
            ));
        });
        if let Err(error) = pushed {
            return (given, Err(error));
        }
    }
    let read = reader.finish().map(|answer| answer.series);
    (given, read)
}
