use proptest::prelude::*;

use super::*;

fn answer(text: &str, pieces: usize, max: usize) -> (Vec<Sample<'static>>, Result<Answer, AnswerError>) {
    let mut samples = Vec::new();
    let mut reader = Reader::new("named", max);
    for piece in text.as_bytes().chunks(pieces.max(1)) {
        let pushed = reader.push(piece, &mut |sample| {
            samples.push(Sample {
                name: sample.name.to_string().into(),
                labels: sample
                    .labels
                    .iter()
                    .map(|(k, v)| (k.to_string().into(), v.to_string().into()))
                    .collect(),
                ..*sample
            });
        });
        if let Err(error) = pushed {
            return (samples, Err(error));
        }
    }
    (samples, reader.finish())
}

fn vector(elements: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{elements}]}}}}"#)
}

#[test]
fn the_fixtures() {
    let text = include_str!("../../../../tests/fixtures/metrics/api-query-dcgm-exported.json");
    let (samples, read) = answer(text, 7, 10);
    assert_eq!(
        read,
        Ok(Answer {
            series: 1,
            ..Answer::default()
        })
    );
    assert_eq!(&*samples[0].name, "DCGM_FI_DEV_GPU_UTIL");
    assert_eq!(
        samples[0].label("UUID"),
        Some("GPU-ebe7c3f7-303d-558d-435e-99a160631fe4")
    );
    assert_eq!(samples[0].label("exported_pod"), Some("gpu-pod"));
    assert_eq!(samples[0].labels.len(), 17);
    assert!((samples[0].value - 78.0).abs() < f64::EPSILON);

    let text = include_str!("../../../../tests/fixtures/metrics/api-query-empty.json");
    assert_eq!(answer(text, 3, 10), (vec![], Ok(Answer::default())));

    let text = include_str!("../../../../tests/fixtures/metrics/api-query-error.json");
    let (_, read) = answer(text, 3, 10);
    assert_eq!(
        read.unwrap_err().to_string(),
        "it answered with the error bad_data: invalid parameter \"query\": 1:1: parse error: unexpected end of input"
    );
}

#[test]
fn names_values_and_text_that_looks_like_json() {
    let text = vector(
        r#"{"metric":{"a":"}],\"\\","b":"é"},"value":[1.5,"NaN"]} , {"metric":{},"value":[1,"+Inf"]},
           {"metric":{"__name__":"own"},"value":[1,"-1e9"]}"#,
    );
    let (samples, read) = answer(&text, 1, 10);
    assert_eq!(read.unwrap().series, 3);
    assert_eq!(samples[0].label("a"), Some("}],\"\\"));
    assert_eq!((&*samples[0].name, samples[0].label("b")), ("named", Some("é")));
    assert!(samples[0].value.is_nan() && samples[1].value.is_infinite());
    assert_eq!(&*samples[2].name, "own");
}

#[test]
fn a_bad_series_hides_no_other() {
    let text = vector(
        r#"{"metric":{"a":1},"value":[1,"2"]},{"metric":{},"value":[1,"x"]},{"metric":{},"value":[1,"2"]}"#,
    );
    let (samples, read) = answer(&text, 5, 10);
    assert_eq!((samples.len(), read.unwrap().malformed), (1, 2));
}

#[test]
fn what_is_no_answer_is_said_to_be_none() {
    let malformed = |text: &str| matches!(answer(text, 9, 10).1, Err(AnswerError::Malformed(_)));
    for text in [
        "",
        "<html>login</html>",
        "{}",
        "[]",
        "null",
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
        r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[1]}}"#,
        r#"{"status":"success"]"#,
    ] {
        assert!(malformed(text), "{text}: {:?}", answer(text, 9, 10).1);
    }
    assert!(malformed(&"[".repeat(100)));
}

#[test]
fn limits() {
    let one = r#"{"metric":{},"value":[1,"2"]}"#;
    let (samples, read) = answer(&vector(&[one; 5].join(",")), 9, 4);
    assert_eq!((samples.len(), read), (4, Err(AnswerError::TooManySeries(4))));
    let long = format!(
        r#"{{"metric":{{"a":"{}"}},"value":[1,"2"]}}"#,
        "x".repeat(MAX_SERIES_BYTES)
    );
    assert_eq!(
        answer(&vector(&long), 999, 10).1,
        Err(AnswerError::TooLong("a series"))
    );
    assert_eq!(
        answer(&" ".repeat(MAX_FRAME_BYTES + 1), 999, 10).1,
        Err(AnswerError::TooLong("a frame"))
    );
    let endless = format!("{}{}", vector("").trim_end_matches("]}}"), "[".repeat(30));
    assert!(answer(&endless, 9, 10).1.is_err());
}

#[test]
fn warnings_are_kept() {
    let text = r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["partial"],"infos":["x"],"isPartial":false}"#;
    assert_eq!(answer(text, 9, 10).1.unwrap().warnings, ["partial"]);
}

#[test]
fn a_saved_answer_has_the_time_of_its_query() {
    let text = include_bytes!("../../../../tests/fixtures/metrics/api-query-vgpu-used-exported-labels.json");
    let mut at = None;
    read(text, 10, &mut |sample| at = sample.at).unwrap();
    assert_eq!(at.unwrap().as_millisecond(), 1_769_155_200_123);
}

proptest! {
    #[test]
    fn how_an_answer_is_cut_into_pieces_does_not_matter(
        labels in proptest::collection::vec(("[a-z]{1,5}", "\\PC{0,12}"), 0..5),
        count in 0usize..6,
        piece in 1usize..50,
    ) {
        let metric: serde_json::Map<_, _> = labels.into_iter().map(|(key, value)| (key, value.into())).collect();
        let element = serde_json::json!({"metric": metric, "value": [1.0, "2.5"]}).to_string();
        let text = vector(&vec![element; count].join(","));
        let whole = answer(&text, usize::MAX, 10);
        prop_assert_eq!(whole.0.len(), count);
        prop_assert_eq!(answer(&text, piece, 10), whole);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[\\[\\]{}\",:a-z0-9\\\\ ]{0,200}") {
        let _answered = answer(&text, 3, 10);
    }
}
