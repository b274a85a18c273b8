//! The command `relinear`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
