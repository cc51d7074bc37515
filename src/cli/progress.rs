//! Progress: a bar with rate and time left on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::preview::Preview;
use super::report;
use crate::run::{Tensor, Watcher};

/// Between two pictures of a preview.
const FRAME: Duration = Duration::from_millis(200);

/// A watcher that shows the steps of a loop and the images watched in it, and ends the run on Ctrl-C.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    quiet: bool,
    started: Instant,
    line: Instant,
    preview: Option<Preview>,
    frame: Instant,
    cancelled: Arc<AtomicBool>,
}

/// The style of all bars.
pub(super) fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:32} {pos}/{len}  {per_sec}  {eta} left  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The same with room for a picture underneath.
fn steps_style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:32} {pos}/{len}  {per_sec}  {eta} left\n{msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A flag that Ctrl-C sets; a second Ctrl-C ends the process as usual.
pub(super) fn on_interrupt() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    // A handler that is there already (a second run in one process) stays.
    let _ = ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    flag
}

impl Bar {
    pub(super) fn steps(quiet: bool) -> Bar {
        let now = Instant::now();
        let preview = if quiet { None } else { Preview::on_terminal() };
        Bar { bar: None, quiet, started: now, line: now, preview, frame: now, cancelled: on_interrupt() }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watcher for Bar {
    fn watch(&mut self, _name: &str, _step: usize, of: usize, value: &Tensor) {
        let Some(preview) = self.preview.filter(|_| of > 1 && self.frame.elapsed() > FRAME) else { return };
        if let (Some(bar), Some(picture)) = (&self.bar, preview.of(value)) {
            bar.set_message(picture);
            self.frame = Instant::now();
        }
    }

    fn progress(&mut self, step: usize, of: usize) {
        // Nothing is shown for what takes less than a second.
        if self.quiet || self.started.elapsed() < Duration::from_secs(1) {
            return;
        }
        if std::io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| ProgressBar::new(of as u64).with_style(steps_style()));
            bar.set_position(step as u64);
        } else if self.line.elapsed() > Duration::from_secs(5) {
            self.line = Instant::now();
            let rate = step as f64 / self.started.elapsed().as_secs_f64();
            let left = (of - step) as f64 / rate.max(1e-9);
            report::note(&format!("step {step}/{of}  {rate:.1}/s  {left:.0} s left"));
        }
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}
