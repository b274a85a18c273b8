//! `relinear completions` and `relinear man`: what shells and `man` have to know of the command.

use clap::CommandFactory as _;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::failure::{Failure, reason};
use super::print;

/// Prints the completions of the command for a shell.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "relinear", &mut script);
    print::to_stdout(|out| out.write_all(&script))
}

/// Prints the manual page of the command, or of one of its verbs.
pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    let page = match &args.verb {
        None => command,
        Some(verb) => match command.find_subcommand(verb) {
            Some(found) => found.clone(),
            None => return Err(Failure::Usage(format!("there is no verb {verb:?}"))),
        },
    };
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(page).render(&mut text);
    rendered.map_err(|error| Failure::Work(reason(&error)))?;
    print::to_stdout(|out| out.write_all(&text))
}
