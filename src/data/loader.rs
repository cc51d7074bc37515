//! Batches made ready off the training thread.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::array::Array;
use super::augment::Augment;
use super::column::FieldInfo;
use super::dataset::Dataset;
use super::order::BatchOrder;
use crate::diagnostic::{Diagnostic, codes};

/// How batches are made.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// The fields to read.
    pub fields: Vec<String>,
    /// Samples per batch.
    pub batch: usize,
    /// The seed of order and augmentation; the order is new for each epoch.
    pub seed: u64,
    /// Whether the order is shuffled at all.
    pub shuffle: bool,
    /// Whether an epoch's last batch is left out when it is not full.
    pub drop_last: bool,
    /// Changes to the field `image`.
    pub augment: Augment,
    /// The first step, counted from 0 over all epochs; a resumed run gives the steps done.
    pub start: u64,
    /// The step to end before; `None` goes on for ever.
    pub end: Option<u64>,
    /// Threads that make batches; 0 makes each when it is asked for.
    pub workers: usize,
    /// Batches kept ready, at least 1 with workers.
    pub prefetch: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        LoaderOptions {
            fields: Vec::new(),
            batch: 128,
            seed: 0,
            shuffle: true,
            drop_last: true,
            augment: Augment::default(),
            start: 0,
            end: None,
            workers: 1,
            prefetch: 4,
        }
    }
}

/// The samples of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Its step, counted from 0 over all epochs.
    pub step: u64,
    /// Its epoch, counted from 0.
    pub epoch: u64,
    /// Which samples it holds.
    pub indices: Vec<usize>,
    /// The fields asked for, by name: `[indices.len(), ..sample_shape]`.
    pub fields: BTreeMap<String, Array>,
}

/// An iterator over batches, in the order of steps. What it gives is a pure function of data, options and
/// step: the number of workers changes nothing but the time it takes.
///
/// After an error the loader goes on with the next step; whoever trains stops instead.
pub struct Loader {
    make: Arc<Maker>,
    next: u64,
    queue: Option<Arc<Queue>>,
    workers: Vec<JoinHandle<()>>,
}

impl Loader {
    /// A loader; its workers start at once.
    ///
    /// # Errors
    /// `E0804` for a field that the data has not, `E0806` when the augmentation does not suit, `E0803` and
    /// `E0901` when no batch can be made, `E0904` when the system gives no thread.
    pub fn new(data: Arc<Dataset>, options: LoaderOptions) -> Result<Loader, Diagnostic> {
        let shuffle = options.shuffle.then_some(options.seed);
        let order = BatchOrder::new(data.len(), options.batch, shuffle, options.drop_last)?;
        for field in &options.fields {
            options.augment.field(data.field(field)?)?;
        }
        let (workers, prefetch, next) = (options.workers, options.prefetch.max(1), options.start);
        let mut loader =
            Loader { make: Arc::new(Maker { data, options, order }), next, queue: None, workers: Vec::new() };
        if workers > 0 {
            let state = State { taken: next, given: next, ready: BTreeMap::new(), stop: false };
            let queue = Arc::new(Queue {
                state: Mutex::new(state),
                changed: Condvar::new(),
                prefetch: prefetch as u64,
            });
            loader.queue = Some(queue.clone());
            for i in 0..workers {
                let (make, queue) = (loader.make.clone(), queue.clone());
                let spawned =
                    std::thread::Builder::new().name(format!("data-{i}")).spawn(move || queue.work(&make));
                let handle = spawned.map_err(|e| {
                    Diagnostic::error(codes::INTERNAL, format!("cannot start a thread for data: {e}"))
                        .help("use fewer workers")
                })?;
                loader.workers.push(handle);
            }
        }
        Ok(loader)
    }

    /// What the fields of its batches are, without the batch axis.
    ///
    /// # Errors
    /// None beyond those of [`Loader::new`].
    pub fn fields(&self) -> Result<Vec<FieldInfo>, Diagnostic> {
        let options = &self.make.options;
        options.fields.iter().map(|f| options.augment.field(self.make.data.field(f)?)).collect()
    }

    /// Steps in one pass over the data.
    pub fn steps_per_epoch(&self) -> u64 {
        self.make.order.steps_per_epoch()
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, Diagnostic>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.next;
        if self.make.ended(step) {
            return None;
        }
        self.next += 1;
        Some(match &self.queue {
            Some(queue) => queue.take(step),
            None => self.make.batch(step),
        })
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.lock().stop = true;
            queue.changed.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker catches its own panics; there is nothing to hear from it.
            let _ = worker.join();
        }
    }
}

/// Makes any batch, from any thread.
struct Maker {
    data: Arc<Dataset>,
    options: LoaderOptions,
    order: BatchOrder,
}

impl Maker {
    fn ended(&self, step: u64) -> bool {
        self.options.end.is_some_and(|end| step >= end)
    }

    fn batch(&self, step: u64) -> Result<Batch, Diagnostic> {
        let caught = catch_unwind(AssertUnwindSafe(|| self.make(step)));
        caught.unwrap_or_else(|panic| {
            let why = panic.downcast_ref::<String>().cloned();
            let why =
                why.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
            Err(Diagnostic::error(
                codes::INTERNAL,
                format!("reading batch {step} of `{}` failed inside taper: {why}", self.data.name()),
            )
            .help("this is a mistake in taper; please report it with the data that causes it"))
        })
    }

    fn make(&self, step: u64) -> Result<Batch, Diagnostic> {
        let (epoch, indices) = (self.order.epoch(step), self.order.batch(step));
        let mut fields = BTreeMap::new();
        for name in &self.options.fields {
            let mut array = self.data.get(&indices, name)?;
            if name == "image" {
                array = self.options.augment.apply(array, &indices, self.options.seed, epoch)?;
            }
            fields.insert(name.clone(), array);
        }
        Ok(Batch { step, epoch, indices, fields })
    }
}

/// Batches between the workers and the consumer.
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    prefetch: u64,
}

struct State {
    /// The next step that a worker takes.
    taken: u64,
    /// The next step that the consumer gets; workers stay less than `prefetch` ahead of it.
    given: u64,
    ready: BTreeMap<u64, Result<Batch, Diagnostic>>,
    stop: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, make: &Maker) {
        loop {
            let mut state = self.lock();
            while !state.stop && !make.ended(state.taken) && state.taken >= state.given + self.prefetch {
                state = self.wait(state);
            }
            if state.stop || make.ended(state.taken) {
                return;
            }
            let step = state.taken;
            state.taken += 1;
            drop(state);
            let batch = make.batch(step);
            self.lock().ready.insert(step, batch);
            self.changed.notify_all();
        }
    }

    fn take(&self, step: u64) -> Result<Batch, Diagnostic> {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.ready.remove(&step) {
                state.given = step + 1;
                drop(state);
                self.changed.notify_all();
                return batch;
            }
            state = self.wait(state);
        }
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
