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
    walk: Walk,
    line: Instant,
    preview: Option<Preview>,
    frame: Instant,
    cancelled: Arc<AtomicBool>,
}

/// The loops under way, inner ones last. A run may have many, one after the other or one in another; each has its own
/// rate, from its first step on: when that began is not told.
#[derive(Default)]
struct Walk(Vec<Walked>);

struct Walked {
    of: usize,
    step: usize,
    /// The step that was heard of first, and when.
    first: (usize, Instant),
}

impl Walk {
    /// Notes that a step is done; gives whether it is of another loop than the step before.
    fn step(&mut self, step: usize, of: usize, now: Instant) -> bool {
        match self.0.iter().rposition(|w| w.of == of && w.step < step) {
            Some(at) => {
                let other = at + 1 < self.0.len();
                self.0.truncate(at + 1);
                self.0[at].step = step;
                other
            }
            None => {
                while self.0.pop_if(|w| w.step == w.of).is_some() {}
                self.0.push(Walked { of, step, first: (step, now) });
                true
            }
        }
    }

    /// Steps a second and seconds left, once two steps are known.
    fn rate(&self, now: Instant) -> Option<(f64, f64)> {
        let walked = self.0.last()?;
        let (first, begun) = walked.first;
        let steps = Some(walked.step - first).filter(|s| *s > 0)?;
        let rate = steps as f64 / (now - begun).as_secs_f64().max(1e-9);
        Some((rate, (walked.of - walked.step) as f64 / rate))
    }
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
        Bar {
            bar: None,
            quiet,
            started: now,
            walk: Walk::default(),
            line: now,
            preview,
            frame: now,
            cancelled: on_interrupt(),
        }
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
        let now = Instant::now();
        let other = self.walk.step(step, of, now);
        // Nothing is shown for what takes less than a second.
        if self.quiet || self.started.elapsed() < Duration::from_secs(1) {
            return;
        }
        if std::io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| ProgressBar::new(of as u64).with_style(steps_style()));
            if other {
                bar.set_length(of as u64);
                bar.reset_eta();
            }
            bar.set_position(step as u64);
        } else if self.line.elapsed() > Duration::from_secs(5) {
            let Some((rate, left)) = self.walk.rate(now) else { return };
            self.line = now;
            report::note(&format!("step {step}/{of}  {rate:.1}/s  {left:.0} s left"));
        }
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loop_has_its_own_rate() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut walk = Walk::default();
        assert!(walk.step(1, 3, at(10)));
        assert_eq!(walk.rate(at(10)), None);
        assert!(!walk.step(2, 3, at(20)));
        assert_eq!(walk.rate(at(20)), Some((0.1, 10.0)));
        assert!(!walk.step(3, 3, at(30)));
        // Another one, ten times as fast.
        assert!(walk.step(1, 10, at(31)));
        (2..=5).for_each(|i| assert!(!walk.step(i, 10, at(30 + i as u64))));
        assert_eq!(walk.rate(at(35)), Some((1.0, 5.0)));
        // One of two steps, in which there is one of four.
        let mut walk = Walk::default();
        for outer in 0..2 {
            for inner in 1..=4 {
                walk.step(inner, 4, at(10 * outer + inner as u64));
                let known = (inner > 1).then(|| (1.0, (4 - inner) as f64));
                assert_eq!(walk.rate(at(10 * outer + inner as u64)), known);
            }
            assert!(walk.step(outer as usize + 1, 2, at(10 * outer + 5)));
        }
        assert_eq!(walk.rate(at(15)), Some((0.1, 0.0)));
    }
}
