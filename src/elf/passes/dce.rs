//! [`Dce`]: dead code of a whole object.

use alloc::vec::Vec;

use bitvec::vec::BitVec;

use crate::Handle;
use crate::elf::{Counts, ElfError, Failure, ObjectEditor, Outcome, Pass, SubprogramId};
use crate::passes::dce;

/// Deletes the code of an object that control cannot reach: [`passes::dce`](crate::passes::dce) over each code section, from
/// the functions that anything else refers to ([`Object::reachable`](crate::elf::Object::reachable)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Dce;

impl Pass for Dce {
    fn name(&self) -> &'static str {
        "dce"
    }

    fn help(&self) -> &'static str {
        "delete code that control does not reach, fold branches on constants"
    }

    fn run(&self, edit: &mut ObjectEditor<'_, '_>) -> Result<Outcome, Failure> {
        let reachable = edit.object().reachable();
        let mut total = dce::Report::default();
        for (index, code) in edit.object().code().iter().enumerate() {
            let program = code.program();
            if program.insns.is_empty() {
                continue;
            }
            let roots: Vec<u32> =
                reachable.roots(index).filter_map(|root| u32::try_from(root).ok()).collect();
            let fail = |error| Failure::in_code(index, error);
            let list = edit.code(index)?.list();
            if roots.is_empty() {
                total += dce::delete_all(program, list).map_err(fail)?;
            } else {
                let options = dce::Options { roots: Some(roots) };
                total += dce::run(program, list, &options).map_err(fail)?;
            }
        }
        let mut counts = Counts::default();
        for (name, count) in [
            ("unreached_slots", total.unreached_slots),
            ("unreferenced_subprograms", total.unreferenced_subprogs),
            ("always_taken", total.always_taken),
            ("never_taken", total.never_taken),
            ("gotos", total.gotos),
        ] {
            counts.add(name, count);
        }
        Ok(Outcome { counts, again: total != dce::Report::default() && has_more(edit)? })
    }
}

/// Whether a function has been left that code which was deleted now was the last to refer to.
fn has_more(edit: &mut ObjectEditor<'_, '_>) -> Result<bool, ElfError> {
    let object = edit.object();
    let mut live: Vec<BitVec> = Vec::with_capacity(object.code().len());
    for (index, code) in object.code().iter().enumerate() {
        let slots = code.program().insns.len();
        let mut of_section = BitVec::repeat(false, slots);
        if slots != 0 {
            let list = edit.code(index)?.list();
            for slot in list.iter().map(Handle::index).filter(|&slot| (slot as usize) < slots) {
                of_section.set(slot as usize, true);
            }
        }
        live.push(of_section);
    }
    let is_live = |code: usize, slot: u32| live[code][slot as usize];
    let reachable = object.reachable_by(&is_live);
    let left = |id: SubprogramId| {
        let mut range = object.code()[id.code].subprogram_range(id.subprogram);
        range.any(|slot| is_live(id.code, slot))
    };
    Ok(reachable.unreached().any(left))
}
