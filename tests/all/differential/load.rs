//! Loads a program with all of its tables, and reads back what the kernel made of it.
#![expect(unsafe_code, reason = "a system call takes pointers")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

use relinear::bpf::opcode::LD_MAP_FD;
use relinear::bpf::{FuncInfo, Insn, LineInfo};

use super::btf;
use super::image::Image;
use crate::kernel::{self, Attr, Fields, Hardening, OBJ_GET_INFO_BY_FD, PROG_LOAD};

/// `BPF_LOG_STATS`: a short log, however long the program is.
pub(crate) const LOG_STATS: u32 = 4;
/// `BPF_LOG_LEVEL2`: a line for each instruction that the verifier walks.
const LOG_ALL: u32 = 2;

/// What the programs of all tests refer to.
pub(crate) struct Fixtures {
    btf: OwnedFd,
    map: OwnedFd,
    /// The number that the kernel shows in place of the map's descriptor.
    pub(crate) map_id: i32,
}

/// What the programs of all tests refer to; `None`, said loudly, if this process may not load any.
pub(crate) fn fixtures() -> Option<&'static Fixtures> {
    static FIXTURES: OnceLock<Option<Fixtures>> = OnceLock::new();
    let make = || {
        let make = || -> io::Result<Fixtures> {
            let map = kernel::array_map()?;
            let mut info = Attr::new();
            ask(&map, &mut info)?;
            Ok(Fixtures { btf: btf::load()?, map_id: info.get(4).cast_signed(), map })
        };
        make()
            .inspect_err(|error| crate::skipped(format_args!("bpf(2) is not to be had: {error}")))
            .ok()
            .filter(|_| kernel::is_available())
    };
    FIXTURES.get_or_init(make).as_ref()
}

/// What the kernel is to take.
pub(crate) struct Request<'a> {
    /// `enum bpf_prog_type`.
    pub(crate) kind: u32,
    /// `enum bpf_attach_type`, where the kind leaves more than one.
    pub(crate) attach: u32,
    /// The flags of the load.
    pub(crate) flags: u32,
    /// The program; `ld_imm64` of kind [`LD_MAP_FD`] all name the one map there is.
    pub(crate) image: &'a Image,
    /// What the setting of [`Hardening`] has to be.
    pub(crate) hardening: u32,
}

/// Why there is nothing to compare with.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: io::Error,
    pub(crate) log: String,
}

impl Fixtures {
    /// What the kernel made of a program.
    pub(crate) fn load(&self, request: &Request<'_>) -> Result<Image, Refused> {
        let plain = |error| Refused { error, log: String::new() };
        for _ in 0..100 {
            let before = Hardening::level().map_err(plain)?;
            let program = match self.load_once(request, LOG_STATS) {
                // Again, to be told why. The log may be cut short.
                Err(refused) => {
                    let log = self.load_once(request, LOG_ALL).err().map(|refused| refused.log);
                    return Err(Refused { log: log.unwrap_or(refused.log), ..refused });
                }
                Ok(program) => program,
            };
            let image = read(&program).map_err(plain)?;
            let after = Hardening::level().map_err(plain)?;
            // Programs that take no notice of the lock may have changed it meanwhile.
            if before == request.hardening && after == request.hardening {
                return Ok(image);
            }
        }
        Err(plain(io::Error::other("net.core.bpf_jit_harden keeps changing")))
    }

    /// A program, with a log of the verifier of this level if it refuses. The setting of [`Hardening`] does not
    /// count.
    pub(crate) fn load_once(&self, request: &Request<'_>, level: u32) -> Result<OwnedFd, Refused> {
        let Request { kind, attach, flags, image, .. } = *request;
        let map = self.map.as_raw_fd();
        let insns: Vec<Insn> = image
            .insns
            .iter()
            .map(|insn| if insn.is_wide() && insn.src() == LD_MAP_FD { insn.with_imm(map) } else { *insn })
            .collect();
        let mut log = vec![0_u8; if level == LOG_STATS { 1 << 12 } else { 1 << 24 }];
        let mut attr = Attr::new()
            .u32(0, kind)
            .u32(4, count(&insns))
            .pointer(8, insns.as_ptr())
            .pointer(16, c"GPL".as_ptr())
            .u32(24, level)
            .u32(28, count(&log))
            .pointer(32, log.as_mut_ptr())
            .u32(44, flags)
            .u32(68, attach)
            .u32(72, self.btf.as_raw_fd().cast_unsigned())
            .u32(76, size::<FuncInfo>())
            .pointer(80, image.funcs.as_ptr())
            .u32(88, count(&image.funcs))
            .u32(92, size::<LineInfo>())
            .pointer(96, image.lines.as_ptr())
            .u32(104, count(&image.lines));
        // SAFETY: the slots and records are laid out as the kernel's structures of these sizes are, and
        // all of them, whose lengths are given, outlive the call.
        let result = unsafe { attr.call(PROG_LOAD) };
        result.map(kernel::own).map_err(|error| {
            let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy().into_owned();
            Refused { error, log }
        })
    }
}

fn count<T>(all: &[T]) -> u32 {
    u32::try_from(all.len()).expect("a short table")
}

fn size<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("a small record")
}

/// `struct bpf_prog_info`, up to what is asked for.
type Info = Fields<232>;

/// Reads instructions, line and function records. The first call gives their counts.
fn read(program: &OwnedFd) -> io::Result<Image> {
    let mut counts = Info::new();
    ask(program, &mut counts)?;
    let mut image = Image {
        insns: vec![Insn::default(); counts.get(20) as usize / size_of::<Insn>()],
        lines: vec![LineInfo::default(); counts.get(148) as usize],
        funcs: vec![FuncInfo::default(); counts.get(144) as usize],
    };
    let mut info = Info::new()
        .u32(20, counts.get(20))
        .pointer(32, image.insns.as_mut_ptr())
        .u32(132, size::<FuncInfo>())
        .pointer(136, image.funcs.as_mut_ptr())
        .u32(144, counts.get(144))
        .u32(148, counts.get(148))
        .pointer(152, image.lines.as_mut_ptr())
        .u32(172, size::<LineInfo>());
    ask(program, &mut info)?;
    Ok(image)
}

/// Has the kernel fill in what it knows of the object behind a descriptor.
fn ask<const N: usize>(object: &OwnedFd, info: &mut Fields<N>) -> io::Result<()> {
    let mut attr = Attr::new()
        .u32(0, object.as_raw_fd().cast_unsigned())
        .u32(4, u32::try_from(N).expect("a short structure"))
        .pointer(8, info);
    // SAFETY: the structure is as long as is said, and it, and what it points to, outlive the call.
    unsafe { attr.call(OBJ_GET_INFO_BY_FD) }?;
    Ok(())
}
