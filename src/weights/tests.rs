use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType as CandleDType, Device, Tensor};
use proptest::prelude::*;

use super::*;
use crate::diagnostic::{Diagnostic, Severity, codes};
use crate::graph::program::{Weight, WeightSource};
use crate::shape::{DType, Type};
use crate::source::Span;

fn weight(path: &str, dtype: DType, shape: &[usize]) -> Weight {
    Weight {
        path: path.into(),
        ty: Type::of(dtype, shape),
        trainable: true,
        frozen: false,
        from: None,
        span: Span::default(),
    }
}

fn from(mut w: Weight, file: &str, root: &str) -> Weight {
    w.from = Some(WeightSource { file: file.into(), root: root.into(), layout: None });
    w
}

fn store() -> ParamStore {
    let t = |v: Vec<f32>, s: &[usize]| Tensor::from_vec(v, s, &Device::Cpu).unwrap();
    let mut store = ParamStore::new();
    store.insert("net.0.weight", t(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]));
    store.insert("net.0.bias", t(vec![0.5, -0.5], &[2]));
    let count = Tensor::from_vec(vec![7i64], 1, &Device::Cpu).unwrap();
    store.insert("net.count", count);
    store.insert("net.half", t(vec![0.25; 3], &[3]).to_dtype(CandleDType::BF16).unwrap());
    store.insert("net.mask", Tensor::from_vec(vec![1u8, 0, 1], 3, &Device::Cpu).unwrap());
    store
}

fn model() -> Vec<Weight> {
    vec![
        weight("net.0.weight", DType::F32, &[2, 3]),
        weight("net.0.bias", DType::F32, &[2]),
        weight("net.count", DType::I64, &[1]),
        weight("net.half", DType::BF16, &[3]),
        weight("net.mask", DType::Bool, &[3]),
    ]
}

fn saved(folder: &Path) -> PathBuf {
    let path = folder.join("model.safetensors");
    store().save(&path, &BTreeMap::new()).unwrap();
    path
}

fn found(diagnostics: &[Diagnostic]) -> Vec<&'static str> {
    diagnostics.iter().map(|d| d.code.0).collect()
}

#[test]
fn weights_read_back_and_bytes_are_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let first = std::fs::read(&path).unwrap();
    let notes = BTreeMap::from([("step".to_string(), "3".to_string()), ("a".into(), "b".into())]);
    store().save(&path, &notes).unwrap();
    let noted = std::fs::read(&path).unwrap();
    store().save(&path, &notes).unwrap();
    assert_eq!(noted, std::fs::read(&path).unwrap());
    assert_ne!(first, noted);
    assert_eq!(read_header(&path).unwrap().metadata["step"], "3");
    // The reference reader accepts the file.
    assert_eq!(::safetensors::SafeTensors::deserialize(&noted).unwrap().len(), 5);
    let (back, said) = load(&model(), &path, true, &Device::Cpu).unwrap();
    assert!(said.is_empty(), "{said:?}");
    for (name, tensor) in store().iter() {
        let read = back.get(name).unwrap();
        assert_eq!(read.dtype(), tensor.dtype());
        assert_eq!(crate::run::to_f64_vec(read).unwrap(), crate::run::to_f64_vec(tensor).unwrap());
    }
}

#[test]
fn a_file_is_compared_by_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let mut model = model();
    model[0] = weight("net.0.weight", DType::F32, &[3, 2]);
    model[1] = weight("net.0.biases", DType::F32, &[2]);
    model[2] = weight("net.count", DType::F32, &[1]);
    model[3] = weight("net.half", DType::F32, &[3]);
    let said = check(&model, &path, true);
    assert_eq!(found(&said), ["E0705", "E0703", "E0706", "E0706", "E0704"]);
    assert!(said[0].message.contains("is [2, 3] in") && said[0].message.ends_with("expected [3, 2]"));
    assert!(said[0].help.as_ref().unwrap().contains("reverse order"));
    assert!(said[1].help.as_ref().unwrap().contains("`net.0.bias`"));
    assert!(said[2].message.contains("is i64 in"), "{}", said[2].message);
    assert_eq!((said[3].severity, said[4].severity), (Severity::Info, Severity::Warning));
    assert!(load(&model, &path, true, &Device::Cpu).is_err());
    // A hundred missing weights are not a hundred messages.
    let many: Vec<Weight> = (0..100).map(|i| weight(&format!("other.{i}"), DType::F32, &[1])).collect();
    let said = check(&many, &path, true);
    assert_eq!(said.len(), 8 + 1 + 1);
    assert!(said[8].message.starts_with("92 more weights are missing"));
}

