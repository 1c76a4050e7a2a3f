//! All lookup tables, mapped into this process: writing a table of 65,521 slots is a copy, not 65,521 system calls.

use std::{
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use aya::maps::{Map, MapData};
use lb_common::layout::SLOTS_PER_CHUNK;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::Error;

const NAME: &str = "SLOTS";
const CHUNK_BYTES: u32 = SLOTS_PER_CHUNK * size_of::<u32>() as u32;

/// The `SLOTS` map in memory.
#[derive(Debug)]
pub struct Slots {
    memory: NonNull<AtomicU32>,
    length: usize,
    /// Keeps the map alive as long as the mapping.
    _map: MapData,
}

// SAFETY: the mapping belongs to this value alone and is only reached through atomics.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

impl Slots {
    /// Maps the map into memory.
    ///
    /// # Errors
    /// When it is not an array of whole chunks, or the kernel refuses to map it.
    pub fn map(map: Map) -> Result<Self, Error> {
        let wrong = || Error::Layout { name: NAME.to_owned() };
        let Map::Array(data) = map else {
            return Err(wrong());
        };
        let info = data.info().map_err(|source| Error::map(NAME, source))?;
        if info.value_size() != CHUNK_BYTES {
            return Err(wrong());
        }
        let length = info.max_entries() as usize * SLOTS_PER_CHUNK as usize;
        let bytes = (length * size_of::<AtomicU32>()).try_into().map_err(|_| wrong())?;
        // SAFETY: a new mapping at an address of the kernel's choice, of a map that was made to be mapped.
        let memory = unsafe {
            mmap(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, data.fd().as_fd(), 0)
        };
        let memory = memory.map_err(|errno| Error::MapMemory { name: NAME.to_owned(), source: errno.into() })?;
        Ok(Self { memory: memory.cast(), length, _map: data })
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Slots from `offset` on; `None` when they reach past the end.
    pub fn read(&self, offset: u32, length: u32) -> Option<Vec<u32>> {
        let slots = self.range(offset, length as usize)?;
        Some(slots.iter().map(|slot| slot.load(Ordering::Relaxed)).collect())
    }

    /// Writes slots from `offset` on; `None`, and nothing written, when they reach past the end.
    ///
    /// Everything written is visible to the datapath before whatever this thread does next.
    pub fn write(&self, offset: u32, slots: &[u32]) -> Option<()> {
        for (slot, value) in self.range(offset, slots.len())?.iter().zip(slots) {
            slot.store(*value, Ordering::Relaxed);
        }
        std::sync::atomic::fence(Ordering::SeqCst);
        Some(())
    }

    fn range(&self, offset: u32, length: usize) -> Option<&[AtomicU32]> {
        let offset = offset as usize;
        self.all().get(offset..offset.checked_add(length)?)
    }

    fn all(&self) -> &[AtomicU32] {
        // SAFETY: the mapping is that long, lives as long as `self`, and is page-aligned.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.length) }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length; no reference outlives `self`. It cannot fail for such a range.
        let _ = unsafe { munmap(self.memory.cast(), self.length * size_of::<AtomicU32>()) };
    }
}
