//! Ctrl-C and SIGTERM ask a process that goes on and on to end; a second one ends it.
//!
//! Noted, and nothing else: who goes on and on looks at [`was_asked`] and finishes what is under way. One note for the whole
//! process. For programs that have no other handler of these signals.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
}

/// From now on both are noted.
///
/// # Panics
/// The system does not let a process handle these signals.
pub fn install() {
    let flags = SaFlags::SA_RESETHAND | SaFlags::SA_RESTART;
    let action = SigAction::new(SigHandler::Handler(note), flags, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler stores to an atomic and does nothing else.
        let installed = unsafe { sigaction(signal, &action) };
        assert!(installed.is_ok(), "these signals can be handled");
    }
}

/// Whether somebody asked to end.
pub fn was_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
