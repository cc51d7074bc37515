use std::fs;
use std::io::Write;

use super::super::npy::encode_npy;
use super::*;
use crate::media::Image;

fn idx(axes: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, axes.len() as u8];
    bytes.extend(axes.iter().flat_map(|a| a.to_be_bytes()));
    bytes.extend(body);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn png(path: &Path, channels: usize, height: usize, width: usize, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    Image::new(channels, height, width, vec![value; channels * height * width])
        .unwrap()
        .write_png(path)
        .unwrap();
}

fn array(shape: &[usize], data: ArrayData) -> Array {
    Array::new(shape.to_vec(), data).unwrap()
}

fn shapes(data: &Dataset) -> Vec<String> {
    data.fields()
        .iter()
        .map(|f| format!("{} {}{}", f.name, f.element, display_shape(&f.sample_shape)))
        .collect()
}

#[test]
fn mnist_folders_have_both_splits() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("train-images-idx3-ubyte.gz", &gzip(&idx(&[3, 2, 2], &(0..12).collect::<Vec<_>>())));
    write("train-labels-idx1-ubyte", &idx(&[3], &[7, 8, 9]));
    write("t10k-images.idx3-ubyte", &idx(&[1, 2, 2], &[1, 2, 3, 4]));
    let train = open(dir.path(), "train").unwrap();
    assert_eq!(shapes(&train), ["image u8[1, 2, 2]", "label i64[]"]);
    assert_eq!(
        train.get(&[2, 0], "image").unwrap(),
        array(&[2, 1, 2, 2], ArrayData::U8(vec![8, 9, 10, 11, 0, 1, 2, 3]))
    );
    assert_eq!(
        open(dir.path(), "train[1:]").unwrap().get(&[0], "label").unwrap().data,
        ArrayData::I64(vec![8])
    );
    assert_eq!(shapes(&open(dir.path(), "test").unwrap()), ["image u8[1, 2, 2]"]);
    let d = open(dir.path(), "validation").unwrap_err();
    assert_eq!((d.code, &d.notes[0][..]), (codes::DATA_SPLIT, "it has train, test"));
    write("train-labels-idx1-ubyte", &idx(&[2], &[7, 8]));
    let d = open(dir.path(), "train").unwrap_err();
    assert!(d.message.contains("`image` has 3 samples, `label` has 2"), "{}", d.message);
    write("train-labels-idx1-ubyte", &idx(&[3, 1], &[7, 8, 9]));
    assert_eq!(open(dir.path(), "train").unwrap_err().code, codes::DATA_SHAPE);
}

#[test]
fn the_parent_of_data_is_told_from_data() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("fashion-mnist");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("train-images-idx3-ubyte"), idx(&[1, 2, 2], &[1, 2, 3, 4])).unwrap();
    for split in ["train", "test"] {
        let d = open(dir.path(), split).unwrap_err();
        assert_eq!(d.code, codes::DATA_EMPTY);
        assert_eq!(d.help.unwrap(), format!("did you mean `{}`?", inner.display()));
    }
}

#[test]
fn damage_inside_is_found_when_read_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..4000).map(|i| crate::data::mix(i) as u8).collect();
    let zipped = gzip(&idx(&[1000, 2, 2], &noise));
    fs::write(dir.path().join("train-images-idx3-ubyte.gz"), &zipped[..zipped.len() - 100]).unwrap();
    let data = open(dir.path(), "train").unwrap();
    for _ in 0..2 {
        assert!(data.get(&[0], "image").unwrap_err().message.contains("its gzip stream ends early"));
    }
}

