//! Ctrl-C and SIGTERM ask a command that goes on and on to end: what is under way is finished. A second one ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
}

/// From now on both are noted.
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
