//! Data that is built in, so that a pipeline trains with nothing to download.

use super::bytes::Bytes;
use super::dataset::Dataset;
use super::open::idx_dataset;
use super::split::Split;
use crate::diagnostic::{Diagnostic, codes, did_you_mean};

/// The 10,000 images of Fashion-MNIST's test split, © Zalando SE, MIT licence; see
/// `pipelines/data/fashion-mnist`.
static IMAGES: &[u8] = include_bytes!("../../pipelines/data/fashion-mnist/t10k-images-idx3-ubyte.gz");
static LABELS: &[u8] = include_bytes!("../../pipelines/data/fashion-mnist/t10k-labels-idx1-ubyte.gz");

const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// The names that [`embedded`] knows.
pub const EMBEDDED: &[&str] = &["fashion_mnist"];

/// Opens built-in data.
///
/// `fashion_mnist` has one split, `train`: the 10,000 images of the published *test* split. There is no
/// built-in `test`, since it could only be the images trained on; `train[:9000]` and `train[9000:]` divide
/// them, and `--data` gives the full set, whose `train` and `test` are the published ones.
///
/// # Errors
/// `E0801` for another name, `E0807` for another split, `E0803` for an empty range.
pub fn embedded(name: &str, split: &str) -> Result<Dataset, Diagnostic> {
    let split = Split::parse(split)?;
    if !EMBEDDED.contains(&name) {
        let d = Diagnostic::error(
            codes::DATA_UNREADABLE,
            format!("the data `{name}` is not built in, and no path to it is given"),
        )
        .note(format!("built in: {}", EMBEDDED.join(", ")));
        return Err(match did_you_mean(name, EMBEDDED.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d.help("say where it is: `--data PATH`"),
        });
    }
    if split.name != "train" {
        return Err(Diagnostic::error(
            codes::DATA_SPLIT,
            format!("the built-in `{name}` has no split `{}`: its 10,000 images are `train`", split.name),
        )
        .note("the full set is https://github.com/zalandoresearch/fashion-mnist, or Debian's package dataset-fashion-mnist")
        .help(
            "give the full set, `--data /usr/share/datasets/fashion-mnist`, or hold a part back: \
             \"train[:9000]\" to train with, \"train[9000:]\" to test with",
        ));
    }
    let images = Bytes::Static("built-in fashion_mnist images", IMAGES);
    let labels = Bytes::Static("built-in fashion_mnist labels", LABELS);
    let classes = CLASSES.map(String::from).to_vec();
    idx_dataset(name.to_owned(), images, Some(labels), Some(classes))?.narrowed(&split)
}

#[cfg(test)]
mod tests {
    use super::super::array::{ArrayData, Element};
    use super::*;

    #[test]
    fn ten_thousand_garments_are_there() {
        let data = embedded("fashion_mnist", "train").unwrap();
        assert_eq!(data.len(), 10_000);
        let fields = data.fields();
        assert_eq!((fields[0].element, &fields[0].sample_shape[..]), (Element::U8, &[1, 28, 28][..]));
        assert_eq!((fields[1].element, &fields[1].sample_shape[..]), (Element::I64, &[][..]));
        let all: Vec<usize> = (0..10_000).collect();
        let ArrayData::I64(labels) = data.get(&all, "label").unwrap().data else { panic!("labels are i64") };
        for class in 0..10 {
            assert_eq!(labels.iter().filter(|l| **l == class).count(), 1000);
        }
        let images = data.get(&all, "image").unwrap();
        let ArrayData::U8(pixels) = images.data else { panic!("images are u8") };
        // The mean that the field quotes for the whole set is 0.2860; the test split's is 0.2868.
        let mean = pixels.iter().map(|p| f64::from(*p)).sum::<f64>() / pixels.len() as f64 / 255.0;
        assert!((mean - 0.2868).abs() < 5e-5, "{mean}");
        assert_eq!(data.classes().unwrap()[labels[0] as usize], "Ankle boot");
    }

    #[test]
    fn parts_are_views_of_the_whole() {
        let whole = embedded("fashion_mnist", "train").unwrap();
        let part = embedded("fashion_mnist", "train[9000:]").unwrap();
        assert_eq!(part.len(), 1000);
        assert_eq!(part.get(&[5], "image").unwrap(), whole.get(&[9005], "image").unwrap());
        assert_eq!(part.get(&[1000], "image").unwrap_err().code, codes::INTERNAL);
    }

    #[test]
    fn what_is_missing_is_said() {
        let d = embedded("fashion_mnist", "test").unwrap_err();
        assert_eq!(d.code, codes::DATA_SPLIT);
        assert!(d.help.unwrap().contains("--data") && d.notes[0].contains("dataset-fashion-mnist"));
        assert_eq!(
            embedded("fashion_mnits", "train").unwrap_err().help.unwrap(),
            "did you mean `fashion_mnist`?"
        );
        assert_eq!(embedded("fashion_mnist", "train[10000:]").unwrap_err().code, codes::DATA_EMPTY);
        let d = embedded("fashion_mnist", "train").unwrap().get(&[0], "lable").unwrap_err();
        assert_eq!((d.code, d.help.unwrap()), (codes::DATA_FIELD, "did you mean `label`?".into()));
    }
}
