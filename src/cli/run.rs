//! `taper run FILE GRAPH [--param value]… -o OUT`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::arguments::FileOptions;
use super::progress::Bar;
use super::values::{parse_count, parse_kind, parse_seed};
use super::{Outcome, report};
use crate::CheckOptions;
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::elaborate::Request;
use crate::graph::program::{Entry, EntryKind, EntryParam, Program, StaticValue};
use crate::run::{Profile, Rng};
use crate::session::{Given, RunSettings, Session};

/// Arguments of `run`; what follows the file is parsed by what the file offers.
#[derive(Args)]
pub(super) struct RunArgs {
    /// The file, the graph, and its flags
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    rest: Vec<String>,
}

/// The flags that every graph takes.
#[derive(Args, Clone, Debug)]
struct Common {
    /// Where the result goes: .png (a grid), .gif, .npy, .safetensors, .csv, .md
    #[arg(long, short, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Weights: a file, a run folder or a published folder; those beside the file if left out
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Key of all randomness: the same seed gives the same bytes
    #[arg(long, default_value_t = 0, value_parser = parse_seed, allow_hyphen_values = true)]
    seed: u64,
    /// Run sample K of the batch by itself, to the same bytes
    #[arg(long, value_name = "K")]
    only: Option<u32>,
    /// Where noise comes from: philox, or torch (PyTorch's CPU generator)
    #[arg(long, default_value = "philox", value_parser = ["philox", "torch"])]
    rng: String,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Threads; all cores if left out
    #[arg(long, value_parser = parse_count::<usize>, allow_hyphen_values = true)]
    threads: Option<usize>,
    /// Also write what the blocks at or under a field path give, to a .safetensors (repeatable)
    #[arg(long, value_name = "PATH")]
    trace: Vec<String>,
    /// Show which operations took the time, on standard error
    #[arg(long)]
    profile: bool,
    /// Columns of the grid
    #[arg(long)]
    columns: Option<usize>,
    /// Print nothing
    #[arg(long, short)]
    quiet: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: FileOptions,
}

pub(super) fn main(args: &RunArgs) -> Outcome {
    let Some(file) = args.rest.first().filter(|a| !a.starts_with('-')) else {
        let text = "taper run FILE GRAPH [--param value]… -o OUT\n\ntaper run FILE --help   shows the graphs of FILE with their parameters";
        if args.rest.first().is_some_and(|a| a == "--help" || a == "-h") {
            report::say(text);
            return Outcome::Done;
        }
        let d = Diagnostic::error(codes::BAD_FLAG, "`taper run` needs a file first");
        return report::fail(d.help("taper run pipelines/vae.taper sample -o samples.png"), Outcome::Wrong);
    };
    let path = PathBuf::from(file);
    // The file is checked as configured, so that its graphs can be offered as subcommands.
    let given = file_options(&args.rest);
    let Some(checked) = given.check_and_print(&path, given.for_a_run()) else { return Outcome::Wrong };
    let Some(program) = checked.program else {
        let d = Diagnostic::error(codes::BAD_FLAG, format!("`{file}` has no pipeline to run"));
        return report::fail(d.help("`taper new NAME` starts one"), Outcome::Wrong);
    };
    let words = std::iter::once(format!("taper run {file}")).chain(args.rest[1..].iter().cloned());
    let matches = match command(&program, file).try_get_matches_from(words) {
        Ok(m) => m,
        Err(e) if e.kind() == ErrorKind::InvalidSubcommand => {
            // A graph may be missing for want of data.
            return match given.check_and_print(&path, CheckOptions::default()) {
                Some(_) => no_graph(&program, file, &e),
                None => Outcome::Wrong,
            };
        }
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { Outcome::Wrong } else { Outcome::Done };
        }
    };
    let Some((name, matches)) = matches.subcommand() else { return Outcome::Wrong };
    let Some(entry) = program.entries.iter().find(|e| e.name == name) else { return Outcome::Wrong };
    match run(&path, entry, matches) {
        Ok(outcome) => outcome,
        Err((d, outcome)) => report::fail(d, outcome),
    }
}

/// A graph that the file does not have.
fn no_graph(program: &Program, file: &str, error: &clap::Error) -> Outcome {
    let name = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) => name.as_str(),
        _ => "",
    };
    let known: Vec<&str> = program.entries.iter().map(|e| e.name.as_str()).collect();
    let help = match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "the pipeline has no graph: graph sample(…) { … }".to_string(),
        None => format!("it has: {}", known.join(", ")),
    };
    let d = Diagnostic::error(codes::BAD_FLAG, format!("`{file}` has no graph `{name}`"));
    report::fail(d.help(help), Outcome::Wrong)
}

