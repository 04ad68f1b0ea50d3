//! The process's allocator, told to keep freed memory for a while, and the system, told to give it in small pages.
//!
//! mimalloc gives memory back to the system a second after it was freed. A broker under load needs it again soon, and then
//! pays a page fault and a clearing for each page, on a shard's thread: up to half of its time where the memory is a virtual
//! machine's. After a minute it is not needed, and the system gets it.
//!
//! A huge page is cleared in one go when it is first touched: 0.1 ms at best, and 10 ms where a virtual machine's host has
//! to find it. A shard's thread does nothing else meanwhile (see the decision record on huge pages).

use std::ffi::{c_int, c_long};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` in mimalloc's table of options: how long freed memory is kept, in milliseconds.
const PURGE_DELAY: c_int = 15;
/// What it is unless the environment says otherwise (`MIMALLOC_PURGE_DELAY`); proof of the place in the table too.
const PURGE_DELAY_DEFAULT: c_long = 1000;
const A_MINUTE: c_long = 60_000;

unsafe extern "C" {
    fn mi_option_get(option: c_int) -> c_long;
    fn mi_option_set(option: c_int, value: c_long);
}

/// Keeps freed memory for a minute, unless the environment has chosen.
pub fn keep_memory() {
    // SAFETY: both functions only look up an entry of mimalloc's own table, and check the index that they are given.
    unsafe {
        if mi_option_get(PURGE_DELAY) == PURGE_DELAY_DEFAULT {
            mi_option_set(PURGE_DELAY, A_MINUTE);
        }
    }
}

/// Takes no transparent huge pages. A kernel that has none, or may not be asked, is as good.
pub fn take_small_pages() {
    // SAFETY: the call is given four numbers and no memory of ours.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In one test, since there is one table for the process.
    #[test]
    fn freed_memory_is_kept_for_a_minute_unless_somebody_has_chosen() {
        // SAFETY: as in `keep_memory`.
        let get = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(get(), PURGE_DELAY_DEFAULT, "the place in the table, without MIMALLOC_PURGE_DELAY");
        keep_memory();
        assert_eq!(get(), A_MINUTE);
        // SAFETY: as in `keep_memory`.
        unsafe { mi_option_set(PURGE_DELAY, 7) };
        keep_memory();
        assert_eq!(get(), 7);
    }
}
