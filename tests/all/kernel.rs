//! The `bpf(2)` system call, as far as the tests load and run programs of bare instructions.
#![expect(unsafe_code, reason = "a system call takes pointers")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::{fs, io};

use relinear::bpf::Insn;

use crate::skipped;

pub(crate) const MAP_CREATE: i64 = 0;
const MAP_UPDATE_ELEM: i64 = 2;
pub(crate) const PROG_LOAD: i64 = 5;
const PROG_TEST_RUN: i64 = 10;
pub(crate) const OBJ_GET_INFO_BY_FD: i64 = 15;
pub(crate) const BTF_LOAD: i64 = 18;
const MAP_FREEZE: i64 = 22;

/// `BPF_PROG_TYPE_SCHED_CLS`.
pub(crate) const SCHED_CLS: u32 = 3;
/// `BPF_F_RDONLY_PROG`: programs cannot write to the map.
const RDONLY_PROG: u32 = 1 << 7;
/// `BPF_LOG_STATS`: the log says no more than how much was needed.
const LOG_STATS: u32 = 4;
/// `BPF_LOG_LEVEL1`.
const LOG_ON_ERROR: u32 = 1;

/// A structure that the kernel reads or writes, by offset of the field in bytes.
#[repr(C, align(8))]
pub(crate) struct Fields<const N: usize>([u8; N]);

/// `union bpf_attr`.
pub(crate) type Attr = Fields<144>;

impl<const N: usize> Fields<N> {
    pub(crate) fn new() -> Self {
        Self([0; N])
    }

    pub(crate) fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    pub(crate) fn pointer<T>(mut self, at: usize, to: *const T) -> Self {
        self.0[at..at + 8].copy_from_slice(&(to as u64).to_ne_bytes());
        self
    }

    pub(crate) fn get(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    /// # Safety
    ///
    /// The pointers in it must be what the command takes them for.
    pub(crate) unsafe fn call(&mut self, command: i64) -> io::Result<i32> {
        // SAFETY: the attributes are as long as is said, and the caller answers for what they point to.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(i32::try_from(result).expect("a descriptor"))
        }
    }
}

/// A program in the kernel.
pub(crate) struct Loaded {
    fd: OwnedFd,
    /// What the verifier said at the end.
    pub(crate) log: String,
}

/// Why a program was not loaded.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: io::Error,
    pub(crate) log: String,
}

/// Whether this process may load programs. Says so loudly if not.
pub(crate) fn is_available() -> bool {
    let nothing = [Insn::mov64_imm(0, 0), Insn::exit()];
    match load(&nothing) {
        Ok(_) => true,
        Err(refused) => {
            skipped(format_args!("no program can be loaded into this kernel: {}", refused.error));
            false
        }
    }
}

/// Whether this process may load programs into a kernel that does not blind them. Says so loudly if not. While the guard
/// lives no other test has them blinded.
pub(crate) fn unhardened() -> Option<Hardening> {
    if is_available() { Hardening::off().inspect_err(|error| skipped(error)).ok() } else { None }
}

/// Loads a program for the traffic control hook.
pub(crate) fn load(insns: &[Insn]) -> Result<Loaded, Refused> {
    match load_with_log(insns, LOG_STATS) {
        Err(refused) if refused.log.len() < 200 => load_with_log(insns, LOG_ON_ERROR),
        result => result,
    }
}

fn load_with_log(insns: &[Insn], level: u32) -> Result<Loaded, Refused> {
    let mut log = vec![0_u8; 1 << 20];
    let mut attr = Attr::new()
        .u32(0, SCHED_CLS)
        .u32(4, u32::try_from(insns.len()).expect("a short program"))
        .pointer(8, insns.as_ptr())
        .pointer(16, c"GPL".as_ptr())
        .u32(24, level)
        .u32(28, u32::try_from(log.len()).expect("a short log"))
        .pointer(32, log.as_mut_ptr());
    // SAFETY: the slots are laid out as `struct bpf_insn`, and they, the licence and the log, whose
    // lengths are given, outlive the call.
    let result = unsafe { attr.call(PROG_LOAD) };
    let log =
        CStr::from_bytes_until_nul(&log).map(|log| log.to_string_lossy().into_owned()).unwrap_or_default();
    match result {
        Ok(fd) => Ok(Loaded { fd: own(fd), log }),
        Err(error) => Err(Refused { error, log }),
    }
}

pub(crate) fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

impl Loaded {
    /// The program behind a descriptor, which was loaded in another way.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn of(fd: OwnedFd) -> Self {
        Self { fd, log: String::new() }
    }

    /// What the program returns for a packet of so many bytes.
    pub(crate) fn run(&self, packet: usize) -> io::Result<u32> {
        let packet = vec![0_u8; packet];
        let mut attr = Attr::new()
            .u32(0, self.fd.as_raw_fd().cast_unsigned())
            .u32(8, u32::try_from(packet.len()).expect("a short packet"))
            .pointer(16, packet.as_ptr());
        // SAFETY: the packet is as long as is said and outlives the call.
        unsafe { attr.call(PROG_TEST_RUN) }?;
        Ok(attr.get(4))
    }

    /// The instructions as the kernel runs them.
    pub(crate) fn translated(&self) -> io::Result<Vec<Insn>> {
        translated(&self.fd)
    }

    /// The stack that the verifier saw each subprogram use, in bytes.
    pub(crate) fn stack_depths(&self) -> Vec<u16> {
        let depths = self.log.lines().find_map(|line| line.strip_prefix("stack depth "));
        let depths = depths.expect("the log gives the stack depth");
        depths.split('+').map(|depth| depth.trim().parse().expect("a number of bytes")).collect()
    }
}

