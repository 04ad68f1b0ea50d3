//! Figures: latencies in histograms, rounds with their spread. Knows nothing of where they come from.

mod histogram;
mod rounds;

pub use histogram::{Latencies, Percentiles, grouped, rounded};
pub use rounds::Spread;
