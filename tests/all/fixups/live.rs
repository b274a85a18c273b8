//! The running kernel, if it is Linux 6.15 or later on x86: what it makes of a program, against what we do.
//!
//! Where helpers are and how maps are laid out is the kernel's own business: the host that our passes ask
//! takes it from what the kernel wrote.
#![expect(unsafe_code, reason = "system calls take pointers")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use relinear::Handle;
use relinear::bpf::Insn;
use relinear::passes::misc_fixups::{
    AluLimit, ArrayLookup, Call, HashLookup, Host, IndexMask, MayGoto, Options, PacketLoads, Site, Subprogs,
    TAIL_CALL, TailCall, inline_loops, run,
};
use relinear::passes::{self, remove_nops, rnd_hi32, zext};

use super::random::Learnt;
use super::{AX, EXIT, edited, slot};
use crate::differential::btf;
use crate::kernel::{self, Attr, Hardening, MAP_CREATE, own};

/// `enum bpf_map_type`.
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PROG_ARRAY: u32 = 3;
const PER_CPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;

/// `BPF_F_TEST_RND_HI32`.
pub(crate) const RND_HI32: u32 = 4;

/// A program, and what a verifier knows of its instructions, by position.
#[derive(Default)]
struct Case {
    insns: Vec<Insn>,
    /// Where subprograms start, and how much stack each one uses.
    starts: Vec<u32>,
    stack: Vec<u32>,
    flags: u32,
    calls: Vec<(u32, Call<'static>)>,
    limits: Vec<(u32, AluLimit)>,
    /// Where the callback of all loops starts.
    callback: Option<u32>,
    /// What is read whole.
    zext: Vec<u32>,
}

impl Host<u32> for Case {
    fn call(&self, site: &Site<'_, u32>) -> Call<'_> {
        let known = self.calls.iter().find(|(at, _)| *at == site.aux.user);
        known.map_or(Call::Keep, |(_, call)| *call)
    }

    fn alu_limit(&self, site: &Site<'_, u32>) -> Option<AluLimit> {
        self.limits.iter().find(|(at, _)| *at == site.aux.user).map(|(_, limit)| *limit)
    }

    fn loop_callback(&self, _: &Site<'_, u32>) -> Option<Handle> {
        self.callback.map(Handle::new)
    }
}

impl Case {
    /// A program of one subprogram without stack.
    fn new(insns: &[Insn]) -> Self {
        Self { insns: insns.to_vec(), starts: vec![0], stack: vec![0], ..Self::default() }
    }

    /// All that the kernel does to it, by our passes.
    fn ours(&self) -> Vec<Insn> {
        let options = Options {
            packet_loads: Some(PacketLoads { byte: 0, half: 0, word: 0 }),
            may_goto: Some(MayGoto::Timed { check: 0 }),
            ..Options::default()
        };
        let result = edited(&self.insns, |list| {
            for &at in &self.zext {
                list.aux_mut(Handle::new(at)).expect("an instruction").zext_dst = true;
            }
            let mut stack = self.stack.clone();
            let mut subprogs = Subprogs { starts: &self.starts, stack: &mut stack };
            inline_loops(list, &mut subprogs, self)?;
            remove_nops::run(list, &remove_nops::Options::default())?;
            run(list, &mut subprogs, self, &options)?;
            zext::run(list, &zext::Options::default())?;
            if self.flags & RND_HI32 != 0 {
                rnd_hi32::run(list, &rnd_hi32::Options { seed: 0, ax: AX }, |_| false)?;
            }
            Ok::<_, passes::Error>(())
        });
        result.expect("no error").insns
    }

