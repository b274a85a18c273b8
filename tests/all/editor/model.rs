//! A naive model of the kernel's rewriting: one patch or removal at a time, everything adjusted after each.
//!
//! It is the kernel's algorithm in the words of a description of it, with a number for every position, and shares
//! nothing with the library but the types.

use relinear::bpf::{Aux, Insn, Program};
use relinear::passes::kernel::Kernel;

/// A program whose tables are all right at all times, and have an entry for every slot.
#[derive(Clone, Debug)]
pub(crate) struct Model(pub(crate) Program<u32>);

/// The field with the displacement of an instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Off,
    Imm,
}

fn field(insn: Insn) -> Option<Field> {
    let (class, op) = (insn.code & 7, insn.code & 0xf0);
    match insn.code {
        0x18 => (insn.src() == 4).then_some(Field::Imm),
        0x85 => (insn.src() == 1).then_some(Field::Imm),
        0x06 => Some(Field::Imm),
        _ if matches!(class, 5 | 6) && op != 0x90 && op != 0x80 => Some(Field::Off),
        _ => None,
    }
}

fn displacement(insn: Insn) -> Option<i64> {
    Some(match field(insn)? {
        Field::Off => i64::from(insn.off),
        Field::Imm => i64::from(insn.imm),
    })
}

fn shift(insn: &mut Insn, by: i64) {
    match field(*insn) {
        Some(Field::Off) => insn.off = i16::try_from(i64::from(insn.off) + by).expect("a short displacement"),
        Some(Field::Imm) => insn.imm = i32::try_from(i64::from(insn.imm) + by).expect("a displacement"),
        None => {}
    }
}

fn signed(position: usize) -> i64 {
    i64::try_from(position).expect("a short program")
}

fn slot(position: usize) -> u32 {
    u32::try_from(position).expect("a short program")
}

impl Model {
    pub(crate) fn new(program: &Program<u32>) -> Self {
        let mut program = program.clone();
        program.aux.resize(program.insns.len(), Aux::default());
        for at in 0..program.insns.len() {
            if program.insns[at].code == 0x18 {
                program.aux[at + 1] = Aux { user: 0, ..program.aux[at] };
            }
        }
        Self(program)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.insns.len()
    }

    /// The first slots of all instructions.
    pub(crate) fn starts(&self) -> Vec<usize> {
        let mut starts = Vec::new();
        let mut at = 0;
        while at < self.len() {
            starts.push(at);
            at += if self.0.insns[at].code == 0x18 { 2 } else { 1 };
        }
        starts
    }

    /// Where the instruction at a slot leads.
    pub(crate) fn target(&self, at: usize) -> Option<usize> {
        let to = signed(at) + 1 + displacement(self.0.insns[at])?;
        Some(usize::try_from(to).expect("in the program"))
    }

    /// Slot `p` becomes these slots; what leads anywhere among them is right already.
    pub(crate) fn patch(&mut self, p: usize, patch: &[Insn]) {
        let grown = patch.len() - 1;
        for (c, insn) in self.0.insns.iter_mut().enumerate() {
            let Some(by) = displacement(*insn) else { continue };
            let (forwards, backwards) = (signed(c) + 1 + by > signed(p), signed(c) + 1 + by <= signed(p));
            if c < p && forwards {
                shift(insn, signed(grown));
            } else if c > p && backwards {
                shift(insn, -signed(grown));
            }
        }
        let old = self.0.aux[p];
        let defines = |at: usize| {
            let wide_end = at > 0 && patch[at - 1].code == 0x18;
            !wide_end && defines_half(patch[at])
        };
        // The kernel takes the last slot; of a wide instruction the library keeps the facts at the first.
        let last = if patch.len() > 1 && patch[grown - 1].code == 0x18 { grown - 1 } else { grown };
        let aux = (0..patch.len()).map(|at| Aux {
            seen: old.seen,
            zext_dst: defines(at),
            user: if at == last { old.user } else { 0 },
        });
        let aux: Vec<Aux<u32>> = aux.collect();
        self.0.insns.splice(p..=p, patch.iter().copied());
        self.0.aux.splice(p..=p, aux);
        let adjust = |position: &mut u32| *position += if *position as usize > p { slot(grown) } else { 0 };
        self.0.line_info.iter_mut().for_each(|record| adjust(&mut record.insn_off));
        self.0.subprogs.iter_mut().for_each(adjust);
        self.0.insn_array.iter_mut().chain(&mut self.0.pokes).flatten().for_each(adjust);
        self.set_func_info();
    }

