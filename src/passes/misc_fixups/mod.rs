//! What a kernel does to a program behind the verifier, that is no pass of its own: guards of
//! divisions, packet access, calls, pointer arithmetic, `may_goto` ([`run`], the kernel's
//! `do_misc_fixups`), and `bpf_loop` ([`inline_loops`], its `optimize_bpf_loop`).
//!
//! Many of these rest on facts that are not in the program: which map a call looks into, where a helper
//! is, what offset a pointer stays in bounds with. They come from a [`Host`]. Whatever it does not know,
//! stays as it is, so that a run time in user space can take what it needs.
//!
//! Each of them replaces one instruction, in the way of [`kernel`](super::kernel): a branch to it lands on
//! the first of what replaces it, and its facts go to the last.
//!
//! What is written cannot be verified again, as it uses a register that programs cannot name.
//!
//! ```
//! use relinear::bpf::opcode::DIV;
//! use relinear::bpf::{Aux, Bpf, Insn};
//! use relinear::passes::misc_fixups::{self, ArrayLookup, Call, Host, Options, Site, Subprogs};
//! use relinear::{Arena, List};
//!
//! /// All look-ups of a program are in one array, and all its other calls are of functions in a table.
//! struct RunTime {
//!     array: ArrayLookup,
//!     functions: Vec<i32>,
//! }
//!
//! impl Host<()> for RunTime {
//!     fn call(&self, site: &Site<'_, ()>) -> Call<'_> {
//!         match usize::try_from(site.insn.imm) {
//!             Ok(1) => Call::ArrayLookup(self.array),
//!             Ok(helper) => self.functions.get(helper).map_or(Call::Keep, |&imm| Call::Immediate(imm)),
//!             Err(_) => Call::Keep,
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), relinear::passes::Error> {
//! let array = ArrayLookup { elements: 64, element_size: 8, max_entries: 100, index_mask: None };
//! let host = RunTime { array, functions: vec![0, 0, 0x500] };
//! // call 1;  call 2;  r0 /= r6;  exit
//! let program = [Insn::call(1), Insn::call(2), Insn::alu64_reg(DIV, 0, 6), Insn::exit()];
//! let arena = Arena::new();
//! let mut list = List::<Bpf, Aux>::with_aux(&arena, &program, &[])?;
//! let mut subprogs = Subprogs { starts: &[0], stack: &mut [0] };
//! misc_fixups::run(&mut list, &mut subprogs, &host, &Options::default())?;
//! let out = list.linearize()?;
//! assert_eq!(out.units.len(), 7 + 1 + 4 + 1);
//! assert_eq!(out.units[7], Insn::call(0x500));
//! # Ok(())
//! # }
//! ```

mod alu_sanitize;
mod bpf_loop;
mod div;
mod host;
mod ld_abs;
mod map_lookup;
mod may_goto;
mod prologue;
mod subprogs;
mod tail_call;

use alloc::vec;
use alloc::vec::Vec;

pub use alu_sanitize::AluLimit;
pub use host::{Call, Host, IndexMask, Site};
pub use ld_abs::PacketLoads;
pub use map_lookup::{ArrayLookup, HashLookup};
pub use may_goto::MayGoto;
pub use subprogs::Subprogs;
pub use tail_call::{TAIL_CALL, TailCall};

use super::kernel::{Kernel, patch};
use super::{Error, branch_target};
use crate::bpf::opcode::{AX, CALL_HELPER, CALL_LOCAL, DW, LD, MAY_GOTO, W};
use crate::bpf::{Aux, Bpf, Insn};
use crate::core::{Branch, Handle, List, Patch, Target};
use host::BadFact;
use prologue::Entry;
use subprogs::Walk;

/// What [`run`] is to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Whose instructions are to be written, where versions differ.
    pub version: Kernel,
    /// The register that programs cannot name: [`AX`] in kernels up to 6.18.
    pub ax: u8,
    /// What packet access calls. `None`: it stays as it is.
    pub packet_loads: Option<PacketLoads>,
    /// How loops with `may_goto` come to an end. `None`: they stay as they are.
    pub may_goto: Option<MayGoto>,
}

/// For the latest kernel, with packet access and `may_goto` left as they are.
impl Default for Options {
    fn default() -> Self {
        Self { version: Kernel::default(), ax: AX, packet_loads: None, may_goto: None }
    }
}

