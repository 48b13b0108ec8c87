//! JUnit XML, as CI systems read it: one test suite, one test case for each check.

use std::fmt::Write as _;

use kantaloupe_checks::{Outcome, Verdict, get};

use super::{Report, known};

/// The whole report.
pub(in crate::preflight) fn junit(report: &Report) -> String {
    let count = report.summary();
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut put = |arguments: std::fmt::Arguments<'_>| {
        xml.write_fmt(arguments).expect("a String takes all text");
    };
    put(format_args!(
        "<testsuite name=\"kantaloupe-agent {}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" timestamp=\"{}\" time=\"{}\">\n",
        report.command,
        report.outcomes.len(),
        count.fail,
        count.skip + count.unknown,
        report.started,
        seconds(report.duration_ms)
    ));
    for outcome in &report.outcomes {
        let name = known(outcome)
            .and_then(|code| get(code).name.as_ref())
            .map_or("", |name| name.en);
        let area = known(outcome).map_or_else(String::new, |code| code.area().to_ascii_lowercase());
        put(format_args!(
            "  <testcase classname=\"{}\" name=\"{} {}\" time=\"{}\">",
            escape(&area),
            escape(&outcome.code),
            escape(name),
            seconds(outcome.duration_ms)
        ));
        let message = escape(&outcome.message);
        match outcome.verdict {
            Verdict::Pass => put(format_args!("<system-out>{message}</system-out>")),
            // JUnit has no warnings: the message says it, and the case passes.
            Verdict::Warn => put(format_args!(
                "<system-out>WARNING {message}\n{}</system-out>",
                escape(&details(outcome))
            )),
            Verdict::Fail => put(format_args!(
                "<failure message=\"{message}\">{}</failure>",
                escape(&details(outcome))
            )),
            Verdict::Skip | Verdict::Unknown => put(format_args!("<skipped message=\"{message}\"/>")),
        }
        put(format_args!("</testcase>\n"));
    }
    put(format_args!("</testsuite>\n"));
    xml
}

fn details(outcome: &Outcome) -> String {
    let mut lines: Vec<String> = Vec::new();
    if let Some(code) = known(outcome) {
        let check = get(code);
        lines.push(check.title.en.to_owned());
        lines.push(check.cause.en.to_owned());
        lines.push(check.remedy.en.to_owned());
    }
    lines.extend(outcome.commands.iter().cloned());
    lines.join("\n")
}

/// For text and for values in double quotes. XML has no way to write control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
