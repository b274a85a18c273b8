//! The command: takes the line apart, runs what it asks for, and turns the outcome into an exit status.

mod about;
mod args;
mod beside;
mod check;
mod count;
mod dis;
mod edit;
mod failure;
mod input;
#[cfg(feature = "kernel")]
mod kernel;
#[cfg(feature = "kernel")]
mod map_value;
mod output;
mod patch;
mod place;
mod print;
mod table;
mod target;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use failure::Failure;

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(Cli { command: Command::Patch(args) }) => patch::run(&args),
        Ok(Cli { command: Command::Edit(args) }) => edit::run(&args),
        Ok(Cli { command: Command::Count(args) }) => count::run(&args),
        Ok(Cli { command: Command::Dis(args) }) => dis::run(&args),
        Ok(Cli { command: Command::Check(args) }) => check::run(&args),
        Ok(Cli { command: Command::Completions(args) }) => about::completions(&args),
        Ok(Cli { command: Command::Man(args) }) => about::man(&args),
        // What was asked for may be the help, which is no error.
        Err(asked) => {
            let code = u8::try_from(asked.exit_code()).unwrap_or(2);
            return ExitCode::from(if asked.print().is_ok() { code } else { code.max(1) });
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Failure::Usage(reason) | Failure::Work(reason) = &failure {
                print::error(reason);
            }
            ExitCode::from(failure.code())
        }
    }
}
