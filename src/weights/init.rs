//! First values of weights and states.

use std::collections::{BTreeSet, HashMap};

use candle_core::Device;

use super::ParamStore;
use crate::graph::Graph;
use crate::run::{RunError, RunOptions, Silent, execute};

/// The first values that `init` gives (as updates by path), all of them. The randomness of each weight is
/// keyed by the seed and its own place, so neither order nor selection changes a value.
///
/// # Errors
/// See [`execute()`].
pub fn initialise(init: &Graph, seed: u64, device: &Device) -> Result<ParamStore, RunError> {
    let mut store = ParamStore::new();
    initialise_into(&mut store, init, seed, device)?;
    Ok(store)
}

/// Adds the first values of what the store has not yet; `init` may read what it has.
///
/// # Errors
/// See [`execute()`].
pub fn initialise_into(
    store: &mut ParamStore,
    init: &Graph,
    seed: u64,
    device: &Device,
) -> Result<(), RunError> {
    let mut graph = init.clone();
    graph.updates.retain(|u| store.get(&u.name).is_none());
    if graph.updates.is_empty() {
        return Ok(());
    }
    let options = RunOptions { seed, device: device.clone(), check_finite: false, ..RunOptions::default() };
    let params = |path: &str| store.get(path).cloned();
    let out = execute(&graph, &HashMap::new(), &params, &options, &mut Silent)?;
    let mut seen = BTreeSet::new();
    for (path, tensor) in out.updates {
        let tensor = crate::run::own(&tensor).map_err(|e| RunError::internal(&path, &e))?;
        if seen.insert(path.clone()) {
            store.insert(path, tensor);
        }
    }
    Ok(())
}
