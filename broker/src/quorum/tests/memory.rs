//! Files in memory that lose power at a chosen operation, and can be looked at afterwards.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use crate::quorum::files::Files;

/// What the operation at which power goes off leaves behind.
#[derive(Clone, Copy, Debug)]
pub struct PowerCut {
    /// The operation, counted from 0.
    pub at: usize,
    /// Of a write, how many thousandths of its bytes; a replacement takes place from 500 on.
    pub done_thousandths: usize,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    operations: usize,
    cut: Option<PowerCut>,
    off: bool,
    available_bytes: Option<u64>,
}

/// The files. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles(Arc<Mutex<State>>);

impl MemoryFiles {
    /// Files whose power goes off.
    pub fn with_cut(&self, cut: PowerCut) -> Self {
        let files = self.0.lock().unwrap().files.clone();
        Self(Arc::new(Mutex::new(State { files, cut: Some(cut), ..State::default() })))
    }

    /// The same files after power has come back.
    pub fn restarted(&self) -> Self {
        let files = self.0.lock().unwrap().files.clone();
        Self(Arc::new(Mutex::new(State { files, ..State::default() })))
    }

    pub fn operations(&self) -> usize {
        self.0.lock().unwrap().operations
    }

    pub fn is_off(&self) -> bool {
        self.0.lock().unwrap().off
    }

    pub fn set_available_bytes(&self, bytes: Option<u64>) {
        self.0.lock().unwrap().available_bytes = bytes;
    }

    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.lock().unwrap().files.get_mut(name).expect("a file that is there"));
    }

    pub fn remove(&self, name: &str) {
        self.0.lock().unwrap().files.remove(name).expect("a file that is there");
    }

    pub fn size_bytes(&self, name: &str) -> usize {
        self.0.lock().unwrap().files.get(name).map_or(0, Vec::len)
    }

    /// Does an operation in full, in part or not at all.
    fn operate(&self, operation: impl FnOnce(&mut BTreeMap<String, Vec<u8>>, usize)) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.off {
            return Err(io::Error::other("power is off"));
        }
        let done = match state.cut {
            Some(cut) if cut.at == state.operations => {
                state.off = true;
                cut.done_thousandths
            }
            _ => 1000,
        };
        state.operations += 1;
        operation(&mut state.files, done);
        if state.off { Err(io::Error::other("power went off")) } else { Ok(()) }
    }
}

impl Files for MemoryFiles {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().files.get(name).cloned())
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.operate(|files, done| {
            if done >= 500 {
                files.insert(name.to_owned(), bytes.to_vec());
            }
        })
    }

    fn write(&mut self, name: &str, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.operate(|files, done| {
            let file = files.get_mut(name).expect("files are made by replacing them");
            let position = usize::try_from(position).unwrap();
            assert!(position <= file.len(), "no hole is written");
            file.truncate(position);
            file.extend_from_slice(&bytes[..bytes.len() * done / 1000]);
            // The file's size may have become durable without the bytes.
            if done % 2 == 1 {
                file.resize(position + bytes.len(), 0);
            }
        })
    }

    fn truncate(&mut self, name: &str, size_bytes: u64) -> io::Result<()> {
        self.operate(|files, done| {
            if done >= 500 {
                let file = files.get_mut(name).expect("only what is there is cut");
                file.truncate(usize::try_from(size_bytes).unwrap());
            }
        })
    }

    fn available_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().available_bytes.unwrap_or(u64::MAX >> 1))
    }
}
