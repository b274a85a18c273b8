//! [`Dce`]: dead code of a whole object.

use crate::elf::{Counts, Failure, Object, ObjectEditor, Pass};
use crate::passes::dce;

/// Deletes the code of an object that control cannot reach: [`passes::dce`](crate::passes::dce) over each code section, from
/// the functions that anything else refers to ([`Object::reachable`](crate::elf::Object::reachable)).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Dce;

impl Pass for Dce {
    fn name(&self) -> &'static str {
        "dce"
    }

    fn help(&self) -> &'static str {
        "delete code that control does not reach, fold branches on constants"
    }

    /// What was deleted may have been the last to refer to a function.
    fn has_more(&self, object: &Object<'_>) -> bool {
        let code = object.code();
        object.reachable().unreached().any(|id| !code[id.code].program().insns.is_empty())
    }

    fn run(&self, edit: &mut ObjectEditor<'_, '_>) -> Result<Counts, Failure> {
        let reachable = edit.object().reachable();
        let mut total = dce::Report::default();
        for (index, code) in edit.object().code().iter().enumerate() {
            let program = code.program();
            if program.insns.is_empty() {
                continue;
            }
            let roots: alloc::vec::Vec<u32> =
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
        Ok(counts)
    }
}
