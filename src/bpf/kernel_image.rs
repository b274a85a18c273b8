//! [`KernelImage`]: a loaded program as the kernel gives it back, made into one that can be loaded again.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::kallsyms::{self, Symbols};
use super::opcode::{
    ADD, ALU, AND, B, CALL_CODE, CALL_HELPER, CALL_KFUNC, CALL_LOCAL, FRAME_POINTER, JEQ, JGE, JNE, LD_FUNC,
    LD_MAP_FD, LD_MAP_VALUE, LSH, MOV, ST, W, X,
};
use super::{FuncInfo, Insn, InsnReason, LineInfo, Program, check_insn};

/// What `struct bpf_prog_info` of a loaded program points to: `xlated_prog_insns`, `func_info`, `line_info`.
///
/// The kernel gives a program back as it runs it, after its verifier rewrote it. [`import`](KernelImage::import)
/// takes back what can be taken back:
///
/// | the kernel has | a loader gives |
/// | --- | --- |
/// | call of a subprogram: displacement in `off`, its number in `imm` | displacement in `imm` |
/// | call of a helper: the distance of its function from `__bpf_call_base` | its number, by the name of the function |
/// | call of an operation of a map | the helper that it stands for |
/// | lookups in arrays and hash tables, as code | a call of `bpf_map_lookup_elem` |
/// | a load of the number of the processor | a call of `bpf_get_smp_processor_id` |
/// | the id of a map | a file descriptor of it |
/// | moves that the verifier added to zero upper halves, with a mark | the same without the mark |
/// | barriers against speculation | `goto +0` |
///
/// Nothing can be done about other rewriting. Loads and stores of a context have offsets in structures of the kernel
/// (only its verifier knows which ones they are, and refuses the program again, unless both are the same); kernel
/// variables are addresses; code that uses the hidden register `r11`, as blinded constants do,
/// is an [error](ImportReason::NotLoadable). So is a call whose function the kernel does not tell: it gives
/// `imm` 0 to who may not see addresses ([`Symbols`]).
///
/// Positions do not change, so that the records stay as they are.
#[derive(Clone, Copy, Debug)]
pub struct KernelImage<'i> {
    /// The slots.
    pub insns: &'i [Insn],
    /// Where functions start. Without BTF there is none, and calls and addresses say it.
    pub func_info: &'i [FuncInfo],
    /// Where source lines start.
    pub line_info: &'i [LineInfo],
}

/// What names stand for in the process that is going to load the program.
#[derive(Clone, Copy)]
pub struct Names<'n> {
    /// The functions of the running kernel, if they are known.
    pub symbols: Option<&'n Symbols<'n>>,
    /// A file descriptor of the map with an id.
    pub map: &'n dyn Fn(u32) -> Option<i32>,
    /// The BTF id of a kernel function by its name, and which BTF of the loader's array it is in.
    pub kfunc: &'n dyn Fn(&str) -> Option<(i32, i16)>,
}

/// Why an image was not made into a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportError {
    /// The slot of the instruction.
    pub at: usize,
    /// Why.
    pub reason: ImportReason,
}

/// Why an image was not made into a program.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ImportReason {
    /// No program may have this instruction.
    NotLoadable(InsnReason),
    /// The kernel does not say what is called, or the symbols of the kernel are not known.
    HiddenCall,
    /// The function that is called has no name.
    NoFunction {
        /// The immediate of the call.
        imm: i32,
    },
    /// The function that is called is no helper, nor a kernel function that is known.
    NoHelper {
        /// Its name.
        function: String,
    },
    /// A part of the code that the verifier puts in the place of a lookup, but not all of it.
    Lookup,
    /// Nobody knows the map.
    NoMap {
        /// Its id.
        id: u32,
    },
    /// The displacement of a call does not fit its field, and more than one function could be meant, or none.
    FarCall,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}: ", self.at)?;
        match &self.reason {
            ImportReason::NotLoadable(reason) => write!(f, "no program may have it: {reason}"),
            ImportReason::HiddenCall => f.write_str("the kernel does not say what it calls"),
            ImportReason::NoFunction { imm } => write!(f, "no function is {imm} bytes from __bpf_call_base"),
            ImportReason::NoHelper { function } => {
                write!(f, "{function:?} is no known helper or kernel function")
            }
            ImportReason::Lookup => f.write_str("this looks up a map in a way that is not known"),
            ImportReason::NoMap { id } => write!(f, "there is no descriptor of the map with id {id}"),
            ImportReason::FarCall => f.write_str("it is not known which function this far call calls"),
        }
    }
}

