//! Reads a program back from the running kernel, adds an instruction, and loads it again.
//!
//! ```text
//! cargo run --example edit_loaded
//! ```
#![expect(unsafe_code, reason = "a system call takes pointers")]

use std::error::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::{fs, io};

use relinear::bpf::kernel_image::{KernelImage, Names};
use relinear::bpf::{Insn, Program, Symbols, asm};
use relinear::{Arena, Handle};

const PROG_LOAD: i64 = 5;
const PROG_TEST_RUN: i64 = 10;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const SOCKET_FILTER: u32 = 1;

/// `union bpf_attr`, or `struct bpf_prog_info`: fields by their offsets in bytes.
#[repr(C, align(8))]
struct Fields([u8; 256]);

impl Fields {
    fn new() -> Self {
        Self([0; 256])
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
        self.0[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    /// # Safety
    ///
    /// The pointers in it must be what the command takes them for.
    unsafe fn call(&mut self, command: i64) -> io::Result<i32> {
        // SAFETY: the kernel takes longer attributes than it knows if the rest is zero; the caller answers for pointers.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), 144) };
        i32::try_from(result).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)
    }
}

fn load(insns: &[Insn]) -> io::Result<OwnedFd> {
    let mut attr = Fields::new()
        .u32(0, SOCKET_FILTER)
        .u32(4, u32::try_from(insns.len()).map_err(io::Error::other)?)
        .pointer(8, insns.as_ptr())
        .pointer(16, c"GPL".as_ptr());
    // SAFETY: the slots are laid out as `struct bpf_insn`, as many as is said, and outlive the call, as the licence does.
    let fd = unsafe { attr.call(PROG_LOAD) }?;
    // SAFETY: the kernel has just given this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn run(program: &OwnedFd) -> io::Result<u32> {
    let packet = [0_u8; 64];
    let mut attr =
        Fields::new().u32(0, program.as_raw_fd().cast_unsigned()).u32(8, 64).pointer(16, packet.as_ptr());
    // SAFETY: the packet is as long as is said and outlives the call.
    unsafe { attr.call(PROG_TEST_RUN) }?;
    Ok(attr.get(4))
}

/// `xlated_prog_insns` of a program.
fn read(program: &OwnedFd) -> io::Result<Vec<Insn>> {
    let mut insns = vec![Insn::default(); 1 << 16];
    let mut info = Fields::new().u32(20, 8 << 16).pointer(32, insns.as_mut_ptr());
    let mut attr =
        Fields::new().u32(0, program.as_raw_fd().cast_unsigned()).u32(4, 232).pointer(8, info.0.as_mut_ptr());
    // SAFETY: the information and the slots it asks for are as long as is said and outlive the call.
    unsafe { attr.call(OBJ_GET_INFO_BY_FD) }?;
    insns.truncate(info.get(20) as usize / size_of::<Insn>());
    Ok(insns)
}

fn main() -> Result<(), Box<dyn Error>> {
    let insns = asm::parse(
        "call 5\nr6 = r0\ncall 5\nr0 -= r6\nr0 s>>= 63\ncall more\nr0 += 1\nexit\nmore:\nr0 = 41\nexit",
    )?;
    let loaded = match load(&insns) {
        Ok(loaded) => loaded,
        Err(error) => {
            println!("skipped: no program can be loaded into this kernel: {error}");
            return Ok(());
        }
    };
    let kallsyms = fs::read_to_string("/proc/kallsyms")?;
    let symbols = match Symbols::parse(&kallsyms) {
        Ok(symbols) => symbols,
        Err(error) => {
            println!("skipped: {error}");
            return Ok(());
        }
    };
    let image = KernelImage { insns: &read(&loaded)?, func_info: &[], line_info: &[] };
    let names = Names { symbols: Some(&symbols), map: &|_| None, kfunc: &|_| None };
    let program: Program = image.import(&names)?;

    // Twice the result, at the first `exit`.
    let exit = program.insns.iter().position(|insn| insn.is_exit()).ok_or("no exit")?;
    let arena = Arena::new();
    let mut editor = program.edit(&arena)?;
    editor.list().prepend(Handle::new(u32::try_from(exit)?), &asm::parse("r0 *= 2")?[..])?;
    let again = load(&editor.linearize()?.insns)?;
    println!("it returned {}, and now it returns {}", run(&loaded)?, run(&again)?);
    assert_eq!((run(&loaded)?, run(&again)?), (42, 84));
    Ok(())
}