#[test]
fn image_folders_of_every_layout() {
    let dir = tempfile::tempdir().unwrap();
    let p = |s: &str| dir.path().join(s);
    for (name, value) in
        [("train/cat/1.png", 10), ("train/cat/2.png", 20), ("train/dog/1.png", 30), ("test/cat/1.png", 40)]
    {
        png(&p(name), 3, 2, 3, value);
    }
    let train = open(dir.path(), "train").unwrap();
    assert_eq!(shapes(&train), ["image u8[3, 2, 3]", "label i64[]"]);
    assert_eq!(train.classes().unwrap(), ["cat", "dog"]);
    assert_eq!(train.get(&[2], "image").unwrap().data, ArrayData::U8(vec![30; 18]));
    assert_eq!(open(dir.path(), "test").unwrap().len(), 1);
    assert_eq!(open(dir.path(), "val").unwrap_err().code, codes::DATA_SPLIT);
    let flat = open(&p("train/cat"), "train").unwrap();
    assert_eq!((flat.len(), shapes(&flat)), (2, vec!["image u8[3, 2, 3]".to_owned()]));
    let d = open(&p("train/cat"), "test").unwrap_err();
    assert!(d.help.unwrap().contains("train[90%:]"));
    assert!(flat.get(&[0], "label").unwrap_err().help.unwrap().contains("one folder per class"));
    png(&p("train/cat/0.png"), 3, 5, 5, 1);
    let mixed = open(&p("train/cat"), "train").unwrap();
    let d = mixed.get(&[0, 1], "image").unwrap_err();
    assert_eq!(d.code, codes::DATA_SHAPE);
    assert!(d.message.contains("1.png` is 2 × 3") && d.message.contains("0.png`, is 5 × 5"), "{}", d.message);
    let options = ReadOptions { size: Some((4, 4)), ..Default::default() };
    let resized = open_with(&p("train/cat"), "train", &options).unwrap();
    assert_eq!(resized.get(&[0, 1, 2], "image").unwrap().shape, [3, 3, 4, 4]);
    fs::write(p("train/cat/0.png"), "not an image").unwrap();
    let d = open(&p("train/cat"), "train").unwrap_err();
    assert_eq!(d.code, codes::IMAGE_UNREADABLE);
    assert!(d.message.contains("found text"), "{}", d.message);
}

#[test]
fn grey_folders_stay_grey() {
    let dir = tempfile::tempdir().unwrap();
    png(&dir.path().join("a.png"), 1, 2, 2, 5);
    assert_eq!(shapes(&open(dir.path(), "train").unwrap()), ["image u8[1, 2, 2]"]);
    png(&dir.path().join("b.png"), 3, 2, 2, 5);
    let both = open(dir.path(), "train").unwrap();
    assert_eq!(both.get(&[0, 1], "image").unwrap(), array(&[2, 3, 2, 2], ArrayData::U8(vec![5; 24])));
}

#[test]
fn captions_come_with_their_images() {
    let dir = tempfile::tempdir().unwrap();
    png(&dir.path().join("a.png"), 1, 2, 2, 5);
    png(&dir.path().join("b.png"), 1, 2, 2, 6);
    let table = "{\"file_name\":\"b.png\",\"text\":\"bee\",\"label\":4}\n{\"file_name\":\"a.png\",\"text\":\"ay\",\"label\":2}";
    fs::write(dir.path().join("metadata.jsonl"), table).unwrap();
    let data = open(dir.path(), "train").unwrap();
    assert_eq!(shapes(&data), ["image u8[1, 2, 2]", "label i64[]", "text text[]"]);
    assert_eq!(data.get(&[1, 0], "text").unwrap().data, ArrayData::Text(vec!["ay".into(), "bee".into()]));
    assert_eq!(data.get(&[0], "image").unwrap().data, ArrayData::U8(vec![6; 4]));
}