/// `--set`, `--data`, … wherever they stand: they decide what the file offers.
fn file_options(rest: &[String]) -> FileOptions {
    let base = FileOptions::augment(
        Command::new("run").ignore_errors(true).no_binary_name(true).disable_help_flag(true),
    );
    let mut words = Vec::new();
    let mut it = rest.iter();
    while let Some(w) = it.next() {
        let known = ["--set", "--stdlib", "--root", "--data"]
            .iter()
            .any(|k| w == k || w.starts_with(&format!("{k}=")));
        if known {
            words.push(w.clone());
            if !w.contains('=') || w == "--set" {
                words.extend(it.next().cloned());
            }
        }
    }
    base.try_get_matches_from(words)
        .ok()
        .and_then(|m| FileOptions::from_arg_matches(&m).ok())
        .unwrap_or_default()
}

trait Augment {
    fn augment(command: Command) -> Command;
}

impl Augment for FileOptions {
    fn augment(command: Command) -> Command {
        <FileOptions as Args>::augment_args(command)
    }
}

/// One subcommand per graph, its parameters as flags.
fn command(program: &Program, file: &str) -> Command {
    let mut root =
        Command::new(format!("taper run {file}")).subcommand_required(true).arg_required_else_help(true);
    root =
        root.subcommand_value_name("GRAPH").subcommand_help_heading("Graphs").disable_help_subcommand(true);
    root = root.max_term_width(100).bin_name(format!("taper run {file}"));
    if let Some(doc) = &program.doc {
        root = root.about(doc.clone());
    }
    for entry in &program.entries {
        let mut sub = Command::new(entry.name.clone()).max_term_width(100);
        for p in &entry.params {
            sub = sub.arg(flag(p));
        }
        // After the flags, whose own documentation would stand for the graph's.
        let about = entry.doc.clone().unwrap_or_default();
        root = root.subcommand(Common::augment_args(sub).about(about));
    }
    root
}

/// What clap knows a parameter by, apart from the flags that every graph takes.
fn id(p: &EntryParam) -> String {
    format!("param {}", p.name)
}

fn flag(p: &EntryParam) -> Arg {
    let (value, help) = match &p.kind {
        EntryKind::Int => ("N", "a whole number".to_string()),
        EntryKind::Float => ("X", "a number".into()),
        EntryKind::Bool => ("BOOL", "true or false".into()),
        EntryKind::Str => ("TEXT", "text".into()),
        EntryKind::Tensor(ty) => ("FILE", format!("a .npy or .safetensors file: {ty}")),
        EntryKind::Image(ty) => ("FILE", format!("images (files, a folder, IDX): {ty} in [0, 1]")),
    };
    // A flag of every graph keeps its name: a parameter that shares it gets a prefix.
    let taken =
        Common::augment_args(Command::new("")).get_arguments().any(|a| a.get_long() == Some(p.name.as_str()));
    let long = if taken || p.name == "help" { format!("param-{}", p.name) } else { p.name.clone() };
    let number = matches!(p.kind, EntryKind::Int | EntryKind::Float);
    let mut arg = Arg::new(id(p)).long(long).value_name(value).allow_negative_numbers(number);
    arg = arg.help_heading("Parameters").help(match &p.doc {
        Some(doc) => format!("{doc} ({help})"),
        None => help,
    });
    if matches!(p.kind, EntryKind::Image(_)) {
        arg = arg.num_args(1..).action(ArgAction::Append);
    }
    match &p.default {
        Some(StaticValue::None) => arg,
        Some(StaticValue::Str(text)) => arg.default_value(text.clone()),
        Some(default) => arg.default_value(default.to_string()),
        None => arg.required(true),
    }
}

type Failure = (Diagnostic, Outcome);

