//! [`Machine`]: what a program runs on, and [`Outcome`]: what it leaves.

use std::vec::Vec;

use super::fault::Fault;
use super::memory::{APART, CONTEXT, MAPS, VALUES};
use super::run::{Run, Sight};
use crate::bpf::opcode::FRAME_POINTER;
use crate::bpf::{Endian, Insn};

/// What programs run on. It is the same for each run: nothing that one does is left for the next.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The byte order of memory.
    pub endian: Endian,
    /// The highest register that instructions may name.
    pub highest: u8,
    /// What 32-bit operations leave in the upper halves of registers.
    pub high_half: HighHalf,
    /// How many instructions may run.
    pub steps: u64,
    /// How often the `may_goto`s of a function go on, in each call of it.
    pub may_goto: u64,
    /// The stack of each call, in bytes.
    pub frame: usize,
    /// What `r1` points to at first.
    pub context: Vec<u8>,
    /// Fields of the context of which a load of 4 bytes gives the address of the packet.
    pub packet_starts: Vec<u64>,
    /// Fields of the context of which a load of 4 bytes gives the address of the end of the packet.
    pub packet_ends: Vec<u64>,
    /// The packet.
    pub packet: Vec<u8>,
    /// The maps, which programs name by their index.
    pub maps: Vec<MapValues>,
    /// What is added to the addresses of functions, by their positions, and of frames. What a program does
    /// should not depend on it.
    pub base: u64,
}

/// What 32-bit operations leave in the upper half of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HighHalf {
    /// Zero, as RFC 9669 says.
    Zero,
    /// Anything, as on the machines whose compilers want it zeroed by instructions of its own
    /// (`bpf_jit_needs_zext` in the kernel).
    Anything,
}

/// An array map: values of one size, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapValues {
    /// The size of a value in bytes, at least 1.
    pub size: usize,
    /// The bytes of all values.
    pub bytes: Vec<u8>,
}

/// What a program left behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What it returned.
    pub value: u64,
    /// The context.
    pub context: Vec<u8>,
    /// The packet.
    pub packet: Vec<u8>,
    /// The bytes of each map.
    pub maps: Vec<Vec<u8>>,
    /// The helpers it called, but for `bpf_loop`.
    pub trace: Vec<HelperCall>,
}

/// A call of a helper.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelperCall {
    /// The number of the helper.
    pub helper: i32,
    /// The arguments that it takes.
    pub arguments: Vec<u64>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            endian: Endian::Little,
            highest: FRAME_POINTER,
            high_half: HighHalf::Zero,
            steps: 1_000_000,
            may_goto: 1 << 23,
            frame: 512,
            context: Vec::new(),
            packet_starts: Vec::new(),
            packet_ends: Vec::new(),
            packet: Vec::new(),
            maps: Vec::new(),
            base: 0,
        }
    }
}

impl Machine {
    /// Helpers that load one, two or four bytes from the packet: they take the context and an offset, and give
    /// a negative number past the end. Linux has such, without a number, behind its verifier.
    pub const PACKET_LOADS: [i32; 3] = [100_001, 100_002, 100_004];

    /// The address of the values of a map.
    #[must_use]
    pub fn value_address(map: u32) -> u64 {
        VALUES + u64::from(map) * APART
    }

    /// The address of the context.
    #[must_use]
    pub const fn context_address() -> u64 {
        CONTEXT
    }

    /// What stands for a map where a helper takes one.
    #[must_use]
    pub fn map_address(map: u32) -> u64 {
        MAPS + u64::from(map)
    }

    /// Runs a program from its first slot.
    ///
    /// # Errors
    ///
    /// What stopped it.
    pub fn run(&self, program: &[Insn]) -> Result<Outcome, Fault> {
        self.run_watched(program, &mut |_| {})
    }

    /// As [`run`](Machine::run), and shows what is before each instruction.
    ///
    /// # Errors
    ///
    /// As [`run`](Machine::run).
    pub fn run_watched(&self, program: &[Insn], watch: &mut dyn FnMut(&Sight<'_>)) -> Result<Outcome, Fault> {
        Run::new(self, program).finish(watch)
    }

    /// As [`run`](Machine::run), and says of each slot whether an instruction ran that starts there.
    ///
    /// # Errors
    ///
    /// As [`run`](Machine::run).
    pub fn run_seen(&self, program: &[Insn]) -> Result<(Outcome, Vec<bool>), Fault> {
        let mut run = Run::new(self, program);
        let outcome = run.finish(&mut |_| {})?;
        Ok((outcome, run.seen))
    }
}
