//! Whether this process may have an io_uring, tried by making one.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::StartupError;
use crate::exit::ExitCode;
use crate::limits::RING_DEPTH;

/// Bytes of the kernel's `struct io_uring_params`.
const PARAMETERS_BYTES: usize = 120;
/// Where its `features` stand: after sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle.
const FEATURES_WORD: usize = 5;
/// `IORING_FEAT_RSRC_TAGS`, the last feature before the oldest long-lived kernel that is supported (5.13, for 5.15).
const FEATURE_RESOURCE_TAGS: u32 = 1 << 10;

/// Makes a ring as a shard would, and gives it back.
pub(super) fn check() -> Result<(), StartupError> {
    let depth = u32::try_from(RING_DEPTH).expect("a ring's depth is small");
    match set_up(depth) {
        Ok(features) if features & FEATURE_RESOURCE_TAGS == 0 => Err(StartupError::new(
            ExitCode::IoUring,
            "the kernel's io_uring is too old: Linux 5.15 or newer is needed",
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(refusal(&error, has_seccomp_filter(), disabled_by_sysctl())),
    }
}

/// Makes a ring and answers what it can.
fn set_up(depth: u32) -> io::Result<u32> {
    let mut parameters = [0_u32; PARAMETERS_BYTES / 4];
    // SAFETY: the kernel reads and writes the 120 bytes of the parameters, which live for the whole call.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, depth, parameters.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = RawFd::try_from(result).expect("descriptors are ints");
    // SAFETY: the kernel has just made this descriptor for us alone; dropping it closes it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(parameters[FEATURES_WORD])
}

/// Who refused, and what to do about it.
pub(super) fn refusal(error: &io::Error, seccomp: bool, disabled: bool) -> StartupError {
    let memory = || {
        let message = "io_uring got no memory: raise memlock (ulimit -Hl, LimitMEMLOCK= in a systemd unit, \
             docker run --ulimit memlock=) or run fewer shards";
        StartupError::new(ExitCode::LockedMemory, message)
    };
    let remedy = match error.raw_os_error() {
        Some(libc::ENOMEM) => return memory(),
        Some(libc::EPERM) if disabled => {
            "kernel.io_uring_disabled forbids it: sysctl -w kernel.io_uring_disabled=0"
        }
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) if seccomp => {
            "a seccomp profile forbids it: allow io_uring_setup, io_uring_enter and io_uring_register \
             (docker run --security-opt seccomp=FILE with the profile in docs/operations.md)"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "a security module of the kernel forbids it: allow it for this program"
        }
        Some(libc::ENOSYS) => "this kernel has none: Linux 5.15 or newer, built with it, is needed",
        Some(libc::EMFILE | libc::ENFILE) => "no file may be opened any more: raise nofile",
        _ => "the kernel refuses a ring",
    };
    StartupError::new(ExitCode::IoUring, format!("io_uring can't be used ({error}): {remedy}"))
}

fn has_seccomp_filter() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

fn disabled_by_sysctl() -> bool {
    let value = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    matches!(value.trim(), "1" | "2")
}
