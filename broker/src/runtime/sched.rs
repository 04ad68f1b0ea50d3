//! The scheduler's slice of a shard's thread.
//!
//! Where a device has no FUA, a synced write is completed by a kernel worker on the core that took the interrupt.
//! A shard that is never asleep holds that worker off for one or two scheduler ticks, and so starves its own
//! syncs. A thread with a long slice is preempted by such a worker at once (EEVDF: a long slice means a late
//! deadline), and needs no privilege for it. The ring's own workers are threads of the shard's: they must not inherit the
//! long slice, or they wait for each other.

/// The slice asked for, in nanoseconds: the longest that the kernel takes.
const SLICE_NANOSECONDS: u64 = 100_000_000;

/// `SCHED_FLAG_RESET_ON_FORK`: threads that this one starts, the kernel's workers for its ring among them, begin with
/// the usual slice.
const RESET_ON_FORK: u64 = 1;

/// `struct sched_attr` of sched_setattr(2), first version: 48 bytes.
#[repr(C)]
#[derive(Default)]
struct SchedulingAttributes {
    size_bytes: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_nanoseconds: u64,
    deadline_nanoseconds: u64,
    period_nanoseconds: u64,
}

const _: () = assert!(size_of::<SchedulingAttributes>() == 48);

/// Asks for long slices for the calling thread. A kernel without EEVDF slices ignores the wish.
pub fn take_long_slices() {
    let attributes = SchedulingAttributes {
        size_bytes: 48,
        flags: RESET_ON_FORK,
        runtime_nanoseconds: SLICE_NANOSECONDS,
        ..Default::default()
    };
    // SAFETY: the structure outlives the call, has the layout and size that sched_setattr(2) wants, and thread 0 is
    // the caller.
    let outcome = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if outcome != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "the kernel grants no long scheduling slices");
    }
}
