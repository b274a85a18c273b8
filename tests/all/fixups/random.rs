//! Random programs: all that the kernel does to them behind its verifier, by our passes over one list.

use std::error::Error;
use std::sync::OnceLock;

use relinear::Arena;
use relinear::bpf::Insn;
use relinear::bpf::opcode::{ADD, ATOMIC, DW, LDX, LOAD_ACQ, ST, STX};
use relinear::passes::misc_fixups::{
    ArrayLookup, Call, Host, MayGoto, Options, PacketLoads, Site, Subprogs, inline_loops, run,
};
use relinear::passes::{hard_wire_dead_branches, harden, remove_dead_code, remove_nops, rnd_hi32, zext};

use super::AX;
use super::live::{RND_HI32, kernel_6_18, learnt};
use crate::differential::compare::{Kind, compare};
use crate::differential::generate::{Config, Hook, Sample, Scope};
use crate::differential::image::Image;

/// What calls of the programs become, wherever they are.
pub(super) struct Learnt {
    /// Of the map that all programs share.
    pub(super) array: ArrayLookup,
    pub(super) jiffies: u64,
    pub(super) processor: i32,
}

static LEARNT: OnceLock<Learnt> = OnceLock::new();

/// Whether there is a kernel to compare with. It is asked where it keeps things before it blinds programs.
fn is_kernel_6_18() -> bool {
    let held = kernel_6_18();
    if held.is_some() {
        LEARNT.get_or_init(learnt);
    }
    held.is_some()
}

impl Host<()> for Learnt {
    fn call(&self, site: &Site<'_, ()>) -> Call<'_> {
        match (site.insn.src(), site.insn.imm) {
            (0, 1) => Call::ArrayLookup(self.array),
            (0, 8) => Call::ProcessorId { address: self.processor },
            (0, 118) => Call::Jiffies { address: self.jiffies },
            _ => Call::Keep,
        }
    }
}

/// A look-up of an element.
fn lookup(scope: &mut Scope<'_>) {
    scope.push(Insn::st(DW, 10, -8, 0));
    scope.push(Insn::mov64_reg(2, 10));
    scope.forget(2);
    scope.push(Insn::alu64_imm(ADD, 2, -8));
    scope.push_wide(Insn::ld_imm64_kind(1, 1, 0, 0));
    scope.push_call(Insn::call(1), 2);
    scope.forget(0);
}

fn jiffies(scope: &mut Scope<'_>) {
    scope.push_call(Insn::call(118), 0);
}

fn processor(scope: &mut Scope<'_>) {
    scope.push_call(Insn::call(8), 0);
}

/// Over an instruction that changes nothing, or over what is put between the two.
pub(crate) fn may_goto(scope: &mut Scope<'_>) {
    // Or `r0` would be taken to be read.
    scope.push(Insn::mov64_imm(0, 1));
    scope.push(Insn::may_goto(1));
    scope.push(Insn::alu64_imm(ADD, 7, 0));
}

/// How much stack the instructions that are walked use, for each function.
pub(crate) fn stack(sample: &Sample) -> Vec<u32> {
    let starts = sample.program().subprogs;
    let mut stack = vec![0; starts.len()];
    for ((at, insn), fact) in (0..).zip(&sample.image.insns).zip(&sample.facts) {
        let (function, is_atomic) = (starts.partition_point(|&start| start <= at) - 1, insn.mode() == ATOMIC);
        let base = match insn.class() {
            LDX => insn.src(),
            STX if is_atomic && insn.imm == LOAD_ACQ => insn.src(),
            ST | STX => insn.dst(),
            _ => continue,
        };
        if base == 10 && fact.seen {
            stack[function] = stack[function].max(insn.off.unsigned_abs().into());
        }
    }
    stack
}

fn rewrite(sample: &Sample, is_hardened: bool) -> Result<Image, Box<dyn Error>> {
    let host = LEARNT.get().expect("the kernel was asked before");
    let options = Options {
        packet_loads: Some(PacketLoads { byte: 0, half: 0, word: 0 }),
        may_goto: Some(MayGoto::Timed { check: 0 }),
        ..Options::default()
    };
    let (program, arena, mut stack) = (sample.program(), Arena::new(), stack(sample));
    let mut subprogs = Subprogs { starts: &program.subprogs, stack: &mut stack };
    let mut editor = program.edit(&arena)?;
    let list = editor.list();
    inline_loops(list, &mut subprogs, host)?;
    hard_wire_dead_branches::run(list)?;
    remove_dead_code::run(list)?;
    remove_nops::run(list, &remove_nops::Options::default())?;
    run(list, &mut subprogs, host, &options)?;
    zext::run(list, &zext::Options::default())?;
    if sample.flags & RND_HI32 != 0 {
        rnd_hi32::run(list, &rnd_hi32::Options { seed: 0, ax: AX }, |_| false)?;
    }
    if is_hardened {
        harden::run(list, &harden::Options::default())?;
    }
    Ok(editor.linearize()?.into())
}

const FUNCTIONS: Config = Config {
    div: true,
    // A few loops with ways out that nobody knows are too much for the verifier.
    loops: false,
    more: &[lookup, jiffies, processor, may_goto],
    ..Config::control_flow(Hook::TrafficControl)
};

#[test]
fn programs_of_many_functions() {
    if is_kernel_6_18() {
        compare(&Kind {
            name: "fixups",
            config: Config { ld_abs: true, ..FUNCTIONS },
            hardened: false,
            rewriters: &[("the passes", |sample| rewrite(sample, false))],
        });
    }
}

#[test]
fn programs_with_random_high_halves() {
    if is_kernel_6_18() {
        compare(&Kind {
            name: "fixups and random high halves",
            config: Config { flags: RND_HI32, atomics: true, ..FUNCTIONS },
            hardened: false,
            rewriters: &[("the passes", |sample| rewrite(sample, false))],
        });
    }
}

/// Of one function: the kernel mixes up the line records of more when it blinds them.
#[test]
fn programs_whose_constants_are_hidden() {
    if is_kernel_6_18() {
        compare(&Kind {
            name: "fixups and blinding",
            config: Config {
                functions: 1,
                callbacks: false,
                maps: false,
                atomics: true,
                more: &[may_goto, processor],
                ..FUNCTIONS
            },
            hardened: true,
            rewriters: &[("the passes", |sample| rewrite(sample, true))],
        });
    }
}