#[test]
fn real_numbers_are_converted() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let (back, said) = load(&[weight("net.half", DType::F32, &[3])], &path, true, &Device::Cpu).unwrap();
    assert_eq!(found(&said), ["E0706", "E0704"]);
    assert_eq!(back.get("net.half").unwrap().to_vec1::<f32>().unwrap(), [0.25; 3]);
}

#[test]
fn run_folders_prefer_the_average() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.ron"), "()").unwrap();
    let none = check(&model(), folder.path(), true);
    assert!(none[0].message.contains("holds no weights yet"));
    let newest = folder.path().join("checkpoints/step-20");
    for step in ["step-3", "step-20", "step-100.tmp"] {
        std::fs::create_dir_all(folder.path().join("checkpoints").join(step)).unwrap();
    }
    let files = |average| locate(&model(), folder.path(), average).unwrap()[0].files.clone();
    saved(&newest);
    assert_eq!(files(true), [newest.join("model.safetensors")]);
    let model = saved(folder.path());
    let ema = folder.path().join("ema.safetensors");
    store().save(&ema, &BTreeMap::new()).unwrap();
    assert_eq!(files(true), [ema]);
    assert_eq!(files(false), [model]);
}

#[test]
fn published_folders_and_shards() {
    let folder = tempfile::tempdir().unwrap();
    let unet = folder.path().join("unet");
    std::fs::create_dir(&unet).unwrap();
    let (a, b): (Vec<_>, Vec<_>) =
        store().iter().map(|(k, v)| (k.to_string(), v.clone())).partition(|(k, _)| k.contains(".0."));
    for (name, part) in [("m-1.safetensors", a), ("m-2.safetensors", b)] {
        part.into_iter().collect::<ParamStore>().save(&unet.join(name), &BTreeMap::new()).unwrap();
    }
    let index =
        r#"{"metadata": {}, "weight_map": {"net.0.bias": "m-1.safetensors", "net.half": "m-2.safetensors"}}"#;
    std::fs::write(unet.join("m.safetensors.index.json"), index).unwrap();
    let model: Vec<Weight> = model()
        .into_iter()
        .map(|w| Weight { path: format!("unet.{}", w.path), ..from(w, "unet/m.safetensors", "unet") })
        .collect();
    let (back, said) = load(&model, folder.path(), true, &Device::Cpu).unwrap();
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(back.len(), 5);
    assert!(back.get("unet.net.0.bias").is_some());
    // One published part by itself, and a folder that has it not.
    assert!(load(&model[..2], &unet.join("m-1.safetensors"), true, &Device::Cpu).is_ok());
    let elsewhere = vec![from(weight("vae.w", DType::F32, &[1]), "vae/d.safetensors", "vae")];
    assert!(check(&elsewhere, folder.path(), true)[0].message.contains("has no `vae/d.safetensors`"));
    let outside = vec![from(weight("vae.w", DType::F32, &[1]), "../d.safetensors", "vae")];
    assert!(check(&outside, folder.path(), true)[0].message.contains("leaves the weights folder"));
}