fn run(path: &Path, entry: &Entry, matches: &ArgMatches) -> Result<Outcome, Failure> {
    let wrong = |d: Diagnostic| (d, Outcome::Wrong);
    let common = Common::from_arg_matches(matches)
        .map_err(|e| wrong(Diagnostic::error(codes::BAD_FLAG, e.to_string())))?;
    let mut statics = Vec::new();
    let mut given = Given::default();
    for p in &entry.params {
        match &p.kind {
            EntryKind::Image(_) | EntryKind::Tensor(_) => {
                let files: Vec<PathBuf> =
                    matches.get_many::<String>(&id(p)).into_iter().flatten().map(PathBuf::from).collect();
                if !files.is_empty() {
                    given.files.push((p.name.clone(), files));
                }
            }
            kind => {
                if let Some(text) = matches.get_one::<String>(&id(p)) {
                    statics.push((p.name.clone(), parse_kind(&p.name, kind, text).map_err(wrong)?));
                }
            }
        }
    }
    let number = entry.count_parameter().and_then(|name| statics.iter().find(|(n, _)| n == name));
    if let Some((name, StaticValue::Int(count))) = number
        && *count < 1
    {
        let d = Diagnostic::error(codes::BAD_FLAG, format!("`--{name} {count}`: there is no sample to make"));
        return Err(wrong(d.help(format!("give `--{name} 1` or more"))));
    }
    // One sample by itself: `count` stays open, and is bound to one.
    let open = common.only.and_then(|_| entry.count_parameter()).map(String::from);
    let tensors = common.output.as_ref().and_then(|o| o.extension()).is_some_and(|e| e == "safetensors");
    if !common.trace.is_empty() && !tensors {
        let d = Diagnostic::error(codes::BAD_FLAG, "`--trace` writes tensors, and needs a file for them");
        return Err(wrong(d.help("-o values.safetensors")));
    }
    let check = |open: Option<String>| {
        let entry = Some((entry.name.clone(), statics.clone()));
        let (trace, without_data) = (common.trace.clone(), common.options.data.is_none());
        let request = Request { pipeline: None, entry, open, trace, without_data };
        common.options.check(path, CheckOptions { request, ..CheckOptions::default() })
    };
    let mut checked = check(open.clone());
    let samples = checked.entry.as_ref().is_some_and(Entry::gives_samples);
    if open.is_some() && !samples {
        // The graph computes with the number itself, or gives something else than samples: it is run whole, and the
        // sample taken from the result.
        checked = check(None);
    }
    let given_count = open.as_deref().filter(|n| {
        samples
            && entry
                .params
                .iter()
                .any(|p| p.name == **n && matches.value_source(&id(p)) == Some(ValueSource::CommandLine))
    });
    if let (Some(k), Some(name)) = (common.only, given_count)
        && let Some((_, StaticValue::Int(count))) = statics.iter().find(|(n, _)| n == name)
        && i64::from(k) >= *count
    {
        let m = format!("`--only {k}`: `--count {count}` gives samples 0 to {}", count - 1);
        return Err(wrong(Diagnostic::error(codes::BAD_FLAG, m).help("samples are counted from 0")));
    }
    if report::print(&checked.diagnostics, &checked.sources) {
        return Ok(Outcome::Wrong);
    }
    let (Some(program), Some(entry)) = (checked.program, checked.entry) else { return Ok(Outcome::Wrong) };
    let profile = common.profile.then(Arc::<Profile>::default);
    let settings = RunSettings {
        device: common.device.clone(),
        threads: common.threads,
        seed: common.seed,
        only: common.only,
        rng: if common.rng == "torch" { Rng::Torch } else { Rng::Philox },
        data: common.options.data.clone(),
        passes: common.options.passes().map_err(wrong)?,
        profile: profile.clone(),
        keep_watched: common
            .output
            .as_ref()
            .and_then(|o| o.extension())
            .is_some_and(|e| e.eq_ignore_ascii_case("gif")),
    };
    // A run may take hours; what it cannot write is said before.
    if let Some(out) = &common.output {
        crate::session::check_output(out, &entry).map_err(wrong)?;
        if out.parent().is_some_and(|p| !p.as_os_str().is_empty() && !p.is_dir()) {
            // The system's own words for what is not there.
            let missing = std::io::Error::from_raw_os_error(2);
            return Err((crate::fs::cannot_write(out, &missing), Outcome::Failed));
        }
    }
    let started = std::time::Instant::now();
    let mut session = Session::open(program, &settings).map_err(wrong)?;
    if let Err(all) = session.load_weights(common.weights.as_deref(), path) {
        report::print(&all, &checked.sources);
        return Ok(Outcome::Wrong);
    }
    let mut bar = Bar::steps(common.quiet || common.json);
    let result = session.run(&entry, given, &mut bar);
    bar.finish();
    let result = match result {
        Ok(r) => r,
        Err(None) => {
            report::note("cancelled; nothing was written");
            return Ok(Outcome::Failed);
        }
        Err(Some(d)) => {
            let given = d.code.0.starts_with("E07") || d.code.0.starts_with("E08");
            let outcome = if given || d.code == codes::BAD_FLAG { Outcome::Wrong } else { Outcome::Failed };
            report::print(std::slice::from_ref(&d), &checked.sources);
            return Ok(outcome);
        }
    };
    if let Some(profile) = profile {
        report::profile(&profile);
    }
    for w in &result.warnings {
        report::print(std::slice::from_ref(w), &checked.sources);
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut shown = String::new();
    match &common.output {
        Some(out) => {
            result.write(out, common.columns).map_err(|d| {
                let outcome = if d.code == codes::BAD_FLAG { Outcome::Wrong } else { Outcome::Failed };
                (d, outcome)
            })?;
            shown = format!("{} written", out.display());
        }
        None => {
            for (name, summary) in result.summaries() {
                shown += &format!("{name}: {summary}\n");
            }
        }
    }
    if common.json {
        let values = result.summaries().into_iter().map(|(n, s)| (n, serde_json::Value::String(s)));
        let object = serde_json::json!({
            "graph": entry.name,
            "seed": common.seed,
            "seconds": seconds,
            "peak_bytes": result.peak_bytes,
            "predicted_peak_bytes": result.predicted_peak_bytes,
            "output": common.output.as_ref().map(|p| p.display().to_string()),
            "outputs": values.collect::<serde_json::Map<_, _>>(),
        });
        report::say(&object.to_string());
    } else if !common.quiet {
        report::say(&format!("{} ({seconds:.2} s)", shown.trim_end()));
    }
    Ok(Outcome::Done)
}
