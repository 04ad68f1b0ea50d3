//! The signals that stop a broker.
//!
//! SIGINT, SIGTERM and SIGHUP ask for a clean stop. The next one after the first ends the process at once, whatever the stop
//! is waiting for: that is a kill -9 with another name, and loses as little.

use std::mem::MaybeUninit;
use std::ptr;

use nix::sys::signal::{SigHandler, Signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::ExitCode;
use crate::startup::StartupError;

/// Heard from the moment this is made: before that they end the process as they please.
pub struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// None where the process was started to outlive its terminal (`nohup`).
    hangup: Option<tokio::signal::unix::Signal>,
}

impl StopSignals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listen() -> Result<Self, StartupError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                StartupError::new(ExitCode::Unexpected, format!("no signals can be heard: {error}"))
            })
        };
        let hangup = if is_ignored(Signal::SIGHUP) { None } else { Some(listen(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for one, and leaves the next one to the kernel.
    pub async fn told(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = hangup => Signal::SIGHUP,
        };
        for next in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            if next != Signal::SIGHUP || self.hangup.is_some() {
                // SAFETY: the default action runs no code of ours.
                let left = unsafe { nix::sys::signal::signal(next, SigHandler::SigDfl) };
                left.expect("these signals can be left to the kernel");
            }
        }
        tracing::info!(signal = %told, "stopping");
    }
}

/// Whether whoever started the process has had a signal ignored.
fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one into what it is given, which is large enough.
    let asked = unsafe { libc::sigaction(signal as libc::c_int, ptr::null(), action.as_mut_ptr()) };
    assert_eq!(asked, 0, "the signal is one");
    // SAFETY: zeroes are an action, and the kernel has written it.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}