    /// The same by the kernel.
    fn theirs(&self) -> io::Result<Vec<Insn>> {
        let btf = btf::load()?;
        let types = (0..).map(|number| btf::function(number, false));
        let funcs: Vec<[u32; 2]> =
            self.starts.iter().copied().zip(types).map(|(at, kind)| [at, kind]).collect();
        let mut log = vec![0_u8; 1 << 16];
        let count = |len: usize| u32::try_from(len).expect("a short table");
        let mut attr = Attr::new()
            .u32(0, kernel::SCHED_CLS)
            .u32(4, count(self.insns.len()))
            .pointer(8, self.insns.as_ptr())
            .pointer(16, c"GPL".as_ptr())
            .u32(24, 1)
            .u32(28, count(log.len()))
            .pointer(32, log.as_mut_ptr())
            .u32(44, self.flags)
            .u32(72, btf.as_raw_fd().cast_unsigned())
            .u32(76, count(size_of::<[u32; 2]>()))
            .pointer(80, funcs.as_ptr())
            .u32(88, count(funcs.len()));
        // SAFETY: the slots, the licence, the log and the records, whose lengths are given, outlive the
        // call, and are laid out as the kernel's structures.
        let loaded = unsafe { attr.call(kernel::PROG_LOAD) }.map_err(|error| {
            io::Error::other(format!("{error}: {}", String::from_utf8_lossy(&log).trim_matches('\0')))
        })?;
        kernel::translated(&own(loaded))
    }

    /// Compares the two. `facts` finds out from what the kernel made of the program what it knew.
    fn compare(mut self, name: &str, facts: impl FnOnce(&mut Self, &[Insn])) {
        let theirs = self.theirs().unwrap_or_else(|error| panic!("{name}: {error}"));
        // Barriers against speculation, which another pass puts behind stores. Nothing jumps over them here.
        let theirs: Vec<Insn> = theirs.into_iter().filter(|insn| insn.code != BARRIER).collect();
        facts(&mut self, &theirs);
        assert_eq!(masked(self.ours(), false), masked(theirs, true), "{name}");
    }
}

/// `ST | NOSPEC`.
const BARRIER: u8 = 0xc2;

/// A program without what its dump shows in another form, or what nobody can foresee: `dumped`, the
/// displacement of a call is in `off`.
fn masked(mut insns: Vec<Insn>, dumped: bool) -> Vec<Insn> {
    for at in 0..insns.len() {
        let insn = insns[at];
        insns[at] = match (insn.code, insn.src()) {
            (TAIL_CALL, _) | (0x85, 0) => Insn::call(0),
            (0x85, 1) if dumped => Insn::call_local(insn.off.into()),
            (0x18, 1) => insn.with_imm(0),
            // The number of a subprogram.
            (0, _) if insns[at - 1].src() == 4 => insn.with_imm(0),
            (0xb7, _) if insn.dst() == AX && insns[at + 1].code == 0x67 => insn.with_imm(0),
            _ => insn,
        };
    }
    insns
}

/// Whether there is a kernel to compare with. Says so loudly if not. While the guard lives it does not
/// blind programs.
pub(crate) fn kernel_6_18() -> Option<Hardening> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse::<u32>().ok());
    let version = (numbers.next(), numbers.next());
    if version < (Some(6), Some(18)) || !cfg!(target_arch = "x86_64") {
        crate::skipped(format_args!("Linux {} on this machine writes other code", release.trim()));
        return None;
    }
    kernel::unhardened()
}

/// Where this kernel keeps things.
pub(super) fn learnt() -> Learnt {
    let theirs = |case: Case| case.theirs().expect("it is loaded");
    let loads = theirs(Case::new(&[Insn::call(118), Insn::call(8), slot(0xb7, 0, 0, 0, 0), EXIT]));
    let half = |at: usize| u64::from(loads[at].imm.cast_unsigned());
    let elements = theirs(lookup(&kernel::array_map().expect("a map"), &[]))[CALL].imm;
    Learnt {
        array: ArrayLookup { elements, element_size: 16, max_entries: 1, index_mask: None },
        jiffies: half(1) << 32 | half(0),
        processor: loads[3].imm,
    }
}

fn map(kind: u32, value_size: u32, entries: u32) -> OwnedFd {
    let mut attr = Attr::new().u32(0, kind).u32(4, 4).u32(8, value_size).u32(12, entries);
    // SAFETY: no field of these is a pointer.
    unsafe { attr.call(MAP_CREATE) }.map(own).expect("a map")
}