/// What [`run`] and [`inline_loops`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Divisions with a guard.
    pub divisions: u32,
    /// Packet accesses that became calls.
    pub packet_loads: u32,
    /// Additions to pointers that were made safe.
    pub sanitized: u32,
    /// Calls that were changed.
    pub calls: u32,
    /// Jumps that were given a budget.
    pub may_gotos: u32,
    /// Loops that were inlined.
    pub loops: u32,
}

/// Rewrites what cannot run as it stands.
///
/// O(slots of the list).
///
/// # Errors
///
/// [`Error::BadSubprogs`]; [`Error::StackTooDeep`] where a slot would be out of reach of the frame
/// pointer; [`Error::BadFact`] for something the host said that no instruction can hold;
/// [`Error::Edit`] for its code, and for a branch that leads out of the program. A branch that does not
/// reach any more is found at linearization.
pub fn run<T: Copy + Default, H: Host<T> + ?Sized>(
    list: &mut List<'_, Bpf, Aux<T>>,
    subprogs: &mut Subprogs<'_>,
    host: &H,
    options: &Options,
) -> Result<Report, Error> {
    subprogs.check()?;
    let mut report = Report::default();
    let mut code = Vec::new();
    let mut entries = vec![None; subprogs.starts.len()];
    let mut walk = Walk::new(subprogs.starts, list.end());
    let mut cursor = list.cursor_mut();
    while let Some(at) = cursor.current() {
        walk.step(at);
        let list = cursor.list();
        code.clear();
        match rewrite(&mut code, &site(list, at)?, host, options, &mut report)? {
            Edit::None => {}
            // The facts stay as they are.
            Edit::InPlace => drop(cursor.list_mut().replace(at, Patch::new(&code))?),
            Edit::Patch => patch_and_tell(cursor.list_mut(), at, Patch::new(&code), host)?,
            Edit::Bound(kind) => {
                let (_, slot) = subprogs.grown(walk.subprog, kind.stack())?;
                let branches = [Branch::new(may_goto::JUMP, Target::Handle(branch_target(list, at)?))];
                kind.write(&mut code, slot, options.ax);
                patch_and_tell(cursor.list_mut(), at, Patch::new(&code).branches(&branches), host)?;
                entries[walk.subprog] = walk.first.map(Entry::new);
            }
        }
        cursor.move_past();
    }
    if let Some(kind) = options.may_goto.filter(|_| report.may_gotos > 0) {
        for (subprog, entry) in entries.iter_mut().enumerate() {
            let Some(entry) = entry else { continue };
            let (depth, slot) = subprogs.grown(subprog, kind.stack())?;
            subprogs.stack[subprog] = depth;
            code.clear();
            kind.write_prologue(&mut code, slot);
            entry.prepend(list, &mut code)?;
        }
        prologue::retarget(list, subprogs.starts, &entries)?;
    }
    Ok(report)
}

/// What to do with an instruction.
enum Edit {
    None,
    /// Overwrite it with the one in the code.
    InPlace,
    /// Replace it by the code.
    Patch,
    /// Give the loop an end.
    Bound(MayGoto),
}

/// Writes what replaces an instruction, if it is not a `may_goto`.
fn rewrite<T, H: Host<T> + ?Sized>(
    code: &mut Vec<Insn>,
    site: &Site<'_, T>,
    host: &H,
    options: &Options,
    report: &mut Report,
) -> Result<Edit, Error> {
    let insn = site.insn;
    let count = if insn.code == MAY_GOTO {
        let Some(kind) = options.may_goto else { return Ok(Edit::None) };
        report.may_gotos += 1;
        return Ok(Edit::Bound(kind));
    } else if insn.is_call() && insn.src() != CALL_LOCAL {
        let call = host.call(site);
        let bad = |BadFact { what, value }| Error::BadFact { at: site.handle, what, value };
        write_call(code, insn, &call, options.version).map_err(bad)?;
        report.calls += u32::from(!code.is_empty());
        if matches!(call, Call::Immediate(_) | Call::TailCall(TailCall { mask: None, .. })) {
            return Ok(Edit::InPlace);
        }
        return Ok(if code.is_empty() { Edit::None } else { Edit::Patch });
    } else if alu_sanitize::is_candidate(insn) {
        if let Some(limit) = host.alu_limit(site) {
            alu_sanitize::write(code, insn, limit, options.ax);
        }
        &mut report.sanitized
    } else if let Some(helpers) = &options.packet_loads
        && insn.class() == LD
    {
        ld_abs::write(code, insn, helpers);
        &mut report.packet_loads
    } else {
        div::write(code, insn, options.ax);
        &mut report.divisions
    };
    if code.is_empty() {
        return Ok(Edit::None);
    }
    *count += 1;
    Ok(Edit::Patch)
}

