//! What every glommio executor of ours needs, a shard's or a client's: events of one core ([`Signal`]), moments ([`sleep`],
//! [`before`]), the nudge without which an executor may sleep on tasks that are ready ([`keep_nudged`]), and enough of the
//! kernel's workers for its rings ([`allow_ring_workers`]); an executor for a thread that has none ([`run`]); and how a
//! process that has nobody to tell it so hears that it should end ([`interrupt`]).

pub mod interrupt;
mod moment;
mod nudge;
mod run;
mod signal;
mod workers;

pub use moment::{before, sleep};
pub use nudge::keep_nudged;
pub use run::run;
pub use signal::{Signal, Wait};
pub use workers::allow_ring_workers;