/// Runs in a thread that may load programs, but has to keep them from speculating. `None`, said loudly, if there
/// is no such thread.
fn speculating<R: Send>(work: impl FnOnce() -> R + Send) -> Option<R> {
    /// What the kernel has in `struct __user_cap_data_struct`, twice.
    const SYS_ADMIN: u32 = 1 << 21;
    const PERFMON: u32 = 1 << (38 - 32);
    let header = [0x2008_0522_u32, 0];
    let mut sets = [[0_u32; 3]; 2];
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: header and sets are as long as this version has them, and outlive the call.
            let got = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
            sets[0] = sets[0].map(|low| low & !SYS_ADMIN);
            sets[1] = sets[1].map(|high| high & !PERFMON);
            // SAFETY: as above.
            let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
            if got != 0 || set != 0 {
                crate::skipped(format_args!("no capability can be given up: {}", io::Error::last_os_error()));
                return None;
            }
            Some(work())
        });
        thread.join().expect("no panic")
    })
}

fn map_address(reg: u8, map: &OwnedFd) -> [Insn; 2] {
    Insn::ld_imm64_kind(reg, 1, map.as_raw_fd(), 0)
}

/// Looks for element 0, at position 5.
fn lookup(map: &OwnedFd, then: &[Insn]) -> Case {
    let head = [slot(0x7a, 10, 0, -8, 0), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -8)];
    let insns =
        [&head[..], &map_address(1, map), &[Insn::call(1)], then, &[slot(0xb7, 0, 0, 0, 0), EXIT]].concat();
    Case { stack: vec![8], ..Case::new(&insns) }
}

const CALL: usize = 5;

#[test]
fn look_ups() {
    let Some(_held) = kernel_6_18() else { return };
    // The kernel pads elements to a multiple of 8 bytes.
    for (size, padded) in [(4, 8), (20, 24), (64, 64)] {
        for masks in [false, true] {
            let make = || (map(ARRAY, size, 3), map(PER_CPU_ARRAY, size, 3));
            let Some((array, per_cpu)) = (if masks { speculating(make) } else { Some(make()) }) else {
                continue;
            };
            let known = |theirs: &[Insn]| ArrayLookup {
                elements: theirs[CALL].imm,
                element_size: padded,
                max_entries: 3,
                index_mask: masks.then_some(3),
            };
            lookup(&array, &[]).compare("an array", |case, theirs| {
                case.calls = vec![(5, Call::ArrayLookup(known(theirs)))];
            });
            lookup(&per_cpu, &[]).compare("an array per processor", |case, theirs| {
                case.calls = vec![(5, Call::PerCpuArrayLookup(known(theirs)))];
            });
        }
    }
    lookup(&map(HASH, 16, 3), &[]).compare("a hash table", |case, theirs| {
        let value = theirs[CALL + 2].imm;
        case.calls = vec![(5, Call::HashLookup(HashLookup { find: 0, value, referenced: None }))];
    });
    lookup(&map(LRU_HASH, 16, 3), &[]).compare("a hash table that evicts", |case, theirs| {
        let (referenced, value) = (Some(theirs[CALL + 2].off), theirs[CALL + 5].imm);
        case.calls = vec![(5, Call::HashLookup(HashLookup { find: 0, value, referenced }))];
    });
}

#[test]
fn tail_calls() {
    let Some(_held) = kernel_6_18() else { return };
    for masks in [false, true] {
        let make = || map(PROG_ARRAY, 4, 5);
        let Some(map) = (if masks { speculating(make) } else { Some(make()) }) else { continue };
        let mask = masks.then_some(IndexMask { max_entries: 5, index_mask: 7 });
        for index in [slot(0xbf, 3, 0, 0, 0), slot(0xb7, 3, 0, 0, 2)] {
            let head = [slot(0xbf, 6, 1, 0, 0), Insn::call(7), slot(0xbf, 1, 6, 0, 0), index];
            let tail = [Insn::call(12), slot(0xb7, 0, 0, 0, 0), EXIT];
            let insns = [&head[..], &map_address(2, &map), &tail].concat();
            // Of a constant index that needs no mask the kernel makes a direct jump.
            Case::new(&insns).compare("a tail call", |case, _| {
                case.calls = vec![(6, Call::TailCall(TailCall { poke: 0, mask }))];
            });
        }
    }
}

