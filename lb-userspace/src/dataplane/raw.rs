//! Kernel maps by their bytes: for layouts that this build has no types for.
//!
//! aya knows the sizes of keys and values when it is compiled; here they are the map's own. Nothing is understood of what
//! is read and written.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use aya::{
    maps::{MapData, MapError, MapInfo},
    sys::SyscallError,
};

use super::{Error, error::errno};

/// Kinds of maps, by their numbers in the kernel (linux/bpf.h).
pub mod kind {
    /// `BPF_MAP_TYPE_HASH`.
    pub const HASH: u32 = 1;
    /// `BPF_MAP_TYPE_ARRAY`.
    pub const ARRAY: u32 = 2;
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    pub const PER_CPU_ARRAY: u32 = 6;
    /// `BPF_MAP_TYPE_LRU_HASH`.
    pub const LRU_HASH: u32 = 9;
    /// `BPF_MAP_TYPE_LPM_TRIE`.
    pub const LPM_TRIE: u32 = 11;
    /// `BPF_MAP_TYPE_RINGBUF`.
    pub const RING_BUFFER: u32 = 27;
}

/// Commands of the system call (linux/bpf.h, `enum bpf_cmd`).
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_LOOKUP_BATCH: libc::c_long = 24;
/// Flags of an update (linux/bpf.h).
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
/// Elements that are fetched at a time; a hash map's bucket is never that large.
const BATCH: u32 = 1024;
/// Room for where a batch ended: a bucket's number, or a key (of a trie, with the length of its prefix).
const POSITION_BYTES: usize = 512;

/// What a map is, as the kernel has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// One of [`kind`].
    pub kind: u32,
    /// Flags that it was made with.
    pub flags: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value; of one CPU's, where each has its own.
    pub value_bytes: u32,
    /// Most elements.
    pub entries: u32,
}

/// A map.
#[derive(Debug)]
pub struct RawMap {
    name: String,
    id: u32,
    shape: Shape,
    data: MapData,
    /// Bytes of a value as the system call carries it.
    step: usize,
}

/// What became of an element that was to be put in a map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Put {
    /// It is there now.
    Done,
    /// Its key was there already, and what was there stays.
    WasThere,
    /// There is no room, or no such index.
    Full,
}

#[repr(C)]
#[derive(Default)]
struct CreateAttributes {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; 16],
}

#[repr(C)]
struct ElementAttributes {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct BatchAttributes {
    in_position: u64,
    out_position: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

impl RawMap {
    /// Opens a pinned map.
    ///
    /// # Errors
    /// When there is none, or it may not be opened.
    pub fn open(directory: &Path, name: &str) -> Result<Self, Error> {
        let data = MapData::from_pin(directory.join(name)).map_err(|source| Error::map(name, source))?;
        Self::new(name, data)
    }

    /// Makes a map and pins it. `name` has at most 15 bytes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(directory: &Path, name: &str, shape: Shape) -> Result<Self, Error> {
        let mut attributes = CreateAttributes {
            kind: shape.kind,
            key_size: shape.key_bytes,
            value_size: shape.value_bytes,
            max_entries: shape.entries,
            flags: shape.flags,
            ..CreateAttributes::default()
        };
        for (to, from) in attributes.name.iter_mut().take(15).zip(name.as_bytes()) {
            *to = *from;
        }
        let number = call(MAP_CREATE, &mut attributes).map_err(|error| failure(name, "BPF_MAP_CREATE", error))?;
        let number = i32::try_from(number).map_err(|_| Error::Layout { name: name.to_owned() })?;
        // SAFETY: the kernel just gave this number to us, and nobody else knows of it.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        let data = MapData::from_fd(fd).map_err(|source| Error::map(name, source))?;
        data.pin(directory.join(name)).map_err(|error| Error::map(name, MapError::PinError { name: None, error }))?;
        Self::new(name, data)
    }

    fn new(name: &str, data: MapData) -> Result<Self, Error> {
        let info: MapInfo = data.info().map_err(|source| Error::map(name, source))?;
        let kind = info.map_type().map_err(|source| Error::map(name, source))? as u32;
        let shape = Shape {
            kind,
            flags: info.map_flags(),
            key_bytes: info.key_size(),
            value_bytes: info.value_size(),
            entries: info.max_entries(),
        };
        let step =
            if kind == kind::PER_CPU_ARRAY { cpu_step(&shape) * cpus(name)? } else { shape.value_bytes as usize };
        Ok(Self { name: name.to_owned(), id: info.id(), shape, data, step })
    }

