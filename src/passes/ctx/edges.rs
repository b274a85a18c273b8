//! What runs where the main function is entered, and where it is left.

use super::table::Bits;
use super::{Options, check_len};
use crate::bpf::opcode::{AND, B, DW, FRAME_POINTER, JEQ, XOR};
use crate::bpf::{Aux, Bpf, Insn};
use crate::core::{Branch, Error as EditError, Handle, List, Patch, Target};
use crate::passes::Error;
use crate::passes::kernel::{self, Kernel, patch};

/// `BPF_FUNC_skb_pull_data`.
const PULL_DATA: i32 = 39;

/// The prologue of a program that writes to the packet of a `struct sk_buff`: it sees to it that nobody else has the
/// same packet, and returns `verdict` if it cannot.
///
/// `cloned` is the bit of that name in the structure. The kernel does so for programs for traffic control, where the
/// verdict is `TC_ACT_SHOT`, 2 (`bpf_unclone_prologue`).
#[must_use]
pub fn direct_write(cloned: Bits, verdict: i32) -> [Insn; 10] {
    [
        Insn::ldx(B, 6, 1, cloned.byte),
        Insn::alu32_imm(AND, 6, cloned.mask()),
        Insn::jmp_imm(JEQ, 6, 0, 7),
        Insn::mov64_reg(6, 1),
        Insn::alu64_reg(XOR, 2, 2),
        Insn::call(PULL_DATA),
        Insn::jmp_imm(JEQ, 0, 0, 2),
        Insn::mov32_imm(0, verdict),
        Insn::exit(),
        Insn::mov64_reg(1, 6),
    ]
}

/// What runs instead of each `exit` of the main function, since 6.12.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epilogue<'o> {
    /// The code, with an `exit` of its own. Its branches stay in it. It finds the context on the stack, 8 bytes below
    /// what the program uses.
    pub code: &'o [Insn],
    /// How many bytes of stack the main function uses.
    pub stack: u32,
    /// Where in the original program the main function ends, in slots.
    pub end: u32,
}

/// Looks for the exits of the main function on a walk through the list.
#[derive(Default)]
pub(super) struct Exits {
    /// Where the epilogue is, once it is there.
    epilogue: Option<Handle>,
    /// The walk has come to the end of the main function.
    is_past: bool,
}

impl Exits {
    /// Makes the instruction the epilogue or lead there, if it is an exit. Says whether it was.
    pub(super) fn leave<T: Copy + Default>(
        &mut self,
        list: &mut List<'_, Bpf, Aux<T>>,
        at: Handle,
        insn: Insn,
        options: &Options<'_>,
    ) -> Result<bool, Error> {
        let Some(Epilogue { code, end, .. }) = epilogue(options) else { return Ok(false) };
        // Inserted code belongs to what comes before it.
        self.is_past |= (end..list.original_len()).contains(&at.index());
        if self.is_past || !insn.is_exit() {
            return Ok(false);
        }
        if let Some(epilogue) = self.epilogue {
            let branches = [Branch::new(0, Target::Handle(epilogue))];
            patch(list, at, Patch::new(&[Insn::gotol(0)]).branches(&branches))?;
        } else {
            check_len(code.len(), options.version, at)?;
            self.epilogue = Some(patch(list, at, Patch::new(code))?.first());
        }
        Ok(true)
    }
}

fn epilogue<'o>(options: &Options<'o>) -> Option<Epilogue<'o>> {
    options.epilogue.filter(|_| options.version > Kernel::V6_1)
}

/// Puts in what runs first: the prologue, and what saves the context for the epilogue.
pub(super) fn enter<T: Copy + Default>(
    list: &mut List<'_, Bpf, Aux<T>>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let Some(first) = list.first() else { return Ok(()) };
    // With the instruction that was the first one.
    check_len(options.prologue.len() + 1, options.version, first)?;
    let mut code = options.prologue.to_vec();
    if let Some(Epilogue { stack, .. }) = epilogue(options) {
        let slot = i16::try_from(-8 - i64::from(stack));
        let slot = slot.map_err(|_| Error::StackTooDeep { subprog: 0, used: stack, more: 8 })?;
        code.push(Insn::stx(DW, FRAME_POINTER, 1, slot));
    }
    if code.is_empty() {
        return Ok(());
    }
    if options.version > Kernel::V6_1 {
        lead_behind(list, first)?;
    }
    kernel::prologue(list, first, Patch::new(&code), options.version)?;
    Ok(())
}

/// Makes jumps to deleted code in front of the first instruction lead to that instruction itself: it makes a
/// difference once there is code that they are not to run.
fn lead_behind<T: Copy + Default>(list: &mut List<'_, Bpf, Aux<T>>, first: Handle) -> Result<(), EditError> {
    let mut here = Some(first);
    while let Some(at) = here {
        here = list.next(at);
        let Some(&[insn, ..]) = list.insn(at) else { continue };
        let target = if insn.is_jump() { list.target(at, 0) } else { None };
        if target.is_some_and(|target| !list.is_live(target) && list.next(target) == Some(first)) {
            let branches = [Branch::new(0, Target::Handle(first))];
            list.replace(at, Patch::new(&[insn]).branches(&branches))?;
        }
    }
    Ok(())
}
