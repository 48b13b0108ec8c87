//! The registry as text: a page of the documentation, and what `explain` prints.

use std::fmt::Write as _;

use crate::row::{self, Check, Lang};

struct Words {
    title: &'static str,
    note: &'static str,
    severity: &'static str,
    cause: &'static str,
    remedy: &'static str,
}

const EN: Words = Words {
    title: "Error codes",
    note: "Generated from the `checks` crate by `cargo run -p kantaloupe-checks --example generate-docs`. \
           `kantaloupe-agent explain <code>` shows the same text offline.",
    severity: "Severity",
    cause: "Probable cause",
    remedy: "What to do",
};

const ZH: Words = Words {
    title: "错误码",
    note: "本页由 `cargo run -p kantaloupe-checks --example generate-docs` 根据 `checks` crate 生成。\
           离线时可用 `kantaloupe-agent explain <错误码> --lang zh` 查看相同内容。",
    severity: "级别",
    cause: "可能的原因",
    remedy: "处理办法",
};

/// The whole page in `lang`.
pub fn page(lang: Lang) -> String {
    let words = words(lang);
    let mut page = format!("# {}\n\n{}\n\n", words.title, words.note);
    for check in row::all() {
        // Angle brackets would be read as HTML.
        let entry = explain(check, lang).replace('<', "&lt;").replace('>', "&gt;");
        writeln!(page, "## {entry}").expect("a String takes all text");
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// One code in `lang`, as plain text that is Markdown as well: code and title, then a list.
pub fn explain(check: &Check, lang: Lang) -> String {
    let words = words(lang);
    let colon = if lang == Lang::Zh { "：" } else { ": " };
    let mut text = format!("{} {}\n\n", check.code, check.title.get(lang));
    for (word, value) in [
        (words.severity, check.severity.text(lang)),
        (words.cause, check.cause.get(lang)),
        (words.remedy, check.remedy.get(lang)),
    ] {
        writeln!(text, "- {word}{colon}{value}").expect("a String takes all text");
    }
    text
}

const fn words(lang: Lang) -> &'static Words {
    match lang {
        Lang::En => &EN,
        Lang::Zh => &ZH,
    }
}