fn write_call(code: &mut Vec<Insn>, insn: Insn, call: &Call<'_>, version: Kernel) -> Result<(), BadFact> {
    match call {
        Call::Keep => {}
        Call::Immediate(imm) => code.push(insn.with_imm(*imm)),
        Call::TailCall(call) => tail_call::write(code, insn, call)?,
        Call::ArrayLookup(map) => map_lookup::write_array(code, map)?,
        Call::PerCpuArrayLookup(map) => map_lookup::write_per_cpu(code, map)?,
        Call::HashLookup(map) => map_lookup::write_hash(code, map),
        Call::Jiffies { address } => {
            code.extend(Insn::ld_imm64(0, *address));
            code.push(Insn::ldx(DW, 0, 0, 0));
        }
        Call::ProcessorId { address } => {
            code.push(match version {
                Kernel::V6_1 | Kernel::V6_12 => Insn::mov32_imm(0, *address),
                _ => Insn::mov64_imm(0, *address),
            });
            code.extend([map_lookup::per_cpu(0), Insn::ldx(W, 0, 0, 0)]);
        }
        Call::Code(instead) => code.extend_from_slice(instead),
    }
    Ok(())
}

/// Puts calls of `bpf_loop` as loops into the program, where the host knows the callback. It is asked about calls that
/// are [seen](Aux::seen) only.
///
/// The kernel does so before it removes dead code. Two loops of one subprogram keep registers in the same
/// stack. O(slots of the list).
///
/// # Errors
///
/// [`Error::BadSubprogs`]; [`Error::StackTooDeep`] where a slot would be out of reach of the frame
/// pointer; [`Error::Edit`] if the callback is no instruction of the list, or the allocator refuses.
pub fn inline_loops<T: Copy + Default, H: Host<T> + ?Sized>(
    list: &mut List<'_, Bpf, Aux<T>>,
    subprogs: &mut Subprogs<'_>,
    host: &H,
) -> Result<Report, Error> {
    subprogs.check()?;
    let mut report = Report::default();
    let mut code = Vec::new();
    let mut grown = Vec::new();
    let mut walk = Walk::new(subprogs.starts, list.end());
    let mut cursor = list.cursor_mut();
    while let Some(at) = cursor.current() {
        walk.step(at);
        let list = cursor.list();
        let site = site(list, at)?;
        let loops =
            site.insn.is_call() && site.insn.src() == CALL_HELPER && site.insn.imm == bpf_loop::HELPER;
        // Of calls that the verifier never saw, nobody knows the callback.
        if loops
            && site.aux.seen
            && let Some(callback) = host.loop_callback(&site)
        {
            let (depth, slot) = subprogs.grown(walk.subprog, bpf_loop::STACK)?;
            let branches = [Branch::new(bpf_loop::CALL, Target::Handle(callback))];
            code.clear();
            bpf_loop::write(&mut code, slot);
            patch_and_tell(cursor.list_mut(), at, Patch::new(&code).branches(&branches), host)?;
            grown.push((walk.subprog, depth));
            report.loops += 1;
        }
        cursor.move_past();
    }
    for (subprog, depth) in grown {
        subprogs.stack[subprog] = depth;
    }
    Ok(report)
}

/// As [`patch`], and gives the calls that were inserted the facts that the host has for them.
fn patch_and_tell<T: Copy + Default, H: Host<T> + ?Sized>(
    list: &mut List<'_, Bpf, Aux<T>>,
    at: Handle,
    code: Patch<'_, Insn>,
    host: &H,
) -> Result<(), Error> {
    let after = list.next(at);
    let first = patch(list, at, code)?.first();
    // The last one has the facts of what was replaced.
    let mut here = Some(first);
    while let Some(at) = here.filter(|&at| list.next(at) != after) {
        let call = list.insn(at).map(|insn| insn[0]).filter(|insn| insn.is_call());
        if let Some((call, aux)) = call.zip(list.aux_mut(at)) {
            aux.user = host.inserted_call(call);
        }
        here = list.next(at);
    }
    Ok(())
}

fn site<'l, T: Copy + Default>(list: &'l List<'_, Bpf, Aux<T>>, at: Handle) -> Result<Site<'l, T>, Error> {
    let found = list.insn(at).zip(list.aux(at));
    let (insn, aux) = found.ok_or(crate::core::Error::NoSuchInsn(at))?;
    Ok(Site { handle: at, insn: insn[0], aux })
}
