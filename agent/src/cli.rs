//! Command line.

use std::{
    io::{Write, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
};

use clap::{Parser, Subcommand, ValueEnum};
use kantaloupe_checks::{Code, get, markdown};

use crate::{inventory::from::Format, preflight};

/// What is wrong is what the program was told: a flag, a value, the configuration. clap ends with the same.
pub const USAGE: u8 = 2;

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
        /// Language of the answer; LC_ALL, LC_MESSAGES or LANG decide otherwise.
        #[arg(long, value_enum)]
        lang: Option<Lang>,
    },
    /// Checks what has to be there before the agent connects: the way to the gateway, and the platform in the cluster.
    ///
    /// Exit codes: 0 nothing failed, 1 internal error, 2 wrong flag, 3 something failed, 4 only warnings with --strict,
    /// 5 interrupted or out of time.
    Preflight(preflight::Args),
    /// The same checks and those of the running agent, in its pod: kubectl exec deploy/kantaloupe-agent -- kantaloupe-agent doctor.
    Doctor(preflight::Args),
    /// The registry of checks.
    Checks {
        /// What to do with it.
        #[command(subcommand)]
        command: ChecksCommand,
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

/// What `checks` can do.
#[derive(Debug, Subcommand)]
pub enum ChecksCommand {
    /// Lists codes, severities and names; with -o json all texts.
    List {
        /// Form of the output.
        #[arg(short, long, value_enum, default_value_t = ListOutput::Table)]
        output: ListOutput,
        /// Language; LC_ALL, LC_MESSAGES or LANG decide otherwise.
        #[arg(long, value_enum)]
        lang: Option<Lang>,
    },
}

/// Form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    /// For people.
    Table,
    /// For programs.
    Json,
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
        Err(error) => fail(&format!("{code}: {error}"), USAGE),
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
            matches!(explain.command, Command::Explain { code, lang: Some(Lang::Zh) } if code == "KTA-AUTH-003")
        );
        assert!(Cli::try_parse_from(["kantaloupe-agent"]).is_err());
        let preflight = Cli::try_parse_from([
            "kantaloupe-agent",
            "preflight",
            "--only",
            "net,tls",
            "--skip",
            "KTA-NET-001",
            "--wait",
            "3m",
            "-o",
            "junit",
        ])
        .unwrap();
        let Command::Preflight(args) = preflight.command else {
            panic!("{preflight:?}");
        };
        assert!(args.wants(Code::NET_002) && args.wants(Code::TLS_001));
        assert!(!args.wants(Code::NET_001) && !args.wants(Code::GPU_001));
        assert_eq!(args.wait, Some(std::time::Duration::from_mins(3)));
        for wrong in [
            ["--only", "nets"],
            ["--timeout", "10"],
            ["-o", "xml"],
            ["--ca-pin", "sha256:00"],
        ] {
            let line = ["kantaloupe-agent", "preflight", wrong[0], wrong[1]];
            assert_eq!(
                Cli::try_parse_from(line).unwrap_err().exit_code(),
                i32::from(USAGE),
                "{wrong:?}"
            );
        }
    }
}
