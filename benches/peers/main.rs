//! Speed and memory beside PyTorch + diffusers, in one run: `cargo bench --bench peers [-- CASE…]`.
//!
//! Each case is timed in two processes, one of ours and one of theirs (`benches/peer/peer.py`), which take
//! turns repeat by repeat, so that whatever else the machine does meets both alike. Printed are medians, the
//! ratio ours / theirs, peak resident memory, and the share of the machine's measured peak of fused
//! multiply-adds. `TAPER_PEER_PYTHON` names a Python that has torch and diffusers (`python3` otherwise),
//! `TAPER_BENCH_THREADS` the threads of both (2 otherwise). `-- list` shows the cases.

mod cases;
mod ours;
mod peak;
mod table;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.first().map(String::as_str) {
        // What `cargo test --benches` passes: nothing is measured in a test.
        Some("--test") => std::process::ExitCode::SUCCESS,
        Some("--ours") => ours::main(&arguments[1..]),
        _ => table::main(&arguments),
    }
}
