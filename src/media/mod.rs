//! Images, sample grids, animations, plots: what a run reads and shows.
//!
//! Everything is made in memory and written with [`crate::fs::write_atomic`]; nothing here prints or
//! knows of tensors: pixels come in as plain slices.

mod canvas;
mod gif;
mod grid;
mod image;
mod plot;
mod read;
pub(crate) mod sniff;
pub mod table;

pub use self::gif::{Animation, encode_gif, write_gif};
pub use self::grid::{GridShape, grid, grid_f32, signed_to_unit, unit_to_u8};
pub use self::image::{Filter, Fit, Image};
pub use self::plot::{Line, Panel, plot_curves, write_curves};
pub use self::read::{ImageHeader, ReadOptions, decode_image, read_header, read_image};