    /// The slots `p..p + n` go.
    pub(crate) fn remove(&mut self, p: usize, n: usize) {
        let (q, old_len) = (p + n, self.len());
        for (c, insn) in self.0.insns.iter_mut().enumerate() {
            let Some(by) = displacement(*insn) else { continue };
            let t = signed(c) + 1 + by;
            if c < p && t >= signed(q) {
                shift(insn, -signed(n));
            } else if c >= q && t < signed(q) {
                shift(insn, signed(n));
                // Into the middle: to what follows, which is our rule. The kernel never does it.
                if t > signed(p) {
                    shift(insn, signed(p) - t);
                }
            } else if c < p && t > signed(p) {
                shift(insn, signed(p) - t);
            }
        }
        self.0.insns.drain(p..q);
        self.0.aux.drain(p..q);
        self.remove_subprogs(p, q, old_len);
        self.remove_lines(p, q);
        for entry in self.0.insn_array.iter_mut().chain(&mut self.0.pokes) {
            *entry = match entry.map(|at| at as usize) {
                Some(at) if at < p => Some(slot(at)),
                Some(at) if at >= q => Some(slot(at - n)),
                _ => None,
            };
        }
    }

    fn remove_subprogs(&mut self, p: usize, q: usize, old_len: usize) {
        let mut starts: Vec<usize> = self.0.subprogs.iter().map(|&start| start as usize).collect();
        let count = starts.len();
        starts.push(old_len);
        let i = starts.iter().position(|&start| start >= p).expect("the end");
        let mut j = (i..starts.len()).find(|&j| starts[j] >= q).expect("the end");
        if starts[j] != q {
            // A negative number of subprograms is none.
            j = j.max(i + 1) - 1;
        }
        let first_moved = if j > i {
            starts.drain(i..j);
            if !self.0.func_info.is_empty() {
                self.0.func_info.drain(i..j);
            }
            i
        } else if starts[i] == p {
            i + 1
        } else {
            i
        };
        for start in &mut starts[first_moved..] {
            // A hole from before a start to behind it: the kernel never makes one, and this is our rule.
            *start = if *start < q { p } else { *start - (q - p) };
        }
        assert!(starts.len() <= count + 1);
        starts.pop();
        self.0.subprogs = starts.into_iter().map(slot).collect();
        self.set_func_info();
    }

    fn remove_lines(&mut self, p: usize, q: usize) {
        let new_len = self.len();
        let lines = &mut self.0.line_info;
        let a = lines.iter().position(|record| record.insn_off as usize >= p).unwrap_or(lines.len());
        let b = lines.iter().position(|record| record.insn_off as usize >= q).unwrap_or(lines.len());
        let next_has_one = b < lines.len() && lines[b].insn_off as usize == q;
        if b > a && new_len != p && !next_has_one {
            lines[b - 1].insn_off = slot(q);
            lines.drain(a..b - 1);
        } else {
            lines.drain(a..b);
        }
        for record in &mut lines[a..] {
            record.insn_off -= slot(q - p);
        }
    }

    fn set_func_info(&mut self) {
        for (record, &start) in self.0.func_info.iter_mut().zip(&self.0.subprogs) {
            record.insn_off = start;
        }
    }

    pub(crate) fn hard_wire_dead_branches(&mut self) {
        for at in self.starts() {
            let insn = self.0.insns[at];
            let (class, op) = (insn.code & 7, insn.code & 0xf0);
            let conditional = class == 6 && op != 0 || class == 5 && !matches!(op, 0 | 0x80 | 0x90);
            if !conditional {
                continue;
            }
            if !self.0.aux[at + 1].seen {
                self.0.insns[at] = Insn::new(0x05, 0, 0, insn.off, 0);
            } else if !self.0.aux[self.target(at).expect("a jump")].seen {
                self.0.insns[at] = Insn::new(0x05, 0, 0, 0, 0);
            }
        }
    }

    pub(crate) fn remove_dead_code(&mut self) {
        let mut at = 0;
        while at < self.len() {
            let run = self.0.aux[at..].iter().take_while(|aux| !aux.seen).count();
            if run > 0 {
                self.remove(at, run);
            } else {
                at += 1;
            }
        }
    }

    pub(crate) fn remove_nops(&mut self, version: Kernel) {
        let mut at = 0;
        while at < self.len() {
            let is_may_goto = version >= Kernel::V6_18 && self.0.insns[at] == Insn::new(0xe5, 0, 0, 0, 0);
            if is_may_goto || self.0.insns[at] == Insn::new(0x05, 0, 0, 0, 0) {
                self.remove(at, 1);
                at -= usize::from(is_may_goto && at > 0);
            } else {
                at += 1;
            }
        }
    }

    pub(crate) fn sanitize_dead_code(&mut self) {
        for at in 0..self.len() {
            if !self.0.aux[at].seen {
                self.0.insns[at] = Insn::new(0x05, 0, 0, -1, 0);
                self.0.aux[at].zext_dst = false;
            }
        }
    }

    /// The program, with facts at the first slots of instructions only.
    pub(crate) fn program(&self) -> Program<u32> {
        let mut program = self.0.clone();
        for at in 0..program.insns.len() {
            if program.insns[at].code == 0x18 {
                program.aux[at + 1] = Aux::default();
            }
        }
        program
    }
}

/// Of the instructions that the tests patch in: whether it is 32-bit arithmetic or a short load.
fn defines_half(insn: Insn) -> bool {
    insn.code & 7 == 4 || insn.code & 7 == 1 && insn.code != 0x79
}