#[test]
fn layouts_rename() {
    let layout = Layout::parse(
        r#"(rename: [("down.*.block.*.conv.*", "down_blocks.*.resnets.*.conv1.*"), ("mid*.w", "m*")], ignore: ["betas*"])"#,
    )
    .unwrap();
    assert_eq!(layout.path("down.1.block.0.conv.bias").unwrap(), "down_blocks.1.resnets.0.conv1.bias");
    assert_eq!(layout.path("mid.w").unwrap(), "m");
    assert_eq!(layout.path("mid.a.w").unwrap(), "mid.a.w");
    assert_eq!(layout.path("other").unwrap(), "other");
    assert_eq!(layout.path("betas_cumprod"), None);
    assert!(Layout::parse("(rename: [(\"a\", \"b.*\")])").unwrap_err().message.contains("more `*`"));
    assert!(Layout::parse("(rename: 3)").is_err());
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    let message = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let d = read_header(&path).unwrap_err();
        assert_eq!(d.code, codes::WEIGHTS_NOT_SAFETENSORS);
        d.message
    };
    assert!(message(b"").contains("an empty file"));
    assert!(message(b"PK\x03\x04aaaaaaaaaaaaaaaaaaaaaa").contains("a zip archive"));
    assert!(message(b"<html>not found</html>").contains("an HTML page"));
    let mut lying = 90_000_000u64.to_le_bytes().to_vec();
    lying.extend(b"{\"a\":1}");
    assert!(message(&lying).contains("cut off"));
    let good = std::fs::read(saved(folder.path())).unwrap();
    assert!(message(&good[..good.len() - 1]).contains("it is cut off: its header tells of"));
    let header = r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#;
    let mut huge = (header.len() as u64).to_le_bytes().to_vec();
    huge.extend(header.as_bytes());
    huge.extend([0; 8]);
    assert!(message(&huge).contains("damaged"));
    assert_eq!(read_header(&folder.path().join("no")).unwrap_err().code, codes::WEIGHTS_UNREADABLE);
    assert_eq!(shipped(Path::new("pipelines/vae.taper")), Path::new("pipelines/vae.safetensors"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, value: u8) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let good = std::fs::read(saved(folder.path())).unwrap();
        let mut changed = good.clone();
        changed[at.index(good.len())] = value;
        let mut headed = (bytes.len() as u64).to_le_bytes().to_vec();
        headed.extend(&bytes);
        for candidate in [&bytes, &changed, &headed, &good[..at.index(good.len())].to_vec()] {
            std::fs::write(&path, candidate).unwrap();
            if let Ok(header) = read_header(&path) {
                for key in header.tensors.keys() {
                    let _ = header.read(key);
                }
            }
            let _ = check(&model(), &path, true);
        }
    }
}

#[test]
fn files_beside_a_pipeline_are_found_as_far_as_they_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("guide.taper");
    let part = |name: &str| from(weight(name, DType::F32, &[2, 3]), "part.safetensors", "part");
    let model = vec![part("part.net.0.weight"), weight("net.0.bias", DType::F32, &[2])];
    let paths = |own: bool| {
        let (store, _) = load_beside(&model, &file, own, &Device::Cpu).unwrap();
        store.iter().map(|(p, _)| p.to_string()).collect::<Vec<_>>()
    };
    assert!(paths(true).is_empty());
    store().save(&dir.path().join("part.safetensors"), &BTreeMap::new()).unwrap();
    assert_eq!(paths(true), ["part.net.0.weight"]);
    store().save(&dir.path().join("guide.safetensors"), &BTreeMap::new()).unwrap();
    assert_eq!(paths(true), ["net.0.bias", "part.net.0.weight"]);
    // A training begins its own weights anew.
    assert_eq!(paths(false), ["part.net.0.weight"]);
    // What is trained on from another file's weights is found in its own.
    let mut tuned = store();
    tuned.insert("part.net.0.weight", Tensor::zeros((2, 3), CandleDType::F32, &Device::Cpu).unwrap());
    tuned.save(&dir.path().join("guide.safetensors"), &BTreeMap::new()).unwrap();
    let (store, _) = load_beside(&model, &file, true, &Device::Cpu).unwrap();
    let sum = store.get("part.net.0.weight").unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
    assert_eq!(sum, 0.0);
}
