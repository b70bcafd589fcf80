//! Files below that the kernel passes through to by itself.

use std::fs::File;
use std::io;
use std::sync::Arc;

use firedrill_sys::fuse_ring;
use fuser::BackingId;

/// What the kernel knows such a file by, until this is dropped.
#[derive(Debug)]
pub(crate) enum Backing {
    /// Made by a session, and named in its replies.
    OfSession(BackingId),
    /// Made on the device, and written into replies that are passed on.
    OfDevice(Registered),
}

/// A file below that the kernel has been told of.
#[derive(Debug)]
pub(crate) struct Registered {
    device: Arc<File>,
    id: u32,
}

impl Backing {
    /// Tells the kernel of a file, by its device.
    pub(super) fn on_device(device: &Arc<File>, file: &File) -> io::Result<Self> {
        let id = BackingId::create_raw(device, file)?;
        Ok(Self::OfDevice(Registered { device: Arc::clone(device), id }))
    }

    /// What the kernel knows it by, if its reply is passed on.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Self::OfSession(_) => None,
            Self::OfDevice(registered) => Some(registered.id),
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // The kernel forgets it with the file system at the latest.
        drop(fuse_ring::forget_backing(&self.device, self.id));
    }
}