fn write_npz(path: &Path, entries: &[(&str, Array)]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, array) in entries {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&encode_npy(array).unwrap()).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn array_files_become_fields() {
    let dir = tempfile::tempdir().unwrap();
    let image = array(&[2, 2, 2], ArrayData::U8((0..8).collect()));
    let label = array(&[2], ArrayData::U8(vec![3, 4]));
    let z = array(&[2, 5], ArrayData::F32((0..10).map(|i| i as f32).collect()));
    let path = dir.path().join("train.npz");
    write_npz(&path, &[("image", image), ("label", label), ("z", z.clone())]);
    for data in [open(&path, "train").unwrap(), open(dir.path(), "train").unwrap()] {
        assert_eq!(shapes(&data), ["image u8[1, 2, 2]", "label i64[]", "z f32[5]"]);
        assert_eq!(data.get(&[1], "image").unwrap(), array(&[1, 1, 2, 2], ArrayData::U8(vec![4, 5, 6, 7])));
        assert_eq!(data.get(&[1, 0], "label").unwrap().data, ArrayData::I64(vec![4, 3]));
        assert_eq!(data.get(&[0, 1], "z").unwrap(), z);
    }
    assert_eq!(open(dir.path(), "test").unwrap_err().code, codes::DATA_SPLIT);
    let tensors = dir.path().join("points.safetensors");
    let bytes: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let view = ::safetensors::tensor::TensorView::new(::safetensors::Dtype::F32, vec![3, 2], &bytes).unwrap();
    fs::write(&tensors, ::safetensors::serialize([("x", view)], None).unwrap()).unwrap();
    let data = open(&tensors, "train[1:]").unwrap();
    assert_eq!(data.get(&[1], "x").unwrap(), array(&[1, 2], ArrayData::F32(vec![4.0, 5.0])));
    let npy = dir.path().join("x.npy");
    fs::write(&npy, encode_npy(&z).unwrap()).unwrap();
    assert_eq!(shapes(&open(&npy, "train").unwrap()), ["data f32[5]"]);
    fs::write(&npy, gzip(&idx(&[4], &[1, 2, 3, 4]))).unwrap();
    assert_eq!(shapes(&open(&npy, "train").unwrap()), ["label i64[]"], "the contents count, not the name");
}

#[test]
fn array_files_that_do_not_suit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    let fails = |entries: &[(&str, Array)]| {
        write_npz(&path, entries);
        let d = open(&path, "train").unwrap_err();
        assert_eq!(d.code, codes::DATA_SHAPE, "{}", d.message);
        (d.message, d.help.unwrap())
    };
    let last = array(&[1, 4, 4, 3], ArrayData::U8(vec![0; 48]));
    assert!(fails(&[("image", last)]).1.contains("transpose(0, 3, 1, 2)"));
    let scalar = array(&[], ArrayData::F32(vec![1.0]));
    assert!(fails(&[("x", scalar)]).0.contains("single number"));
    let two = |n: usize| array(&[n], ArrayData::F32(vec![0.0; n]));
    assert!(fails(&[("x", two(2)), ("y", two(3))]).0.contains("`x` has 2 samples, `y` has 3"));
    write_npz(&path, &[("x", two(0))]);
    assert_eq!(open(&path, "train").unwrap_err().code, codes::DATA_EMPTY);
}

#[test]
fn paths_that_are_no_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.npz");
    write_npz(&path, &[("x", array(&[1], ArrayData::U8(vec![1])))]);
    let d = open(&dir.path().join("trian.npz"), "train").unwrap_err();
    assert_eq!(d.code, codes::DATA_UNREADABLE);
    assert!(d.help.unwrap().contains("train.npz"));
    png(&dir.path().join("one.png"), 1, 2, 2, 0);
    assert!(
        open(&dir.path().join("one.png"), "train").unwrap_err().help.unwrap().contains("give its folder")
    );
    let other = dir.path().join("data.csv");
    fs::write(&other, "a,b\n1,2\n").unwrap();
    let d = open(&other, "train").unwrap_err();
    assert!(d.message.contains("found text") && d.help.unwrap().contains("numpy.savez"));
    fs::write(&other, "").unwrap();
    assert!(open(&other, "train").unwrap_err().message.contains("an empty file"));
    assert_eq!(open(&dir.path().join("../.."), "../etc").unwrap_err().code, codes::DATA_SPLIT);
}

#[test]
fn a_file_that_changes_after_opening_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    fs::write(&path, encode_npy(&array(&[4], ArrayData::F32(vec![0.0; 4]))).unwrap()).unwrap();
    let data = open(&path, "train").unwrap();
    fs::write(&path, encode_npy(&array(&[3], ArrayData::F32(vec![0.0; 3]))).unwrap()).unwrap();
    assert_eq!(data.get(&[3], "data").unwrap_err().code, codes::DATA_SHAPE);
}
