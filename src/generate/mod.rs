//! Test orders and purchase events, as data: the same seed gives the same ones, on any machine. No I/O.

mod orders;
pub mod purchases;
mod random;

pub use orders::{Order, Plan, orders};