#[test]
fn helpers_that_only_load() {
    let Some(_held) = kernel_6_18() else { return };
    let jump = slot(0x15, 1, 0, 1, 0);
    Case::new(&[jump, Insn::call(118), slot(0xb7, 0, 0, 0, 0), EXIT]).compare("jiffies", |case, theirs| {
        let half = |at: usize| u64::from(theirs[at].imm.cast_unsigned());
        case.calls = vec![(1, Call::Jiffies { address: half(2) << 32 | half(1) })];
    });
    Case::new(&[jump, Insn::call(8), slot(0xb7, 0, 0, 0, 0), EXIT]).compare(
        "the processor",
        |case, theirs| {
            case.calls = vec![(1, Call::ProcessorId { address: theirs[1].imm })];
        },
    );
}

#[test]
fn packet_access() {
    let Some(_held) = kernel_6_18() else { return };
    let program = [
        slot(0xbf, 6, 1, 0, 0),
        slot(0xb7, 7, 0, 0, 3),
        slot(0x20, 0, 0, 0, 4),
        slot(0x15, 0, 0, 3, 7),
        slot(0x28, 0, 0, 0, 2),
        slot(0x30, 0, 0, 0, 0),
        slot(0x15, 0, 0, 2, 9),
        slot(0x40, 0, 7, 0, 4),
        slot(0x48, 0, 7, 0, 0),
        slot(0x50, 0, 7, 0, -1),
        slot(0xb7, 0, 0, 0, 0),
        EXIT,
    ];
    Case::new(&program).compare("packet access", |_, _| {});
}

#[test]
fn may_goto() {
    let Some(_held) = kernel_6_18() else { return };
    let tail = [slot(0xb7, 0, 0, 0, 1), slot(0xb7, 0, 0, 0, 0), EXIT];
    for depth in [4_u32, 8, 12, 40, 512] {
        let off = i16::try_from(-i64::from(depth)).expect("a small stack");
        let insns = [&[slot(0x62, 10, 0, off, 1), Insn::may_goto(1)], &tail[..]].concat();
        Case { stack: vec![depth], ..Case::new(&insns) }.compare("may_goto", |_, _| {});
    }
    // A jump to the start of a subprogram, past its prologue; and a call of it from another one.
    let main = [slot(0xb7, 1, 0, 0, 0), Insn::call_local(2), slot(0xb7, 0, 0, 0, 0), EXIT];
    let callee = [slot(0x07, 1, 0, 0, 1), Insn::may_goto(1), slot(0xa5, 1, 0, -3, 9), tail[1], EXIT];
    Case { starts: vec![0, 4], stack: vec![0, 0], ..Case::new(&[&main[..], &callee].concat()) }
        .compare("may_goto in a callee", |_, _| {});
    // The same, where the start is removed before: a jump to it leads to what is left.
    for back in [-3, -4] {
        let callee = [Insn::ja(0), callee[0], callee[1], callee[2].with_off(back), callee[3], EXIT];
        Case { starts: vec![0, 4], stack: vec![0, 0], ..Case::new(&[&main[..], &callee].concat()) }
            .compare("may_goto behind a start that is removed", |_, _| {});
    }
    // Two of them, one of which leads back.
    let insns = [
        slot(0xb7, 6, 0, 0, 0),
        slot(0x07, 6, 0, 0, 1),
        Insn::may_goto(2),
        slot(0x25, 6, 0, 1, 100),
        slot(0x05, 0, 0, -4, 0),
        slot(0xb7, 0, 0, 0, 0),
        EXIT,
    ];
    Case::new(&insns).compare("a loop", |_, _| {});
}

