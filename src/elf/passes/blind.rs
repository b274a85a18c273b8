//! [`Blind`]: constant blinding of all code of an object.

use alloc::string::String;

use crate::bpf::MAX_STACK;
use crate::elf::stack::stack_budgets;
use crate::elf::{Counts, Failure, ObjectEditor, Outcome, Pass};
use crate::passes::blind;

/// Hides the constants of an object: [`passes::blind`](crate::passes::blind) over each code section, with what the
/// other sections leave of the stack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blind {
    /// What the pass over each section is to know.
    pub options: blind::Options,
}

impl Blind {
    /// The pass as it is if nothing is said.
    #[must_use]
    pub const fn new() -> Self {
        Self::seeded(0)
    }

    /// The pass whose random halves start from `seed`.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self { options: blind::Options { seed, hidden: None, stack: MAX_STACK } }
    }
}

impl Pass for Blind {
    fn name(&self) -> &'static str {
        "blind"
    }

    fn help(&self) -> &'static str {
        "split each constant into two random halves that are joined at run time"
    }

    fn options(&self) -> &'static [(&'static str, &'static str)] {
        &[("seed", "where the random halves start; the same number gives the same object")]
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        match (option, value.parse()) {
            ("seed", Ok(seed)) => {
                self.options.seed = seed;
                Ok(())
            }
            ("seed", Err(_)) => Err(alloc::format!("{value:?} is no number below 2^64")),
            _ => Err(alloc::format!("the pass blind has no option {option:?}")),
        }
    }

    fn takes_edited(&self) -> bool {
        true
    }

    fn run(&self, edit: &mut ObjectEditor<'_, '_>) -> Result<Outcome, Failure> {
        let budgets =
            stack_budgets(edit.object()).map_err(|(code, error)| Failure::in_code(code, error.into()))?;
        let mut counts = Counts::default();
        for (index, budget) in budgets.into_iter().enumerate() {
            let program = edit.object().code()[index].program();
            if program.insns.is_empty() {
                continue;
            }
            // Sections must not have their keys in common, or one would tell of the other.
            let seed = self.options.seed.wrapping_add((index as u64) << 40);
            let options = blind::Options { seed, stack: self.options.stack.min(budget), ..self.options };
            let list = edit.code(index)?.list();
            let report =
                blind::run(program, list, &options).map_err(|error| Failure::in_code(index, error))?;
            for (name, count) in [
                ("blinded", report.blinded),
                ("spilled", report.spilled),
                ("left_pinned", report.pinned),
                ("left_null_checks", report.null_checks),
                ("left_jumps_without_register", report.jumps_without_register),
                ("left_without_register", report.without_register),
                ("left_edited", report.edited),
            ] {
                counts.add(name, count);
            }
        }
        Ok(counts.into())
    }
}
