use super::super::array::{ArrayData, Element};
use super::super::augment::Crop;
use super::super::column::Column;
use super::*;

fn data(n: usize) -> Arc<Dataset> {
    let pixels = (0..n * 16).map(|i| (i * 31 % 256) as u8).collect();
    let image = Array::new(vec![n, 1, 4, 4], ArrayData::U8(pixels)).unwrap();
    let label = Array::new(vec![n], ArrayData::I64((0..n as i64).collect())).unwrap();
    let columns = vec![Column::loaded("image", image), Column::loaded("label", label)];
    Arc::new(Dataset::new("d".into(), columns, None).unwrap())
}

fn options(workers: usize) -> LoaderOptions {
    LoaderOptions {
        fields: vec!["image".into(), "label".into()],
        batch: 4,
        seed: 3,
        augment: Augment {
            flip: true,
            crop: Some(Crop { height: 4, width: 4, pad: 1, random: true }),
            ..Default::default()
        },
        end: Some(20),
        workers,
        ..Default::default()
    }
}

fn batches(options: LoaderOptions) -> Vec<Batch> {
    Loader::new(data(18), options).unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let alone = batches(options(0));
    assert_eq!(alone.len(), 20);
    for workers in [1, 3, 8] {
        for prefetch in [0, 1, 5] {
            assert_eq!(batches(LoaderOptions { prefetch, ..options(workers) }), alone);
        }
    }
    for batch in &alone {
        let labels: Vec<i64> = batch.indices.iter().map(|i| *i as i64).collect();
        assert_eq!(batch.fields["label"].data, ArrayData::I64(labels));
    }
}

#[test]
fn resuming_inside_an_epoch_equals_never_stopping() {
    let all = batches(options(2));
    for start in [1, 3, 4, 5, 13] {
        assert_eq!(batches(LoaderOptions { start, ..options(2) }), all[start as usize..]);
    }
}

#[test]
fn one_pass_without_shuffling_sees_each_sample_once() {
    let once = LoaderOptions { shuffle: false, drop_last: false, end: Some(5), ..options(2) };
    let seen: Vec<usize> = batches(once).into_iter().flat_map(|b| b.indices).collect();
    assert_eq!(seen, (0..18).collect::<Vec<_>>());
}

#[test]
fn a_worker_that_fails_or_panics_gives_an_error_at_its_step() {
    for panics in [false, true] {
        let load = move || -> Result<Array, Diagnostic> {
            if panics {
                // Without the hook's message on the terminal.
                std::panic::resume_unwind(Box::new("the disk caught fire".to_owned()));
            }
            Err(Diagnostic::error(codes::DATA_FORMAT, "the disk caught fire"))
        };
        let columns = vec![Column::array("x", Element::F32, &[10, 2], load)];
        let data = Arc::new(Dataset::new("d".into(), columns, None).unwrap());
        let options = LoaderOptions { fields: vec!["x".into()], batch: 2, workers: 2, ..Default::default() };
        let mut loader = Loader::new(data, options).unwrap();
        for _ in 0..3 {
            let d = loader.next().unwrap().unwrap_err();
            assert_eq!(d.code, if panics { codes::INTERNAL } else { codes::DATA_FORMAT });
            assert!(d.message.contains("the disk caught fire"), "{}", d.message);
        }
    }
}

#[test]
fn workers_stay_within_the_queue_and_end_when_dropped() {
    let mut loader = Loader::new(data(1000), LoaderOptions { end: None, prefetch: 3, ..options(4) }).unwrap();
    let queue = loader.queue.clone().unwrap();
    for _ in 0..50 {
        loader.next().unwrap().unwrap();
        let state = queue.lock();
        assert!(state.ready.len() <= 3 && state.taken <= state.given + 3);
    }
    drop(loader);
    assert_eq!(Arc::strong_count(&queue), 1, "all workers are gone");
}

#[test]
fn what_cannot_be_loaded_is_said_at_once() {
    let code = |options| Loader::new(data(18), options).err().unwrap().code;
    assert_eq!(code(LoaderOptions { fields: vec!["labels".into()], ..options(1) }), codes::DATA_FIELD);
    assert_eq!(code(LoaderOptions { batch: 19, ..options(1) }), codes::DATA_EMPTY);
    assert_eq!(code(LoaderOptions { batch: 0, ..options(1) }), codes::BAD_FLAG);
    let crop = Some(Crop { height: 9, width: 9, pad: 0, random: false });
    assert_eq!(
        code(LoaderOptions { augment: Augment { crop, ..Default::default() }, ..options(1) }),
        codes::DATA_SHAPE
    );
    let loader = Loader::new(data(18), options(0)).unwrap();
    assert_eq!(loader.steps_per_epoch(), 4);
    assert_eq!(loader.fields().unwrap()[0].sample_shape, [1, 4, 4]);
}