#[test]
fn loops() {
    let Some(_held) = kernel_6_18() else { return };
    for bounded in [false, true] {
        let call = |rel| {
            let [load, high] = Insn::ld_imm64_kind(2, 4, rel, 0);
            let [context, flags] = [slot(0xb7, 3, 0, 0, 0), slot(0xb7, 4, 0, 0, 0)];
            [slot(0xb7, 1, 0, 0, 5), load, high, context, flags, Insn::call(181)]
        };
        let bound: &[Insn] = if bounded { &[Insn::may_goto(1), slot(0xb7, 0, 0, 0, 1)] } else { &[] };
        let len = 15 + i32::try_from(bound.len()).expect("a short program");
        let program = [
            &[slot(0x62, 10, 0, -4, 1)],
            &call(len - 3)[..],
            &call(len - 9),
            bound,
            &[slot(0xb7, 0, 0, 0, 0), EXIT, slot(0xb7, 0, 0, 0, 0), EXIT],
        ];
        let start = len.cast_unsigned();
        Case {
            starts: vec![0, start],
            stack: vec![8, 0],
            callback: Some(start),
            ..Case::new(&program.concat())
        }
        .compare("bpf_loop", |_, _| {});
    }
}

#[test]
fn pointer_arithmetic() {
    let Some(_held) = kernel_6_18() else { return };
    let (p, o) = (8, 7);
    let op = |code, dst, src| slot(code, dst, src, 0, 0);
    let low = [slot(0x57, o, 0, 0, 15)];
    let below = [low[0], slot(0x47, o, 0, 0, -16)];
    let five = [slot(0xb7, o, 0, 0, 5)];
    let on = slot(0x07, p, 0, 0, 20);
    let minus_five = [slot(0xb7, o, 0, 0, -5), on];
    let limit = AluLimit { limit: 15, negative: false, known: false, offset_in_dst: false };
    let five_on = AluLimit { limit: 5, known: true, ..limit };
    let five_back = AluLimit { negative: true, ..five_on };
    let in_dst = |limit| AluLimit { offset_in_dst: true, ..limit };
    for (name, offset, sum, limit) in [
        ("p += o", &low[..], op(0x0f, p, o), limit),
        ("o += p", &low, op(0x0f, o, p), in_dst(limit)),
        ("p -= o, o < 0", &below, op(0x1f, p, o), AluLimit { limit: 16, negative: true, ..limit }),
        ("p += 5", &five, op(0x0f, p, o), five_on),
        ("p += -5", &minus_five, op(0x0f, p, o), five_back),
        ("-5 += p", &minus_five, op(0x0f, o, p), in_dst(five_back)),
    ] {
        let head = [slot(0x55, 0, 0, 1, 0), EXIT, op(0xbf, p, 0), Insn::call(7), op(0xbf, o, 0)];
        let tail = [sum, op(0x71, 0, sum.dst())];
        let at = 6 + head.len() + offset.len();
        let position = u32::try_from(at).expect("a short program");
        let done = speculating(|| {
            lookup(&map(ARRAY, 64, 3), &[&head, offset, &tail].concat()).compare(name, |case, theirs| {
                let found = ArrayLookup {
                    elements: theirs[CALL].imm,
                    element_size: 64,
                    max_entries: 3,
                    index_mask: Some(3),
                };
                case.calls = vec![(5, Call::ArrayLookup(found))];
                case.limits = vec![(position, limit)];
            });
        });
        if done.is_none() {
            return;
        }
    }
}

#[test]
fn random_high_halves() {
    let Some(_held) = kernel_6_18() else { return };
    let program = [
        slot(0xb4, 6, 0, 0, 1),
        slot(0xb4, 7, 0, 0, 2),
        slot(0xbf, 8, 7, 0, 0),
        slot(0x16, 6, 0, 5, 4),
        slot(0x7a, 10, 0, -8, 0),
        slot(0xc3, 10, 7, -8, 0x01),
        slot(0x61, 9, 10, -8, 0),
        slot(0xdc, 9, 0, 0, 16),
        slot(0xd7, 9, 0, 0, 32),
        slot(0x18, 0, 0, 0, 5),
        slot(0x00, 0, 0, 0, 6),
        slot(0xb4, 0, 0, 0, 0),
        slot(0x7a, 10, 0, -8, 0),
        slot(0xc3, 10, 6, -8, 0xf1),
        slot(0xbf, 9, 0, 0, 0),
        slot(0xb7, 0, 0, 0, 0),
        EXIT,
    ];
    // Position 2 reads r7 whole, position 14 what was exchanged.
    Case { stack: vec![8], flags: RND_HI32, zext: vec![1, 13], ..Case::new(&program) }
        .compare("random high halves", |_, _| {});
}
