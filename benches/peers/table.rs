//! Runs both sides of each case in turn and prints the table.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use crate::cases::{self, Case};
use crate::peak;

/// Between turns: threads of a pool (OpenMP's, say) wait for more work by spinning, for some milliseconds, and would take
/// a core from the other side's turn.
const REST: Duration = Duration::from_millis(100);

/// A process that repeats a case on request.
struct Side {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    flops: f64,
}

impl Side {
    fn start(command: &mut Command) -> Result<Side, String> {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start {shown}: {e}"))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("no pipes to {shown}"));
        };
        let mut side = Side { child, to, from: BufReader::new(from), flops: 0.0 };
        let line = side.line()?;
        let Some(rest) = line.strip_prefix("ready") else {
            return Err(format!("{shown} said {line:?} in place of `ready`"));
        };
        side.flops = rest.trim().parse().unwrap_or(0.0);
        Ok(side)
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.from.read_line(&mut line) {
            Ok(0) => Err(format!("a side ended early: {:?}", self.child.wait())),
            Ok(_) => Ok(line.trim().to_string()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn ask(&mut self, what: &str) -> Result<f64, String> {
        writeln!(self.to, "{what}").and_then(|()| self.to.flush()).map_err(|e| e.to_string())?;
        let line = self.line()?;
        line.parse().map_err(|_| format!("expected a number, found {line:?}"))
    }

    /// Ends it and gives its peak resident memory in KiB.
    fn end(mut self) -> Result<f64, String> {
        let peak = self.ask("end")?;
        self.child.wait().map_err(|e| e.to_string())?;
        Ok(peak)
    }
}

/// What a case came to.
struct Figures {
    ours: Vec<f64>,
    theirs: Vec<f64>,
    ours_kib: f64,
    theirs_kib: f64,
    flops: f64,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn measure(case: &Case, threads: usize) -> Result<Figures, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let python = std::env::var("TAPER_PEER_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peer/peer.py");
    let threads = threads.to_string();
    // One after the other, so that each makes itself ready alone.
    let mut theirs =
        Side::start(Command::new(&python).arg(&script).arg(&threads).args(case.name.split(' ')))?;
    let mut ours = Side::start(Command::new(own).args(["--ours", &case.name, &threads]))?;
    let mut figures =
        Figures { ours: vec![], theirs: vec![], ours_kib: 0.0, theirs_kib: 0.0, flops: ours.flops };
    for _ in 0..case.repeats {
        std::thread::sleep(REST);
        figures.theirs.push(theirs.ask("go")?);
        std::thread::sleep(REST);
        figures.ours.push(ours.ask("go")?);
    }
    figures.theirs_kib = theirs.end()?;
    figures.ours_kib = ours.end()?;
    Ok(figures)
}

/// Prints the table of the cases whose names begin with one of `wanted`, or of all.
pub fn main(wanted: &[String]) -> ExitCode {
    let all = cases::all();
    if wanted.first().is_some_and(|w| w == "list") {
        all.iter().for_each(|c| println!("{}", c.name));
        return ExitCode::SUCCESS;
    }
    let threads = std::env::var("TAPER_BENCH_THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(2usize);
    let peak = peak::gflops(threads);
    println!(
        "{threads} threads, peak of fused multiply-adds {peak:.0} GFLOP/s; medians; MiB resident at most\n"
    );
    println!("| case | ours s | theirs s | ratio | goal | FMA share | ours MiB | theirs MiB | ratio |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let chosen =
        all.iter().filter(|c| wanted.is_empty() || wanted.iter().any(|w| c.name.starts_with(w.as_str())));
    let mut code = ExitCode::SUCCESS;
    for case in chosen {
        match measure(case, threads) {
            Ok(f) => {
                let (ours, theirs) = (median(&f.ours), median(&f.theirs));
                println!(
                    "| {} | {ours:.4} | {theirs:.4} | {:.2} | {:.2} | {:.0} % | {:.0} | {:.0} | {:.2} |",
                    case.name,
                    ours / theirs,
                    case.goal,
                    f.flops / ours / 1e9 / peak * 100.0,
                    f.ours_kib / 1024.0,
                    f.theirs_kib / 1024.0,
                    f.ours_kib / f.theirs_kib,
                );
            }
            Err(e) => {
                eprintln!("{}: {e}", case.name);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