impl core::error::Error for ImportError {}

/// Mode of a store that is a barrier against speculation (`BPF_NOSPEC`).
const NOSPEC: u8 = ST | 0xc0;

const NOTHING: Insn = Insn::ja(0);
const LOOKUP: Insn = Insn::call(1);

impl KernelImage<'_> {
    /// The program that can be edited, and loaded again with the descriptors that `names` gave.
    ///
    /// O(slots · log symbols).
    ///
    /// # Errors
    ///
    /// [`ImportError`], for the first instruction that cannot be taken back.
    pub fn import(&self, names: &Names<'_>) -> Result<Program, ImportError> {
        let mut insns = self.insns.to_vec();
        let mut at = 0;
        while at < insns.len() {
            let next = self.take_back(&mut insns, at, names).map_err(|reason| ImportError { at, reason })?;
            for at in at..next {
                if at == 0 || !insns[at - 1].is_wide() {
                    check_insn(&insns, at, FRAME_POINTER).map_err(|error| ImportError {
                        at: error.at,
                        reason: ImportReason::NotLoadable(error.reason),
                    })?;
                }
            }
            at = next;
        }
        let subprogs = self.subprogs(&insns);
        Ok(Program {
            subprogs,
            insns,
            func_info: self.func_info.to_vec(),
            line_info: self.line_info.to_vec(),
            ..Program::default()
        })
    }

    /// Takes back what was done to the instruction at `at`, or to code that starts there, and gives where the
    /// next one starts.
    fn take_back(&self, insns: &mut [Insn], at: usize, names: &Names<'_>) -> Result<usize, ImportReason> {
        let insn = insns[at];
        let inlined = array_lookup(&insns[at..]).map(|len| (len, LOOKUP));
        if let Some((len, call)) = inlined.or_else(|| processor_id(&insns[at..])) {
            insns[at..at + len].fill(NOTHING);
            insns[at] = call;
            return Ok(at + len);
        }
        if insn.code == NOSPEC {
            insns[at] = NOTHING;
        } else if insn.code == ALU | MOV | X && insn.off == 0 && insn.imm == 1 {
            insns[at] = insn.with_imm(0);
        } else if insn.is_wide() && at + 1 < insns.len() {
            match insn.src() {
                LD_FUNC => insns[at + 1] = insns[at + 1].with_imm(0),
                LD_MAP_FD | LD_MAP_VALUE => {
                    let id = insn.imm.cast_unsigned();
                    insns[at] = insn.with_imm((names.map)(id).ok_or(ImportReason::NoMap { id })?);
                }
                _ => {}
            }
            return Ok(at + 2);
        } else if insn.is_call() {
            return self.call(insns, at, names);
        }
        Ok(at + 1)
    }

    fn call(&self, insns: &mut [Insn], at: usize, names: &Names<'_>) -> Result<usize, ImportReason> {
        let insn = insns[at];
        if insn.src() == CALL_LOCAL {
            insns[at] = Insn::call_local(self.displacement(at, insn.off)?);
            return Ok(at + 1);
        }
        // The kernel shows tail calls by the number of the helper.
        if insn == Insn::call(TAIL_CALL) {
            return Ok(at + 1);
        }
        let symbols = names.symbols.filter(|_| insn.imm != 0).ok_or(ImportReason::HiddenCall)?;
        let mut found = symbols.of_call(insn.imm).peekable();
        let first = *found.peek().ok_or(ImportReason::NoFunction { imm: insn.imm })?;
        if insn.src() == CALL_KFUNC {
            let (imm, off) = found.find_map(|name| (names.kfunc)(name)).ok_or_else(|| no_helper(first))?;
            insns[at] = Insn::new(CALL_CODE, 0, CALL_KFUNC, off, imm);
            return Ok(at + 1);
        }
        if first == "__htab_map_lookup_elem" {
            let len = hash_lookup(&insns[at..]).ok_or(ImportReason::Lookup)?;
            insns[at..at + len].fill(NOTHING);
            insns[at] = LOOKUP;
            return Ok(at + len);
        }
        let number = found.find_map(kallsyms::helper).ok_or_else(|| no_helper(first))?;
        insns[at] = Insn::new(CALL_CODE, 0, CALL_HELPER, 0, number);
        Ok(at + 1)
    }

    /// The displacement of a call whose low half is known: it leads to the start of a function.
    fn displacement(&self, at: usize, low: i16) -> Result<i32, ImportReason> {
        let far = |start: u32| {
            let displacement = i32::try_from(i64::from(start) - i64::try_from(at).ok()? - 1).ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "the kernel cuts it so")]
            (displacement as i16 == low).then_some(displacement)
        };
        if self.func_info.is_empty() {
            // Without the starts of functions, a program is taken to be short.
            let is_short = i16::try_from(self.insns.len()).is_ok();
            return is_short.then_some(low.into()).ok_or(ImportReason::FarCall);
        }
        let mut found = self.func_info.iter().filter_map(|function| far(function.insn_off));
        let displacement = found.next().ok_or(ImportReason::FarCall)?;
        if found.next().is_some() { Err(ImportReason::FarCall) } else { Ok(displacement) }
    }

    fn subprogs(&self, insns: &[Insn]) -> Vec<u32> {
        if !self.func_info.is_empty() {
            return self.func_info.iter().map(|function| function.insn_off).collect();
        }
        let mut starts = alloc::vec![0];
        for (at, insn) in (0_i64..).zip(insns) {
            let local = insn.is_call() && insn.src() == CALL_LOCAL || insn.is_wide() && insn.src() == LD_FUNC;
            let start = at + 1 + i64::from(insn.imm);
            starts.extend(u32::try_from(start).ok().filter(|_| local));
        }
        starts.sort_unstable();
        starts.dedup();
        starts
    }
}