/// The instructions of a program as the kernel runs them.
pub(crate) fn translated(program: &OwnedFd) -> io::Result<Vec<Insn>> {
    let mut insns = vec![Insn::default(); 1 << 16];
    let bytes = u32::try_from(size_of_val(&insns[..])).expect("a short program");
    let mut info = Attr::new().u32(20, bytes).pointer(32, insns.as_mut_ptr());
    let mut attr = Attr::new()
        .u32(0, program.as_raw_fd().cast_unsigned())
        .u32(4, u32::try_from(info.0.len()).expect("a short structure"))
        .pointer(8, info.0.as_mut_ptr());
    // SAFETY: the information and the slots it asks for are as long as is said and outlive the call.
    unsafe { attr.call(OBJ_GET_INFO_BY_FD) }?;
    insns.truncate(info.get(20) as usize / size_of::<Insn>());
    Ok(insns)
}

/// An array map of one element of 16 bytes, which a program names by its descriptor.
pub(crate) fn array_map() -> io::Result<OwnedFd> {
    let mut attr = Attr::new().u32(0, 2).u32(4, 4).u32(8, 16).u32(12, 1);
    // SAFETY: no field of these is a pointer.
    unsafe { attr.call(MAP_CREATE) }.map(own)
}

/// The id of a map.
pub(crate) fn map_id(map: &OwnedFd) -> u32 {
    let mut info = Attr::new();
    let mut attr = Attr::new()
        .u32(0, map.as_raw_fd().cast_unsigned())
        .u32(4, u32::try_from(size_of::<Attr>()).expect("a short structure"))
        .pointer(8, &raw mut info);
    // SAFETY: the information is as long as is said and outlives the call.
    unsafe { attr.call(OBJ_GET_INFO_BY_FD) }.expect("the map is ours");
    info.get(4)
}

/// An array map of one element with these bytes, which nobody can change.
pub(crate) fn frozen_map(bytes: &[u8]) -> io::Result<OwnedFd> {
    let len = u32::try_from(bytes.len()).expect("a short map");
    let mut attr = Attr::new().u32(0, 2).u32(4, 4).u32(8, len).u32(12, 1).u32(16, RDONLY_PROG);
    // SAFETY: no field of these is a pointer.
    let map = own(unsafe { attr.call(MAP_CREATE) }?);
    let (descriptor, key) = (map.as_raw_fd().cast_unsigned(), 0_u32);
    let mut attr = Attr::new().u32(0, descriptor).pointer(8, &raw const key).pointer(16, bytes.as_ptr());
    // SAFETY: the key and the bytes are as long as those of the map, and outlive the call.
    unsafe { attr.call(MAP_UPDATE_ELEM) }?;
    // SAFETY: no field of these is a pointer.
    unsafe { Attr::new().u32(0, descriptor).call(MAP_FREEZE) }?;
    Ok(map)
}

/// What the kernel does to the constants of programs, held still for as long as this lives: other
/// tests, of other processes too, wait to change it. It is put back in the end.
pub(crate) struct Hardening {
    setting: fs::File,
    before: Option<String>,
}

impl Hardening {
    const SETTING: &str = "/proc/sys/net/core/bpf_jit_harden";

    /// The kernel blinds every program that is loaded.
    pub(crate) fn on() -> io::Result<Self> {
        let setting = Self::lock(libc::LOCK_EX)?;
        let before = fs::read_to_string(Self::SETTING)?;
        let held = Self { setting, before: Some(before) };
        fs::write(Self::SETTING, "2")?;
        Ok(held)
    }

    /// Nobody asks the kernel to blind programs, or this fails.
    pub(crate) fn off() -> io::Result<Self> {
        let setting = Self::lock(libc::LOCK_SH)?;
        if Self::level()? != 0 {
            return Err(io::Error::other(
                "this kernel blinds programs, which net.core.bpf_jit_harden asks for",
            ));
        }
        Ok(Self { setting, before: None })
    }

    /// What the setting is now. Who does not lock it may change it at any time.
    pub(crate) fn level() -> io::Result<u32> {
        fs::read_to_string(Self::SETTING)?.trim().parse().map_err(io::Error::other)
    }

    fn lock(how: i32) -> io::Result<fs::File> {
        let setting = fs::File::open(Self::SETTING)?;
        // SAFETY: the descriptor is open.
        let result = unsafe { libc::flock(setting.as_raw_fd(), how) };
        if result == 0 { Ok(setting) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Hardening {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(error) = fs::write(Self::SETTING, before)
        {
            eprintln!("{} could not be set back to {}: {error}", Self::SETTING, before.trim());
        }
        // SAFETY: the descriptor is open.
        unsafe { libc::flock(self.setting.as_raw_fd(), libc::LOCK_UN) };
    }
}
