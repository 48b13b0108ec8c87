//! Command line.

use std::{
    io::{Write, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
};

use clap::{Parser, Subcommand, ValueEnum};
use kantaloupe_checks::{Check, Code, get};

/// `EX_USAGE` of sysexits.h: what is wrong is what the program was told.
pub const BAD_CONFIG: u8 = 64;

/// Connects a Kubernetes cluster to a Kantaloupe gateway by dialing out.
#[derive(Debug, Parser)]
#[command(name = "kantaloupe-agent", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connects the cluster and stays connected until SIGTERM.
    Run {
        /// Configuration file.
        #[arg(long, default_value = "/etc/kantaloupe/agent.yaml")]
        config: PathBuf,
    },
    /// Explains an error code: what it means, why it happens, what to do.
    Explain {
        /// The code, e.g. KTA-AUTH-003.
        code: String,
        /// Language of the answer.
        #[arg(long, value_enum, default_value_t = Lang::En)]
        lang: Lang,
    },
    /// Prints the version.
    Version,
}

/// Language of explanations.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Lang {
    /// English.
    En,
    /// Chinese.
    Zh,
}

impl From<Lang> for kantaloupe_checks::Lang {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::En => Self::En,
            Lang::Zh => Self::Zh,
        }
    }
}

/// Prints what a code means.
pub fn explain(code: &str, lang: kantaloupe_checks::Lang) -> ExitCode {
    match Code::from_str(code) {
        Ok(code) => say(&explanation(get(code), lang)),
        Err(error) => fail(&format!("{code}: {error}"), BAD_CONFIG),
    }
}

fn explanation(check: &Check, lang: kantaloupe_checks::Lang) -> String {
    let (cause, remedy) = match lang {
        kantaloupe_checks::Lang::En => ("Probable cause", "What to do"),
        kantaloupe_checks::Lang::Zh => ("可能原因", "解决办法"),
    };
    format!(
        "{}: {}\n\n{cause}:\n  {}\n\n{remedy}:\n  {}",
        check.code,
        check.title.get(lang),
        check.cause.get(lang),
        check.remedy.get(lang)
    )
}

/// Prints an answer.
pub fn say(text: &str) -> ExitCode {
    if writeln!(stdout(), "{text}").is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints why the program ends with `code`.
pub fn fail(text: &str, code: u8) -> ExitCode {
    // Without a standard error stream nobody reads it anyway.
    let _unread = writeln!(stderr(), "{text}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands() {
        let run = Cli::try_parse_from(["kantaloupe-agent", "run", "--config", "/a"]).unwrap();
        assert!(matches!(run.command, Command::Run { config } if config.as_os_str() == "/a"));
        let explain =
            Cli::try_parse_from(["kantaloupe-agent", "explain", "KTA-AUTH-003", "--lang", "zh"]).unwrap();
        assert!(
            matches!(explain.command, Command::Explain { code, lang: Lang::Zh } if code == "KTA-AUTH-003")
        );
        assert!(Cli::try_parse_from(["kantaloupe-agent"]).is_err());
    }

    #[test]
    fn every_code_is_explained_in_both_languages() {
        for check in kantaloupe_checks::all() {
            for lang in [Lang::En, Lang::Zh] {
                let text = explanation(check, lang.into());
                assert!(text.starts_with(check.code.as_str()), "{text}");
                assert!(text.contains(check.remedy.get(lang.into())), "{text}");
            }
        }
    }
}
