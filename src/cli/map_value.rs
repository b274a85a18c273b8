//! Reading the value of an array map of the running kernel, of any size.
#![expect(unsafe_code, reason = "a system call takes pointers")]

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

const LOOKUP_ELEM: libc::c_long = 1;
const GET_FD_BY_ID: libc::c_long = 14;
const GET_INFO_BY_FD: libc::c_long = 15;

/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;

/// `union bpf_attr`, or `struct bpf_map_info`.
#[repr(C, align(8))]
struct Fields([u8; 128]);

impl Fields {
    fn new() -> Self {
        Self([0; 128])
    }

    fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn pointer<T>(mut self, at: usize, to: *const T) -> Self {
        self.0[at..at + 8].copy_from_slice(&(to as u64).to_ne_bytes());
        self
    }

    fn get(&self, at: usize) -> u32 {
        self.0[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// # Safety
    ///
    /// The pointers in it must be what the command takes them for.
    unsafe fn call(&mut self, command: libc::c_long) -> io::Result<i32> {
        // SAFETY: the attributes are as long as is said, and the caller answers for what they point to.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        i32::try_from(result).ok().filter(|&result| result >= 0).ok_or_else(io::Error::last_os_error)
    }
}

/// The first value of the array map with this id.
pub(super) fn read(id: u32) -> io::Result<Vec<u8>> {
    // SAFETY: no field of these is a pointer.
    let fd = unsafe { Fields::new().u32(0, id).call(GET_FD_BY_ID) }?;
    // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
    let map = unsafe { OwnedFd::from_raw_fd(fd) };
    let fd = map.as_raw_fd().cast_unsigned();
    let mut info = Fields::new();
    let mut attr = Fields::new().u32(0, fd).u32(4, 80).pointer(8, info.0.as_mut_ptr());
    // SAFETY: the information is longer than is said and outlives the call.
    unsafe { attr.call(GET_INFO_BY_FD) }?;
    let (kind, value_size) = (info.get(0), info.get(12));
    if kind != ARRAY {
        return Err(io::Error::other("it is no array, as sections of data are"));
    }
    let key = 0_u32;
    // The kernel writes whole 8 bytes at most.
    let mut value = vec![0_u8; (value_size as usize).next_multiple_of(8)];
    let mut attr = Fields::new().u32(0, fd).pointer(8, &raw const key).pointer(16, value.as_mut_ptr());
    // SAFETY: the key has 4 bytes and the value as many as the map says, and both outlive the call.
    unsafe { attr.call(LOOKUP_ELEM) }?;
    value.truncate(value_size as usize);
    Ok(value)
}
