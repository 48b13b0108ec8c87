//! Lists as CSV (RFC 4180), for spreadsheets.

use std::fmt::Write as _;

use serde_json::Value;

use super::fields::CsvColumn;

/// Columns before those of the kind.
const CLUSTER: [CsvColumn; 3] = [
    ("cluster_id", "/cluster/id"),
    ("cluster", "/cluster/name"),
    ("as_of", "/asOf"),
];

/// The first line.
pub(super) fn head(columns: &[CsvColumn]) -> String {
    let names: Vec<&str> = CLUSTER.iter().chain(columns).map(|(name, _)| *name).collect();
    format!("{}\r\n", names.join(","))
}

/// One record.
pub(super) fn line(columns: &[CsvColumn], record: &Value) -> String {
    let mut line = String::new();
    for (index, (_, pointer)) in CLUSTER.iter().chain(columns).enumerate() {
        if index > 0 {
            line.push(',');
        }
        if let Some(value) = record.pointer(pointer) {
            push(&mut line, value);
        }
    }
    line.push_str("\r\n");
    line
}

/// What is not known is empty, and never 0.
fn push(line: &mut String, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(flag) => write!(line, "{flag}").expect("writing to a String"),
        Value::Number(number) => write!(line, "{number}").expect("writing to a String"),
        Value::String(text) => push_text(line, text),
        Value::Array(list) => {
            let texts: Vec<String> = list.iter().map(plain).collect();
            push_text(line, &texts.join(" "));
        }
        Value::Object(map) => {
            let texts: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}={}", plain(value)))
                .collect();
            push_text(line, &texts.join(" "));
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A text that a spreadsheet would take for a formula gets a quote before it: names in a cluster are not the reader's own.
fn push_text(line: &mut String, text: &str) {
    // Also behind spaces and line breaks, which spreadsheets skip.
    let formula = text
        .trim_start()
        .starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
        || text.starts_with(['\t', '\r', '\n']);
    let quoted =
        formula || text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ');
    if !quoted {
        return line.push_str(text);
    }
    line.push('"');
    if formula {
        line.push('\'');
    }
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cell(value: &Value) -> String {
        let mut line = String::new();
        push(&mut line, value);
        line
    }

    #[test]
    fn cells_follow_rfc_4180() {
        assert_eq!(cell(&json!("NVIDIA L40S")), "NVIDIA L40S");
        assert_eq!(cell(&json!("a,b")), "\"a,b\"");
        assert_eq!(cell(&json!("say \"hi\"")), "\"say \"\"hi\"\"\"");
        assert_eq!(cell(&json!("two\nlines")), "\"two\nlines\"");
        assert_eq!(cell(&json!(["a", "b"])), "a b");
        assert_eq!(
            cell(&json!({"driverVersion": "KTA-GPU-002"})),
            "driverVersion=KTA-GPU-002"
        );
    }

    #[test]
    fn unknown_is_empty_and_not_0() {
        assert_eq!(cell(&Value::Null), "");
        assert_eq!(cell(&json!(0)), "0");
        assert_eq!(cell(&json!(-1)), "-1", "a figure is no formula");
    }

    #[test]
    fn formulas_are_texts() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"] {
            assert!(cell(&json!(text)).starts_with("\"'"), "{text:?}");
        }
    }

    #[test]
    fn a_line_has_as_many_cells_as_the_head() {
        let columns = [("node", "/node"), ("gpus", "/gpus")];
        assert_eq!(head(&columns), "cluster_id,cluster,as_of,node,gpus\r\n");
        let record = json!({"cluster": {"id": "c-1", "name": "prod"}, "node": "n1"});
        assert_eq!(line(&columns, &record), "c-1,prod,,n1,\r\n");
    }
}