    /// What it is pinned as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's number of it, which no other map has.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it is.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Pins the very same map in another directory.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pin(&self, directory: &Path) -> Result<(), Error> {
        let pinned = self.data.pin(directory.join(&self.name));
        pinned.map_err(|error| Error::map(&self.name, MapError::PinError { name: None, error }))
    }

    /// Hands every element out: its key and its value. With CPUs that have each their own, the value is all of theirs, one
    /// after the other ([`cpu_step`]). What is put in meanwhile may be left out; what is there throughout is not.
    ///
    /// # Errors
    /// When it cannot be read, and those of `each`.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let key_bytes = self.shape.key_bytes as usize;
        let mut keys = vec![0_u8; key_bytes * BATCH as usize];
        let mut values = vec![0_u8; self.step * BATCH as usize];
        let mut position: Option<[u8; POSITION_BYTES]> = None;
        loop {
            let mut next = [0_u8; POSITION_BYTES];
            let mut attributes = BatchAttributes {
                in_position: position.as_ref().map_or(0, |position| position.as_ptr() as u64),
                out_position: next.as_mut_ptr() as u64,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: BATCH,
                map: self.number(),
                element_flags: 0,
                flags: 0,
            };
            let is_end = match call(MAP_LOOKUP_BATCH, &mut attributes) {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error) => return Err(failure(&self.name, "BPF_MAP_LOOKUP_BATCH", error)),
            };
            let found = attributes.count as usize;
            for (key, value) in keys.chunks_exact(key_bytes).zip(values.chunks_exact(self.step)).take(found) {
                each(key, value)?;
            }
            if is_end {
                return Ok(());
            }
            position = Some(next);
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut value = vec![0_u8; self.step];
        match self.element(MAP_LOOKUP_ELEM, key, value.as_mut_ptr() as u64, BPF_ANY) {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(failure(&self.name, "BPF_MAP_LOOKUP_ELEM", error)),
        }
    }

    /// Puts an element in; only where there is none of its key, when it must be new.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than those that [`Put`] names, or the sizes are not the map's.
    pub fn put(&self, key: &[u8], value: &[u8], must_be_new: bool) -> Result<Put, Error> {
        if value.len() != self.step {
            return Err(Error::Layout { name: self.name.clone() });
        }
        let flags = if must_be_new { BPF_NOEXIST } else { BPF_ANY };
        match self.element(MAP_UPDATE_ELEM, key, value.as_ptr() as u64, flags) {
            Ok(_) => Ok(Put::Done),
            Err(error) => match error.raw_os_error() {
                Some(libc::EEXIST) => Ok(Put::WasThere),
                Some(libc::E2BIG | libc::ENOSPC | libc::ENOMEM) => Ok(Put::Full),
                Some(_) | None => Err(failure(&self.name, "BPF_MAP_UPDATE_ELEM", error)),
            },
        }
    }

    /// `value` is the address of as many bytes as a value has.
    fn element(&self, command: libc::c_long, key: &[u8], value: u64, flags: u64) -> io::Result<libc::c_long> {
        if key.len() != self.shape.key_bytes as usize {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let key = key.as_ptr() as u64;
        call(command, &mut ElementAttributes { map: self.number(), pad: 0, key, value, flags })
    }

    fn number(&self) -> u32 {
        // A descriptor that is open is no negative number.
        self.data.fd().as_fd().as_raw_fd() as u32
    }
}

/// Bytes from one CPU's value to the next one's.
pub fn cpu_step(shape: &Shape) -> usize {
    (shape.value_bytes as usize).next_multiple_of(size_of::<u64>())
}

fn cpus(name: &str) -> Result<usize, Error> {
    aya::util::nr_cpus().map_err(|(_, error)| Error::map(name, MapError::IoError(error)))
}

/// The system call, with attributes of one of the types above.
pub(super) fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    let (address, bytes) = (std::ptr::from_mut(attributes), size_of::<T>());
    // SAFETY: the attributes are as the kernel lays them out for the command and as long as it is told; every address in
    // them is of a buffer of the caller that is large enough for the map's own sizes and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, address, bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn failure(name: &str, call: &'static str, io_error: io::Error) -> Error {
    Error::map(name, MapError::SyscallError(SyscallError { call, io_error }))
}

/// Whether an error of this module says that there is no such pin.
pub(super) fn is_missing(error: &Error) -> bool {
    errno(error) == Some(libc::ENOENT)
}
