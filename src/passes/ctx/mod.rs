//! Makes access to what programs call their context access to the structures of the kernel, as
//! `convert_ctx_accesses` of the Linux kernel does it.
//!
//! A program sees a `struct __sk_buff` or `struct xdp_md` that is nowhere in memory. What it holds a pointer to is
//! a structure of the kernel, whose layout differs from one kernel to the next. So each load or store of a field
//! becomes the instructions that a [`Table`] has for it. [`SkBuff`] and [`Xdp`] make the tables of these two
//! from offsets in the structures of a kernel, which its BTF gives; a table of anything else can be made by hand.
//!
//! What a pointer points to is for a verifier to know, so [`run`] asks for it, instruction by instruction. The same
//! pass of the kernel does some more that rests on the same facts: loads that may fault, arenas, barriers against
//! speculation, and code at the entry and the exits of the main function. These are here, too.
//!
//! Every load or store is replaced in the way of [`kernel::patch`](super::kernel::patch): a branch to it lands on the
//! first of what replaces it, and its facts go to the last.
//!
//! ```
//! use relinear::bpf::opcode::{B, DW, W};
//! use relinear::bpf::{Aux, Bpf, Endian, Insn};
//! use relinear::passes::ctx::{self, Memory, Options, Xdp};
//! use relinear::{Arena, List};
//!
//! # fn main() -> Result<(), relinear::passes::Error> {
//! let xdp = Xdp {
//!     data: 0,
//!     data_end: 8,
//!     data_meta: 16,
//!     rxq: 32,
//!     rxq_dev: 0,
//!     rxq_queue_index: 8,
//!     egress: None,
//!     ifindex: 224,
//! };
//! let table = xdp.table(Endian::NATIVE);
//! // r0 = *(u32 *)(r1 + 16), the index of the queue;  r2 = *(u8 *)(r10 - 1);  exit
//! let program = [Insn::ldx(W, 0, 1, 16), Insn::ldx(B, 2, 10, -1), Insn::exit()];
//! let seen = [Aux { seen: true, ..Aux::<()>::default() }; 3];
//! let arena = Arena::new();
//! let mut list = List::<Bpf, Aux>::with_aux(&arena, &program, &seen)?;
//! ctx::run(&mut list, &Options::default(), |site| match site.insn.src() {
//!     10 => Memory::Plain.into(),
//!     _ => Memory::Context(&table).into(),
//! })?;
//! let expected = [Insn::ldx(DW, 0, 1, 32), Insn::ldx(W, 0, 0, 8), program[1], program[2]];
//! assert_eq!(list.linearize()?.units, expected);
//! # Ok(())
//! # }
//! ```

mod access;
mod edges;
mod narrow;
mod skb;
mod table;
mod xdp;

use alloc::vec::Vec;

pub use edges::{Epilogue, direct_write};
pub use skb::{Hook, NapiId, SkBuff, Socket, Stamps, Vlan};
pub use table::{Bits, CTX, Field, HIDDEN, Load, Store, Table, VALUE};
pub use xdp::Xdp;

use super::Error;
use super::kernel::{Kernel, patch};
use super::misc_fixups::Site;
use crate::bpf::opcode::{ATOMIC, AX, LDX, MEM, MEMSX, ST, STX};
use crate::bpf::{Aux, Bpf, Insn};
use crate::core::{Handle, List, Patch};
use edges::Exits;

/// What [`run`] is to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'o> {
    /// Whose rules count, where versions differ. In 6.1, jumps to the first instruction run the prologue again,
    /// there are no loads that extend a sign, and a patch is shorter.
    pub version: Kernel,
    /// The register that programs cannot name: [`AX`] in kernels up to 6.18.
    pub ax: u8,
    /// What runs first: [`direct_write`], or nothing. Its branches stay in it.
    pub prologue: &'o [Insn],
    /// What runs instead of each `exit` of the main function.
    pub epilogue: Option<Epilogue<'o>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { version: Kernel::default(), ax: AX, prologue: &[], epilogue: None }
    }
}

/// What a verifier knows of an instruction.
#[derive(Clone, Copy, Default, Debug)]
pub struct Known<'t> {
    /// What the pointer of a load or store points to.
    pub memory: Memory<'t>,
    /// Speculation has to end before the instruction. The kernel knows this of instructions since 6.17.
    pub nospec: bool,
    /// Speculation has to end after the instruction, a store.
    pub nospec_result: bool,
}

impl<'t> From<Memory<'t>> for Known<'t> {
    fn from(memory: Memory<'t>) -> Self {
        Self { memory, ..Self::default() }
    }
}

/// What a pointer points to.
#[derive(Clone, Copy, Default, Debug)]
#[non_exhaustive]
pub enum Memory<'t> {
    /// Something that is as the program sees it: the stack, a packet, an element of a map.
    #[default]
    Plain,
    /// The context, a socket: a structure that is what the table says.
    Context(&'t Table),
    /// A structure of the kernel by its type in BTF, that may be gone: a load that faults gives zero.
    Probed,
    /// An arena.
    Arena,
}

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Loads by a table.
    pub loads: u32,
    /// Stores by a table.
    pub stores: u32,
    /// Accesses of other memory that were marked.
    pub marked: u32,
    /// Barriers against speculation.
    pub barriers: u32,
    /// Exits that became the epilogue, or lead to it.
    pub exits: u32,
}

