//! The command line: what it says, and what it answers.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand, error::ErrorKind};
use kantaloupe_checks::{Code, Fault, Lang, get, markdown};

pub use crate::audit::VerifyArgs;
use crate::{
    audit::{self, VerifyError},
    config::ServeArgs,
    start::{StartError, USAGE},
};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "kantaloupe-gateway",
    version,
    about = "Accepts Kantaloupe agents and routes users to their clusters"
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Subcommands of the binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until SIGTERM.
    Serve(Box<ServeArgs>),
    /// Mend the accounts of a gateway that is stopped.
    #[command(subcommand)]
    Users(Users),
    /// The record of who did what.
    #[command(subcommand)]
    Audit(Audit),
    /// Explain a check code such as KTA-SRV-007.
    Explain {
        /// The code.
        code: String,
        /// Language of the text: en or zh.
        #[arg(long, default_value = "en")]
        lang: String,
    },
    /// Print the version.
    Version,
}

/// What `users` does.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// Give the user admin a new token in the file admin-token, and the role admin, in place of all tokens that he had.
    ResetAdmin {
        /// The gateway's data folder.
        #[arg(long, env = "KANTALOUPE_GATEWAY_DATA_DIR")]
        data_dir: PathBuf,
    },
}

/// What `audit` does.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check that the audit is what was written, also beside a running gateway, and hold an agent's log against it.
    Verify(Box<VerifyArgs>),
}

/// Reads the process's arguments. An error is printed; its exit status comes back, which for `--help` is success.
pub fn parse() -> Result<Command, ExitCode> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Ok(cli.command),
        Err(error) => error,
    };
    let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let _ = error.print();
    if help {
        return Err(ExitCode::SUCCESS);
    }
    let fault = Fault::new(Code::CFG_001, "The command line cannot be used");
    Err(refuse(&StartError {
        fault,
        exit_code: USAGE,
    }))
}

/// Prints what is known of a check code.
pub fn explain(code: &str, lang: &str) -> ExitCode {
    let (code, lang) = match (code.parse::<Code>(), lang.parse::<Lang>()) {
        (Ok(code), Ok(lang)) => (code, lang),
        (Err(error), _) => return fail(&format!("{code}: {error}")),
        (_, Err(error)) => return fail(&format!("{lang}: {error}")),
    };
    say(markdown::explain(get(code), lang).trim_end())
}

/// Checks the audit and prints what was found.
pub fn verify(args: &VerifyArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(audit::verify(args, &mut io::stdout())),
        Err(error) => return fail(&format!("The runtime did not start: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(VerifyError::Unsound(fault)) => fail(&fault.to_string()),
        Err(error) => fail(&format!("The audit cannot be checked: {error}")),
    }
}

/// Prints why the gateway does not start.
pub fn refuse(error: &StartError) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::from(error.exit_code)
}

/// Prints an error that has no code.
pub fn fail(text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::FAILURE
}

/// Prints an answer.
pub fn say(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// clap looks at this in debug builds only, when a subcommand is used.
    #[test]
    fn no_two_flags_are_the_same() {
        Cli::command().debug_assert();
    }
}
