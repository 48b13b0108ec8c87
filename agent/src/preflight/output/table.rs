//! For people at a terminal.

use std::fmt::Write as _;

use kantaloupe_checks::{Lang, Outcome, Verdict, get};

use super::{Report, area, known};

/// How the table looks.
#[derive(Debug, Clone, Copy)]
pub(in crate::preflight) struct Style {
    pub(in crate::preflight) lang: Lang,
    pub(in crate::preflight) color: bool,
    /// Only what failed or warned.
    pub(in crate::preflight) quiet: bool,
}

struct Words {
    what: &'static str,
    cause: &'static str,
    remedy: &'static str,
    command: &'static str,
    blocked: &'static str,
    partial: &'static str,
}

const EN: Words = Words {
    what: "problem",
    cause: "cause  ",
    remedy: "do     ",
    command: "run    ",
    blocked: "not tried, see",
    partial: "Time was up before everything was asked.",
};

const ZH: Words = Words {
    what: "问题",
    cause: "原因",
    remedy: "处理",
    command: "命令",
    blocked: "未执行，参见",
    partial: "时间已到，部分检查没有完成。",
};

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const GREY: &str = "90";

/// The whole report.
pub(in crate::preflight) fn table(report: &Report, style: Style) -> String {
    let words = match style.lang {
        Lang::En => &EN,
        Lang::Zh => &ZH,
    };
    let mut text = format!("kantaloupe-agent {} {}", report.command, crate::VERSION);
    if let Some((version, distribution)) = &report.cluster {
        put(
            &mut text,
            format_args!("   Kubernetes {version} ({distribution})"),
        );
    }
    text.push('\n');
    let mut last = "";
    for outcome in &report.outcomes {
        if style.quiet && !matches!(outcome.verdict, Verdict::Fail | Verdict::Warn) {
            continue;
        }
        let code = known(outcome);
        let here = code.map_or("", kantaloupe_checks::Code::area);
        // VER is a matter of the way to the gateway, TIME of TLS: each is a heading of its own all the same.
        if here != last {
            put(&mut text, format_args!("{}\n", area(here, style.lang)));
            last = here;
        }
        line(&mut text, outcome, style, words);
    }
    if report.partial {
        put(&mut text, format_args!("{}\n", words.partial));
    }
    summary(&mut text, report, style);
    text
}

fn line(text: &mut String, outcome: &Outcome, style: Style, words: &Words) {
    let (sign, color) = match outcome.verdict {
        Verdict::Pass => ("✓", GREEN),
        Verdict::Fail => ("✗", RED),
        Verdict::Warn => ("!", YELLOW),
        Verdict::Skip => ("-", GREY),
        Verdict::Unknown => ("?", GREY),
    };
    let sign = paint(sign, color, style);
    let short = outcome.code.strip_prefix("KTA-").unwrap_or(&outcome.code);
    let check = known(outcome).map(get);
    let name = check
        .and_then(|check| check.name.as_ref())
        .map_or("", |name| name.get(style.lang));
    let colon = match style.lang {
        Lang::En => ": ",
        Lang::Zh => "：",
    };
    put(text, format_args!("  {sign} {short} {name}{colon}"));
    match (outcome.verdict, &outcome.blocked_by) {
        (Verdict::Skip, Some(blocker)) => put(text, format_args!("{} {blocker}\n", words.blocked)),
        _ => put(text, format_args!("{}\n", outcome.message)),
    }
    if !matches!(outcome.verdict, Verdict::Fail | Verdict::Warn) {
        return;
    }
    if let Some(check) = check {
        for (word, value) in [
            (words.what, check.title.get(style.lang)),
            (words.cause, check.cause.get(style.lang)),
            (words.remedy, check.remedy.get(style.lang)),
        ] {
            put(text, format_args!("      {word}{colon}{value}\n"));
        }
    }
    for command in &outcome.commands {
        put(text, format_args!("      {}{colon}{command}\n", words.command));
    }
}

fn summary(text: &mut String, report: &Report, style: Style) {
    let count = report.summary();
    let seconds = format!(
        "{}.{}",
        report.duration_ms / 1000,
        report.duration_ms % 1000 / 100
    );
    match style.lang {
        Lang::En => put(
            text,
            format_args!(
                "SUMMARY  {} pass, {} fail, {} warn, {} skip, {} unknown, {seconds} s\n",
                count.pass, count.fail, count.warn, count.skip, count.unknown
            ),
        ),
        Lang::Zh => put(
            text,
            format_args!(
                "汇总  通过 {}，失败 {}，警告 {}，跳过 {}，未知 {}，用时 {seconds} 秒\n",
                count.pass, count.fail, count.warn, count.skip, count.unknown
            ),
        ),
    }
}

fn paint(text: &str, color: &str, style: Style) -> String {
    if style.color {
        format!("\u{1b}[{color}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all text");
}
