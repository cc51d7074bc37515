//! The command line: one file per subcommand. The only place that prints, exits or reads the environment.

mod arguments;
mod check;
mod completions;
mod explain;
mod files;
mod fmt;
mod graph;
mod new;
mod preview;
mod progress;
mod report;
mod run;
mod train;
mod values;
mod weights;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It did what was asked.
    Done,
    /// The run failed: exit code 1.
    Failed,
    /// The file, the weights, the data or a flag is wrong: exit code 2.
    Wrong,
}

#[derive(Parser)]
#[command(
    name = "taper",
    version,
    about = "A declarative language for generative models",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a file: names, arguments, shapes, spaces, weights, data; run nothing
    Check(check::CheckArgs),
    /// Run a graph of a pipeline (`taper run FILE --help` lists them)
    #[command(disable_help_flag = true)]
    Run(run::RunArgs),
    /// Train a pipeline
    Train(train::TrainArgs),
    /// Draw a graph, or print it
    Graph(graph::GraphArgs),
    /// Bring files into the one layout
    Fmt(fmt::FmtArgs),
    /// Explain an error code
    Explain(explain::ExplainArgs),
    /// List what a weights file holds
    Weights(weights::WeightsArgs),
    /// Start a new pipeline file
    New(new::NewArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Check(a) => check::main(&a),
        Command::Run(a) => {
            crate::run::keep_freed_memory();
            run::main(&a)
        }
        Command::Train(a) => {
            crate::run::keep_freed_memory();
            train::main(&a)
        }
        Command::Graph(a) => graph::main(&a),
        Command::Fmt(a) => fmt::main(&a),
        Command::Explain(a) => explain::main(&a),
        Command::Weights(a) => weights::main(&a),
        Command::New(a) => new::main(&a),
        Command::Completions(a) => completions::main(&a),
    };
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::from(1),
        Outcome::Wrong => ExitCode::from(2),
    }
}
