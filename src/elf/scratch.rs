//! [`Surroundings`]: what an object says of registers and stack in each of its code sections.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use super::code::{Binding, R_BPF_64_32};
use super::object::{Object, Referent};
use crate::bpf::scratch::Context;
use crate::bpf::{Arguments, Cfg, CfgError, Signature};

/// What an object says of the registers and the stack of code in all of its sections: what a
/// [`Scratch`](crate::bpf::scratch::Scratch) has to know.
///
/// Functions outside of `.text` are run by the kernel, with a context. Those of `.text` are called, with
/// as many arguments as BTF says at most: a compiler may have left out some of those of a static function.
/// All that is called by a relocation is taken into account, and all chains of calls through the object.
#[derive(Clone, Debug)]
pub struct Surroundings {
    sections: Vec<Context>,
}

/// How often the results of functions are looked at again, as those that they call turn out to give some: calls are
/// nested 8 deep at most.
const ROUNDS: usize = 8;

/// The section of functions that others call.
const TEXT: &str = ".text";

impl Surroundings {
    /// Finds out what an object says. O(slots + relocations + types).
    ///
    /// # Errors
    ///
    /// The code section whose code has no control flow graph, and why.
    pub fn new(object: &Object<'_>) -> Result<Self, (usize, CfgError)> {
        let growths = object.stack_growths()?;
        let externs = Externs::new(object);
        let entries: Vec<_> = (0..object.code().len()).map(|code| entries(object, code)).collect();
        let mut sections = Vec::new();
        let mut graphs = Vec::new();
        for (code, growths) in growths.into_iter().enumerate() {
            let section = &object.code()[code];
            let program = section.program();
            let graph = if program.insns.is_empty() { None } else { Some(Cfg::new(program)) };
            graphs.push(graph.transpose().map_err(|error| (code, error))?);
            let run = section.name() != TEXT;
            // The verifier reads what a program returns, but for those whose hook takes nothing.
            let void = ["lsm", "struct_ops"].iter().any(|kind| section.name().starts_with(kind));
            sections.push(Context {
                entries: entries[code].iter().copied().map(Some).collect(),
                growths,
                returns: vec![run && !void; program.subprogs.len()],
                calls: BTreeMap::new(),
                linux_helpers: true,
                reads: BTreeMap::new(),
            });
        }
        let mut surroundings = Self { sections };
        for _ in 0..ROUNDS {
            for code in 0..graphs.len() {
                surroundings.sections[code].calls = surroundings.calls(object, code, &entries, &externs);
            }
            let mut changed = false;
            for (code, graph) in graphs.iter().enumerate() {
                let Some(graph) = graph else { continue };
                let found = surroundings.sections[code].returning(object.code()[code].program(), graph);
                changed |= found != surroundings.sections[code].returns;
                surroundings.sections[code].returns = found;
            }
            if !changed {
                break;
            }
        }
        Ok(surroundings)
    }

    /// What is known of the code of section `code`.
    ///
    /// # Panics
    ///
    /// If the object had no such code section.
    #[must_use]
    pub fn context(&self, code: usize) -> Context {
        self.sections[code].clone()
    }

    /// What is called by relocations, by the slot of the call.
    fn calls(
        &self,
        object: &Object<'_>,
        code: usize,
        entries: &[Vec<Arguments>],
        externs: &Externs,
    ) -> BTreeMap<u32, Signature> {
        let calls =
            object.code()[code].relocations().iter().filter(|relocation| relocation.kind == R_BPF_64_32);
        let signature = |relocation| match object.referent(code, relocation) {
            Referent::Code { code, slot } => {
                let subprog = object.code()[code].subprogram_at(slot);
                let returns = self.sections[code].returns.get(subprog).copied().unwrap_or_default();
                let unknown = Arguments::UNKNOWN;
                let Arguments { sure, most } = entries[code].get(subprog).copied().unwrap_or(unknown);
                Signature { takes: most, needs: sure, returns }
            }
            _ => externs.signature(&object.symbol_name(relocation.symbol)),
        };
        calls.map(|relocation| (relocation.slot, signature(relocation))).collect()
    }
}

/// What each subprogram of a code section is entered with from outside of the section.
fn entries(object: &Object<'_>, code: usize) -> Vec<Arguments> {
    let section = &object.code()[code];
    let program = section.program();
    if section.name() != TEXT {
        return vec![Arguments::CONTEXT; program.subprogs.len()];
    }
    let types: BTreeMap<u32, u32> = section.func_info().map(|info| (info.slot, info.type_id)).collect();
    // The verifier looks at each global function by itself, with all of its arguments.
    let global: BTreeSet<u32> = section
        .functions()
        .iter()
        .filter(|function| function.binding != Binding::Local)
        .map(|function| function.start)
        .collect();
    let arguments = |start| {
        let (params, _) = object.btf()?.signature(*types.get(start)?)?;
        Some(Arguments { sure: if global.contains(start) { params } else { 0 }, most: params })
    };
    program.subprogs.iter().map(|start| arguments(start).unwrap_or(Arguments::UNKNOWN)).collect()
}

/// The kernel functions that an object names, by the name: how many arguments, and whether they give a value.
struct Externs(BTreeMap<alloc::string::String, (u8, bool)>);

impl Externs {
    fn new(object: &Object<'_>) -> Self {
        let mut all = BTreeMap::new();
        if let Some(btf) = object.btf() {
            for id in 1..=btf.last_type() {
                if let Some((name, signature)) = btf.function(id).zip(btf.signature(id)) {
                    all.insert(name.into(), signature);
                }
            }
        }
        Self(all)
    }

    fn signature(&self, name: &str) -> Signature {
        match self.0.get(name) {
            Some(&(params, returns)) => Signature { takes: params, needs: params, returns },
            None => Signature::UNKNOWN,
        }
    }
}