/// `BPF_PROBE_MEM`, `BPF_PROBE_MEMSX`, `BPF_PROBE_MEM32`, `BPF_PROBE_ATOMIC`: modes behind the verifier.
const PROBE_MEM: u8 = 0x20;
const PROBE_MEMSX: u8 = 0x40;
const PROBE_MEM32: u8 = 0xa0;
const PROBE_ATOMIC: u8 = 0xe0;

/// `BPF_ST_NOSPEC`.
const BARRIER: Insn = Insn::new(ST | 0xc0, 0, 0, 0, 0);

/// Converts every load and store of which `known` says that it needs it, and puts the prologue and epilogue in.
///
/// `known` is asked about each live instruction that was [seen](Aux::seen), once, in the order of the list; the
/// others stay as they are. The prologue, the epilogue and other code that this pass inserts is in its
/// last form. An earlier pass may have replaced an instruction: its handle then names the first of what replaced
/// it, and the [user's](Aux::user) part of its facts is at the last, as in the kernel.
///
/// O(slots of the list).
///
/// # Errors
///
/// [`Error::NoConversion`] for an access that the table does not have, [`Error::LongConversion`] for one that takes
/// more instructions than the kernel has room for; [`Error::StackTooDeep`] for an epilogue; [`Error::Edit`] if the
/// list refuses. The list may then hold
/// part of the edits.
pub fn run<'t, T: Copy + Default>(
    list: &mut List<'_, Bpf, Aux<T>>,
    options: &Options<'_>,
    mut known: impl FnMut(&Site<'_, T>) -> Known<'t>,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut code = Vec::new();
    let mut exits = Exits::default();
    let mut cursor = list.cursor_mut();
    while let Some(at) = cursor.current() {
        let list = cursor.list();
        if let (Some(&[insn, ..]), Some(aux)) = (list.insn(at), list.aux(at))
            && aux.seen
        {
            let known = known(&Site { handle: at, insn, aux });
            if known.nospec {
                bar(cursor.list_mut(), at)?;
                report.barriers += 1;
            }
            if known.nospec_result && matches!(insn.class(), ST | STX) {
                patch(cursor.list_mut(), at, Patch::new(&[insn, BARRIER]))?;
                report.barriers += 1;
            } else if let Memory::Context(table) = known.memory
                && is_access(insn, options.version)
            {
                code.clear();
                access::convert(&mut code, insn, table, options.ax)
                    .ok_or(Error::NoConversion { at, insn })?;
                check_len(code.len(), options.version, at)?;
                patch(cursor.list_mut(), at, Patch::new(&code))?;
                *(if insn.class() == LDX { &mut report.loads } else { &mut report.stores }) += 1;
            } else if let Some(marked) = marked(insn, &known.memory) {
                // In place: its facts stay as they are.
                cursor.list_mut().replace(at, &[marked][..])?;
                report.marked += 1;
            }
            report.exits += u32::from(exits.leave(cursor.list_mut(), at, insn, options)?);
        }
        cursor.move_past();
    }
    edges::enter(list, options)?;
    Ok(report)
}

/// Puts a barrier before an instruction, as a patch of the two would.
fn bar<T: Copy + Default>(list: &mut List<'_, Bpf, Aux<T>>, at: Handle) -> Result<(), Error> {
    let barrier = list.prepend(at, &[BARRIER][..])?.first();
    let zext_dst = list.insn(at).is_some_and(|insn| insn[0].defined_half().is_some());
    for (handle, zext_dst) in [(barrier, false), (at, zext_dst)] {
        if let Some(aux) = list.aux_mut(handle) {
            (aux.seen, aux.zext_dst) = (true, zext_dst);
        }
    }
    Ok(())
}

/// Whether this is a load or store that the kernel looks at.
fn is_access(insn: Insn, version: Kernel) -> bool {
    match insn.mode() {
        MEM => matches!(insn.class(), LDX | ST | STX),
        MEMSX => insn.class() == LDX && version > Kernel::V6_1,
        _ => false,
    }
}

/// The instruction as it has to be for memory that may not be there.
fn marked(insn: Insn, memory: &Memory<'_>) -> Option<Insn> {
    let mode = match (memory, insn.class(), insn.mode()) {
        (Memory::Probed, LDX, MEM) => PROBE_MEM,
        (Memory::Probed, LDX, MEMSX) => PROBE_MEMSX,
        (Memory::Arena, LDX | ST | STX, MEM) => PROBE_MEM32,
        (Memory::Arena, STX, ATOMIC) => PROBE_ATOMIC,
        _ => return None,
    };
    Some(Insn::new(insn.code & 0x1f | mode, insn.dst(), insn.src(), insn.off, insn.imm))
}

/// The kernel writes into a buffer, `insn_buf`, that has to have room left.
fn check_len(slots: usize, version: Kernel, at: Handle) -> Result<(), Error> {
    let limit = if version > Kernel::V6_1 { 31 } else { 15 };
    if slots > limit { Err(Error::LongConversion { at, slots, limit }) } else { Ok(()) }
}
