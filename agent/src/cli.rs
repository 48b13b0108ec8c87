//! Command line.

use std::{
    io::{Write, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
};

use clap::{Parser, Subcommand, ValueEnum};
use kantaloupe_checks::{Code, get, markdown};

use crate::inventory::from::Format;

/// `EX_USAGE` of sysexits.h: what is wrong is what the program was told.
pub const BAD_CONFIG: u8 = 64;

/// Connects a Kubernetes cluster to a Kantaloupe gateway by dialing out.
#[derive(Debug, Parser)]
#[command(name = "kantaloupe-agent", version)]
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
    /// Prints the inventory of a cluster out of files: dumps of its objects, and metrics in text form.
    Inventory {
        /// Files, or folders of files.
        #[arg(long, required = true, num_args = 1..)]
        from: Vec<PathBuf>,
        /// How it is printed.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
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
        Ok(code) => say(markdown::explain(get(code), lang).trim_end()),
        Err(error) => fail(&format!("{code}: {error}"), BAD_CONFIG),
    }
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
}