const TAIL_CALL: i32 = 12;

fn no_helper(name: &str) -> ImportReason {
    ImportReason::NoHelper { function: name.to_string() }
}

/// How many slots the lookup in an array takes that starts here, as `array_map_gen_lookup` makes it.
fn array_lookup(insns: &[Insn]) -> Option<usize> {
    let [first, load, check, rest @ ..] = insns else { return None };
    let adds = *first == Insn::alu64_imm(ADD, 1, first.imm) && *load == Insn::ldx(W, 0, 2, 0);
    let checks = check.with_off(0).with_imm(0) == Insn::jmp_imm(JGE, 0, 0, 0);
    let masked = usize::from(rest.first()?.code == ALU | AND);
    let scaled = match rest.get(masked..)? {
        [shift, add, skip, zero, ..] => {
            shift.with_imm(0) == Insn::alu64_imm(LSH, 0, 0)
                && *add == Insn::alu64_reg(ADD, 0, 1)
                && (*skip, *zero) == (Insn::ja(1), Insn::mov64_imm(0, 0))
        }
        _ => false,
    };
    let skipped = i16::try_from(3 + masked).ok();
    (adds && checks && scaled && Some(check.off) == skipped).then_some(7 + masked)
}

/// How many slots code takes that loads the number of the processor, as `bpf_do_misc_fixups` makes it on x86, and the helper
/// that it stands for.
fn processor_id(insns: &[Insn]) -> Option<(usize, Insn)> {
    let [variable, add_base, load, ..] = insns else { return None };
    let found =
        variable.with_imm(0) == Insn::mov64_imm(0, 0) || variable.with_imm(0) == Insn::mov32_imm(0, 0);
    let of_processor = *add_base == Insn::mov64_reg(0, 0).with_off(-1) && *load == Insn::ldx(W, 0, 0, 0);
    (found && of_processor).then_some((3, Insn::call(8)))
}

/// How many slots the lookup in a hash table takes that starts with this call, as `htab_map_gen_lookup` and
/// `htab_lru_map_gen_lookup` make it.
fn hash_lookup(insns: &[Insn]) -> Option<usize> {
    let is_value = |insn: &Insn| insn.with_imm(0) == Insn::alu64_imm(ADD, 0, 0);
    match insns {
        [_, check, value, ..] if *check == Insn::jmp_imm(JEQ, 0, 0, 1) && is_value(value) => Some(3),
        [_, check, load, test, store, value, ..]
            if *check == Insn::jmp_imm(JEQ, 0, 0, 4)
                && load.with_off(0) == Insn::ldx(B, 1, 0, 0)
                && *test == Insn::jmp_imm(JNE, 1, 0, 1)
                && store.with_off(0) == Insn::st(B, 0, 0, 1)
                && is_value(value) =>
        {
            Some(6)
        }
        _ => None,
    }
}
