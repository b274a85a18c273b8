//! The list of passes, and passes of a user's own.

use relinear::bpf::Insn;
use relinear::elf::{Counts, Failure, Object, ObjectEditor, Outcome, Pass, Passes, patch};
use relinear::{Handle, Patch};

use super::objects;

#[test]
fn every_pass_says_what_it_is() {
    let passes = Passes::standard();
    for pass in passes.iter() {
        assert!(!pass.name().is_empty() && !pass.help().is_empty());
        assert_eq!(passes.by_name(pass.name()).map(Pass::name), Some(pass.name()));
    }
    assert!(passes.by_name("").is_none());
    let mut passes = passes;
    let blind = passes.by_name_mut("blind").expect("there is one");
    assert_eq!(blind.set("seed", "7"), Ok(()));
    assert!(blind.set("seed", "seven").is_err() && blind.set("colour", "7").is_err());
    let dce = passes.by_name_mut("dce").expect("there is one");
    assert!(dce.set("seed", "7").is_err());
}

/// Puts a move into a register that nothing reads at the start of each section.
struct Idle(bool);

impl Pass for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn help(&self) -> &'static str {
        "do nothing, at the start of each section"
    }

    fn takes_edited(&self) -> bool {
        self.0
    }

    fn run(&self, edit: &mut ObjectEditor<'_, '_>) -> Result<Outcome, Failure> {
        let mut counts = Counts::default();
        for index in 0..edit.object().code().len() {
            let list = edit.code(index)?.list();
            let added = list.prepend_fallthrough(Handle::new(0), Patch::new(&[Insn::mov64_imm(0, 0)]));
            added.map_err(|error| Failure::in_code(index, error.into()))?;
            counts.add("sections", 1_u32);
        }
        Ok(counts.into())
    }
}

#[test]
fn passes_share_a_list_if_they_take_what_others_edited() {
    for (name, file) in objects() {
        let run = |passes: &[&dyn Pass]| {
            let mut object = Object::parse(&file).expect("ours can be read");
            let report = patch(&mut object, passes).unwrap_or_else(|error| panic!("{name}: {error}"));
            (object.write().expect("it can be written"), report)
        };
        let (once, shared) = run(&[&Idle(true), &Idle(true)]);
        let (twice, apart) = run(&[&Idle(true), &Idle(false)]);
        assert_eq!((shared.linearized, apart.linearized), (1, 2), "{name}");
        assert!(once == twice, "{name}: the same edits, laid out once and twice");
        assert_eq!(shared.passes, apart.passes, "{name}");
        let sections = Object::parse(&file).expect("ours can be read").code().len() as u64;
        assert!(shared.passes.iter().all(|(_, counts)| counts.get("sections") == sections), "{name}");
    }
}
