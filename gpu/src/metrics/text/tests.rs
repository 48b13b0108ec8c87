use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn one(line: &str) -> Sample<'_> {
    let read = parse(line.as_bytes());
    assert_eq!(read.malformed, [], "{line}");
    assert_eq!(read.samples.len(), 1, "{line}");
    read.samples.into_iter().next().unwrap()
}

fn problem(line: &str) -> Problem {
    let read = parse(line.as_bytes());
    assert_eq!(read.samples, [], "{line}");
    assert_eq!(read.malformed_lines, 1, "{line}");
    read.malformed[0].problem
}

#[test]
fn plain_lines() {
    let sample = one("machine_npu_nums 8");
    assert_eq!(
        (&*sample.name, sample.value, sample.at),
        ("machine_npu_nums", 8.0, None)
    );

    let sample = one("a:b_c{ x = \"1\" ,y=\"2\", }\t-1.5e+09  1723621883587 ");
    assert_eq!(&*sample.name, "a:b_c");
    assert_eq!((sample.label("x"), sample.label("y")), (Some("1"), Some("2")));
    assert!((sample.value + 1.5e9).abs() < f64::EPSILON);
    assert_eq!(sample.at.unwrap().as_millisecond(), 1_723_621_883_587);

    assert_eq!(one("a{} 1").labels, []);
    assert_eq!(
        one("a{b=\"\"} 1").label("b"),
        None,
        "empty is the same as missing"
    );
}

#[test]
fn numbers() {
    assert!(one("a NaN").value.is_nan());
    assert!(one("a nan").value.is_nan());
    assert_eq!(one("a +Inf").value.to_bits(), f64::INFINITY.to_bits());
    assert_eq!(one("a -Inf").value.to_bits(), f64::NEG_INFINITY.to_bits());
    assert!((one("a 9223372036854775794").value - 9_223_372_036_854_775_807.0).abs() < 1.0);
    for line in ["a", "a{}", "a x", "a 1,5", "a{} {}"] {
        assert_eq!(problem(line), Problem::Value, "{line}");
    }
    assert_eq!(problem("a 1 x"), Problem::Timestamp);
    assert_eq!(problem("a 1 2 3"), Problem::Rest);
}

#[test]
fn escapes() {
    let sample = one(r#"a{b="q\" n\n s\\ d\d €"} 1"#);
    assert_eq!(sample.label("b"), Some("q\" n\n s\\ d\\d €"));
    assert_eq!(problem(r#"a{b="never ends} 1"#), Problem::Label);
    assert_eq!(problem(r#"a{b="\"} 1"#), Problem::Label);
}

#[test]
fn malformed_labels() {
    for line in [
        "a{b} 1",
        "a{b=1} 1",
        "a{=\"1\"} 1",
        "a{b=\"1\" c=\"2\"} 1",
        "a{b=\"1\"",
        "a{,} 1",
        "a{1b=\"\"} 1",
    ] {
        assert_eq!(problem(line), Problem::Label, "{line}");
    }
    assert_eq!(problem("a{b=\"1\",b=\"1\"} 1"), Problem::LabelTwice);
    assert_eq!(problem("{b=\"1\"} 1"), Problem::NoName);
    assert_eq!(problem("9a 1"), Problem::NoName);
    let many: String = (0..=MAX_LABELS).fold(String::new(), |mut text, n| {
        write!(text, "l{n}=\"\",").unwrap();
        text
    });
    assert_eq!(problem(&format!("a{{{many}}} 1")), Problem::TooManyLabels);
    assert_eq!(
        problem(&format!("a{{b=\"{}\"}} 1", "x".repeat(MAX_LINE))),
        Problem::TooLong
    );
    assert_eq!(parse(b"a{b=\"\xff\"} 1").malformed[0].problem, Problem::NotUtf8);
}

#[test]
fn quoted_names_exemplars_and_seconds_of_newer_formats() {
    assert_eq!(&*one(r#"{"gpu.util",card="0"} 5"#).name, "gpu.util");
    assert_eq!(one(r#"a{"gpu.id"="7"} 5"#).label("gpu.id"), Some("7"));
    let text = "# TYPE a counter\na_total{b=\"1\"} 7 1600000000.5 # {trace=\"x\"} 0.5 1600000000.2\nb 1 # {} 1\n# EOF\n";
    let read = parse(text.as_bytes());
    assert_eq!(read.malformed, []);
    assert_eq!(read.samples.len(), 2);
    assert_eq!(read.samples[0].at.unwrap().as_millisecond(), 1_600_000_000_500);
}

#[test]
fn a_bad_line_hides_no_other_and_reports_are_bounded() {
    let mut text = "good 1\n".to_owned();
    text.push_str(&"bad\n".repeat(100));
    text.push_str("good 2\r\n");
    let read = parse(text.as_bytes());
    assert_eq!(read.samples.len(), 2);
    assert_eq!((read.malformed.len(), read.malformed_lines), (MAX_REPORTED, 100));
    assert_eq!(read.malformed[0].line, 2);
    assert_eq!(read.malformed[0].to_string(), "line 2: the value is no number");
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,20}",
        labels in proptest::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,10}", "\\PC{0,20}|[\\\\\"\n]{0,4}", 0..6),
        value in any::<f64>(),
        at in proptest::option::of(0i64..4_000_000_000_000),
    ) {
        let mut line = name.clone();
        if !labels.is_empty() {
            let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let list: Vec<_> = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escape(text))).collect();
            write!(line, "{{{}}}", list.join(",")).unwrap();
        }
        write!(line, " {value}").unwrap();
        if let Some(at) = at {
            write!(line, " {at}").unwrap();
        }
        let read = parse(line.as_bytes());
        prop_assert_eq!(&read.malformed, &[]);
        let sample = &read.samples[0];
        prop_assert_eq!(&*sample.name, name);
        prop_assert!(sample.value.to_bits() == value.to_bits() || value.is_nan() && sample.value.is_nan());
        prop_assert_eq!(sample.at.map(jiff::Timestamp::as_millisecond), at);
        prop_assert_eq!(sample.labels.len(), labels.len());
        for (key, text) in &labels {
            prop_assert_eq!(sample.label(key).unwrap_or_default(), text);
        }
    }

    #[test]
    fn any_bytes_give_at_most_a_sample_or_a_report_each_line(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let read = parse(&bytes);
        let lines = bytes.split(|byte| *byte == b'\n').count();
        prop_assert!(read.samples.len() + read.malformed_lines <= lines);
    }
}
