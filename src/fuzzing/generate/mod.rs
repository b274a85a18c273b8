//! [`Generated`]: random eBPF programs that end, and access only memory that there is.
//!
//! Every register holds a number at all times, but for `r9`, which counts the turns of loops. What a program
//! computes ends in `r0`, so that nothing it does goes unseen. A frame is laid out so, from the frame
//! pointer down: eight words of data, then the context of the entry function.

mod body;
mod control;
mod memory;
mod statement;

use std::vec;
use std::vec::Vec;

use arbitrary::{Arbitrary, Result, Unstructured};

pub(super) use self::memory::{DATA, DATA_END};
use super::interp::{Machine, MapValues};
use crate::Isa;
use crate::bpf::{Bpf, Endian, Insn, Program};

/// A program that ends and is safe, and what it runs on.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The program.
    pub program: Program,
    /// What it runs on.
    pub machine: Machine,
    /// Whether it names its maps by their addresses, as the kernel's own code does, and not by their index.
    pub resolved: bool,
}

/// What a program may have.
#[derive(Clone, Copy)]
struct Style {
    /// Only what a verifier accepts for a program of the traffic control hook: no maps, no helpers that tell
    /// of the world, no dead code.
    for_kernel: bool,
    resolved: bool,
}

/// A subprogram other than the entry function.
#[derive(Clone, Copy)]
struct Callee {
    /// It is a callback of `bpf_loop`, not for calls.
    is_callback: bool,
    /// The argument that is a word on the stack of its caller, if there is one.
    pointer: Option<u8>,
}

/// Writes a program.
struct Writer<'u, 'a> {
    u: &'u mut Unstructured<'a>,
    style: Style,
    insns: Vec<Insn>,
    callees: Vec<Callee>,
    /// The subprogram that is written: 0 is the entry function.
    subprog: usize,
    /// Calls and addresses of subprograms, by the slot and the subprogram.
    references: Vec<(usize, usize)>,
    in_loop: bool,
    /// How many more calls the subprogram may have: the steps of a run are exponential in it.
    calls: usize,
}

/// The bytes of a packet, of the context, and of each map.
const PACKET: usize = 64;
const CONTEXT: usize = 192;
const MAP: usize = 64;
/// The maps there are.
const MAPS: u32 = 2;

impl<'a> Arbitrary<'a> for Generated {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let style = Style { for_kernel: false, resolved: u.arbitrary()? };
        let mut machine = machine(u)?;
        machine.endian = if u.ratio(1, 4)? { Endian::Big } else { Endian::Little };
        if u.ratio(1, 4)? {
            machine.may_goto = u.int_in_range(0..=8)?;
        }
        Self::new(u, style, machine)
    }
}

impl Generated {
    /// A program that a verifier accepts for the traffic control hook, and that returns the same with each
    /// packet of the same length whose bytes are zero.
    ///
    /// # Errors
    ///
    /// None: when the bytes are used up, the rest is zero.
    pub fn for_kernel(u: &mut Unstructured<'_>) -> Result<Self> {
        let machine = Machine { packet: vec![0; PACKET], context: vec![0; CONTEXT], ..Machine::default() };
        Self::new(u, Style { for_kernel: true, resolved: false }, machine)
    }

    fn new(u: &mut Unstructured<'_>, style: Style, mut machine: Machine) -> Result<Self> {
        machine.packet_starts = vec![DATA.unsigned_abs().into()];
        machine.packet_ends = vec![DATA_END.unsigned_abs().into()];
        let mut writer = Writer {
            u,
            style,
            insns: Vec::new(),
            callees: Vec::new(),
            subprog: 0,
            references: Vec::new(),
            in_loop: false,
            calls: 0,
        };
        let program = writer.program()?;
        Ok(Self { program, machine, resolved: style.resolved })
    }
}

/// A machine with a packet, a context and maps of repeated bytes.
pub(super) fn machine(u: &mut Unstructured<'_>) -> Result<Machine> {
    let mut bytes = |len| (0..len).map(|_| u.arbitrary()).collect::<Result<Vec<u8>>>();
    let (packet, context) = (bytes(8)?, bytes(8)?);
    let repeated = |bytes: &[u8], len| bytes.iter().copied().cycle().take(len).collect();
    let map = MapValues { size: 16, bytes: repeated(&packet, MAP) };
    Ok(Machine {
        packet: repeated(&packet, PACKET),
        context: repeated(&context, CONTEXT),
        maps: vec![map; MAPS as usize],
        ..Machine::default()
    })
}

impl Writer<'_, '_> {
    fn program(&mut self) -> Result<Program> {
        for _ in 0..self.u.int_in_range(0..=3)? {
            // Random callbacks lead the verifier of Linux 6.18 astray, up to an oops in `__mark_chain_precision`.
            let is_callback = !self.style.for_kernel && self.u.ratio(1, 3)?;
            let pointer = self.u.arbitrary::<bool>()?.then_some(if is_callback { 2 } else { 1 });
            self.callees.push(Callee { is_callback, pointer });
        }
        let mut subprogs = Vec::new();
        for subprog in 0..=self.callees.len() {
            self.subprog = subprog;
            subprogs.push(u32::try_from(self.insns.len()).expect("programs are small"));
            self.body()?;
        }
        for &(at, subprog) in &self.references {
            let displacement =
                i64::from(subprogs[subprog]) - i64::try_from(at + 1).expect("programs are small");
            Bpf.write(&mut self.insns[at..], 0, displacement);
        }
        Ok(Program { insns: core::mem::take(&mut self.insns), subprogs, ..Program::default() })
    }

    fn push(&mut self, insns: impl IntoIterator<Item = Insn>) {
        self.insns.extend(insns);
    }
}
