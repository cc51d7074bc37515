//! Which samples make up which batch: a pure function of seed, epoch and step.

use std::sync::{Arc, Mutex};

use crate::diagnostic::{Diagnostic, codes};

/// SplitMix64's output function (Steele, Lea and Flood 2014): a bijection of 64 bits that mixes well.
pub fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in `0..n` (0 when `n` is 0), by multiplication; its bias is below `n` / 2⁶⁴.
pub(crate) fn below(bits: u64, n: u64) -> u64 {
    ((u128::from(bits) * u128::from(n)) >> 64) as u64
}

/// The numbers `0..len` in an order keyed by `(seed, epoch)`: Fisher and Yates' shuffle, whose draws are
/// a counter through [`mix`].
pub fn permutation(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let key = mix(mix(seed) ^ epoch);
    let mut order: Vec<usize> = (0..len).collect();
    for i in (1..len).rev() {
        let j = below(mix(key.wrapping_add(i as u64)), i as u64 + 1) as usize;
        order.swap(i, j);
    }
    order
}

/// The order in which batches take the samples of a data set. Its only state is the step number, so
/// that a resumed run continues in the middle of an epoch as if it had never stopped.
#[derive(Debug)]
pub struct BatchOrder {
    len: usize,
    batch: usize,
    shuffle: Option<u64>,
    drop_last: bool,
    /// The last epoch's permutation, kept because consecutive steps share it.
    cached: Mutex<Option<(u64, Arc<Vec<usize>>)>>,
}

impl BatchOrder {
    /// Batches of `batch` samples out of `len`; `shuffle` gives the seed of a new order for each epoch,
    /// `None` keeps the stored one. `drop_last` leaves out an epoch's last batch when it is not full.
    ///
    /// # Errors
    /// `E0803` when there is no sample, or fewer than one full batch with `drop_last`; `E0901` when
    /// `batch` is 0.
    pub fn new(len: usize, batch: usize, shuffle: Option<u64>, drop_last: bool) -> Result<Self, Diagnostic> {
        if batch == 0 {
            return Err(Diagnostic::error(codes::BAD_FLAG, "a batch must hold at least 1 sample, found 0")
                .help("give `--batch 128`, or another number above 0"));
        }
        if len == 0 {
            return Err(Diagnostic::error(
                codes::DATA_EMPTY,
                "the data holds no samples; at least 1 was expected",
            )
            .help("check the folder and the split's range"));
        }
        if drop_last && len < batch {
            return Err(Diagnostic::error(
                codes::DATA_EMPTY,
                format!("the data holds {len} samples, fewer than one batch of {batch}"),
            )
            .help(format!("use `--batch {len}` or less, or more data")));
        }
        Ok(BatchOrder { len, batch, shuffle, drop_last, cached: Mutex::new(None) })
    }

    /// Steps in one pass over the data.
    pub fn steps_per_epoch(&self) -> u64 {
        let steps = if self.drop_last { self.len / self.batch } else { self.len.div_ceil(self.batch) };
        steps as u64
    }

    /// The epoch of a step, both counted from 0.
    pub fn epoch(&self, step: u64) -> u64 {
        step / self.steps_per_epoch()
    }

    /// The samples of the batch at a step, counted from 0 over all epochs.
    pub fn batch(&self, step: u64) -> Vec<usize> {
        let (epoch, within) = (self.epoch(step), (step % self.steps_per_epoch()) as usize);
        let range = within * self.batch..((within + 1) * self.batch).min(self.len);
        match self.shuffle {
            None => range.collect(),
            Some(seed) => self.order(seed, epoch)[range].to_vec(),
        }
    }

    fn order(&self, seed: u64, epoch: u64) -> Arc<Vec<usize>> {
        // The cache holds no half-made state, so a poisoned lock is as good as another.
        let mut cached = self.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*cached {
            Some((of, order)) if *of == epoch => order.clone(),
            _ => {
                let order = Arc::new(permutation(self.len, seed, epoch));
                *cached = Some((epoch, order.clone()));
                order
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_permutation_holds_every_number_once(len in 0usize..400, seed: u64, epoch: u64) {
            let mut order = permutation(len, seed, epoch);
            prop_assert_eq!(&order, &permutation(len, seed, epoch));
            order.sort_unstable();
            prop_assert_eq!(order, (0..len).collect::<Vec<_>>());
        }

        #[test]
        fn an_epoch_holds_every_sample_once(len in 1usize..200, batch in 1usize..50, seed: u64, epoch in 0u64..5) {
            let order = BatchOrder::new(len, batch, Some(seed), false).unwrap();
            let steps = order.steps_per_epoch();
            let mut seen: Vec<usize> = (0..steps).flat_map(|s| order.batch(epoch * steps + s)).collect();
            prop_assert_eq!(seen.len(), len);
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..len).collect::<Vec<_>>());
        }

        #[test]
        fn resuming_anywhere_equals_never_stopping(len in 8usize..100, seed: u64, stop in 0u64..60) {
            let whole = BatchOrder::new(len, 8, Some(seed), true).unwrap();
            let all: Vec<Vec<usize>> = (0..60).map(|s| whole.batch(s)).collect();
            let resumed = BatchOrder::new(len, 8, Some(seed), true).unwrap();
            for step in stop..60 {
                prop_assert_eq!(&resumed.batch(step), &all[step as usize]);
            }
        }
    }

    #[test]
    fn epochs_and_seeds_differ_and_places_are_even() {
        assert_ne!(permutation(100, 1, 0), permutation(100, 1, 1));
        assert_ne!(permutation(100, 1, 0), permutation(100, 2, 0));
        let mut first = [0u32; 10];
        for epoch in 0..20_000 {
            first[permutation(10, 7, epoch)[0]] += 1;
        }
        // 2000 expected in each, standard deviation 42.
        assert!(first.iter().all(|n| n.abs_diff(2000) < 210), "{first:?}");
    }

    #[test]
    fn the_order_is_fixed_for_ever() {
        // A run resumed by a later version must see the same batches. Both from a Python transcript of
        // the published algorithms.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(permutation(10, 0, 0), [7, 5, 1, 6, 8, 4, 3, 2, 0, 9]);
    }

    #[test]
    fn impossible_batches_are_explained() {
        let code = |r: Result<BatchOrder, Diagnostic>| r.unwrap_err().code;
        assert_eq!(code(BatchOrder::new(10, 0, None, true)), codes::BAD_FLAG);
        assert_eq!(code(BatchOrder::new(0, 4, None, false)), codes::DATA_EMPTY);
        let d = BatchOrder::new(100, 128, None, true).unwrap_err();
        assert!(d.help.unwrap().contains("--batch 100"));
        assert_eq!(BatchOrder::new(100, 128, None, false).unwrap().steps_per_epoch(), 1);
    }

    #[test]
    fn without_shuffling_the_stored_order_stays() {
        let order = BatchOrder::new(5, 2, None, false).unwrap();
        assert_eq!(
            [order.batch(0), order.batch(1), order.batch(2), order.batch(3)],
            [vec![0, 1], vec![2, 3], vec![4], vec![0, 1]]
        );
    }
}
