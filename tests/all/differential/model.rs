//! A naive model of what the kernel does: arrays, and one splice an edit.
//!
//! It is written from a description of the kernel's rules, shares no code with the library, and is as
//! slow as the kernel. It tells, where the kernel and the library differ, which one is not understood.

use relinear::bpf::opcode::{AX, DW, LD_FUNC};
use relinear::bpf::{Aux, FuncInfo, Insn, LineInfo};

use super::generate::Sample;
use super::image::Image;
use crate::random::Rng;

/// A program and its tables, all of which are right at all times.
pub(crate) struct Model {
    insns: Vec<Insn>,
    facts: Vec<Aux>,
    lines: Vec<LineInfo>,
    funcs: Vec<FuncInfo>,
    rng: Rng,
}

/// A position as a number to count with.
fn signed(at: usize) -> i64 {
    i64::try_from(at).expect("a position")
}

/// Where an instruction leads, if it leads anywhere.
fn target(insns: &[Insn], at: usize) -> Option<i64> {
    let insn = insns[at];
    let field = match (insn.code, insn.src()) {
        (0x18, 4) | (0x85, 1) | (0x06, _) => insn.imm,
        (0x85 | 0x95 | 0x18, _) => return None,
        (code, _) if matches!(code & 7, 5 | 6) => i32::from(insn.off),
        _ => return None,
    };
    Some(signed(at) + 1 + i64::from(field))
}

fn set_target(insns: &mut [Insn], at: usize, to: i64) {
    let field = i32::try_from(to - signed(at) - 1).expect("a displacement");
    if matches!(insns[at].code, 0x18 | 0x85 | 0x06) {
        insns[at].imm = field;
    } else {
        insns[at].off = i16::try_from(field).expect("a short displacement");
    }
}

impl Model {
    pub(crate) fn new(sample: &Sample) -> Self {
        let Image { insns, lines, funcs } = sample.image.clone();
        Self { insns, facts: sample.facts.clone(), lines, funcs, rng: Rng::new(1) }
    }

    pub(crate) fn into_image(self) -> Image {
        Image { insns: self.insns, lines: self.lines, funcs: self.funcs }
    }

    /// One instruction becomes these. Jumps among them are right already; the last one may be the old
    /// one, whose target is right if it is a forward one.
    fn patch(&mut self, at: usize, patch: &[Insn]) {
        let grown = patch.len() - 1;
        let moved = |old: i64| if old > signed(at) { old + signed(grown) } else { old };
        let targets: Vec<Option<i64>> = (0..self.insns.len()).map(|at| target(&self.insns, at)).collect();
        let fact = self.facts[at];
        self.insns.splice(at..=at, patch.iter().copied());
        let zext = |insn: Insn| defines_narrow(insn).is_some();
        let facts = patch.iter().map(|insn| Aux { zext_dst: zext(*insn), ..fact });
        self.facts.splice(at..=at, facts);
        for (old, target) in targets.into_iter().enumerate().filter(|(old, _)| *old != at) {
            if let Some(target) = target {
                let new = usize::try_from(moved(signed(old))).expect("a position");
                set_target(&mut self.insns, new, moved(target));
            }
        }
        for insn in self.positions() {
            *insn = u32::try_from(moved(i64::from(*insn))).expect("a position");
        }
    }

    /// All positions that records hold.
    fn positions(&mut self) -> impl Iterator<Item = &mut u32> {
        let lines = self.lines.iter_mut().map(|line| &mut line.insn_off);
        lines.chain(self.funcs.iter_mut().map(|func| &mut func.insn_off))
    }

    /// Slots `from` to `to`, not included, are gone.
    fn remove(&mut self, from: usize, to: usize) {
        let moved = |old: i64| {
            if old >= signed(to) { old - signed(to - from) } else { old.min(signed(from)) }
        };
        let targets: Vec<Option<i64>> = (0..self.insns.len()).map(|at| target(&self.insns, at)).collect();
        self.insns.drain(from..to);
        self.facts.drain(from..to);
        for (old, target) in targets.into_iter().enumerate().filter(|(old, _)| !(from..to).contains(old)) {
            if let Some(target) = target {
                let new = usize::try_from(moved(signed(old))).expect("a position");
                set_target(&mut self.insns, new, moved(target));
            }
        }
        // A function is gone if all of it is.
        let starts: Vec<usize> = self.funcs.iter().map(|func| func.insn_off as usize).collect();
        let old_len = self.insns.len() + to - from;
        let end = |number: usize| starts.get(number + 1).copied().unwrap_or(old_len);
        let mut number = 0;
        self.funcs.retain(|_| {
            number += 1;
            !(from <= starts[number - 1] && end(number - 1) <= to)
        });
        // Of the lines in the hole the last one stays, for the instruction behind it, if there is one
        // and it has no line of its own.
        let is_in = |line: &LineInfo| (from..to).contains(&(line.insn_off as usize));
        let last = self.lines.iter().rposition(is_in);
        let is_free = to < old_len && self.lines.iter().all(|line| line.insn_off as usize != to);
        let mut at = 0;
        self.lines.retain(|line| {
            at += 1;
            !is_in(line) || (is_free && last == Some(at - 1))
        });
        for insn in self.positions() {
            *insn = u32::try_from(moved(i64::from(*insn))).expect("a position");
        }
    }

    /// `opt_hard_wire_dead_code_branches`, `opt_remove_dead_code`, `opt_remove_nops`.
    pub(crate) fn remove_dead_code(&mut self) {
        for at in 0..self.insns.len() {
            let insn = self.insns[at];
            let is_conditional =
                matches!(insn.code & 7, 5 | 6) && !matches!(insn.code, 0x05 | 0x06 | 0x85 | 0x95);
            if !is_conditional {
                continue;
            }
            let taken = usize::try_from(target(&self.insns, at).expect("a target")).expect("a position");
            if !self.facts[at + 1].seen {
                self.insns[at] = Insn::ja(insn.off);
            } else if !self.facts[taken].seen {
                self.insns[at] = Insn::ja(0);
            }
        }
        let mut at = 0;
        while at < self.insns.len() {
            let run = self.facts[at..].iter().take_while(|fact| !fact.seen).count();
            if run > 0 {
                self.remove(at, at + run);
            }
            at += 1;
        }
        at = 0;
        while at < self.insns.len() {
            if self.insns[at] == Insn::ja(0) {
                self.remove(at, at + 1);
            } else if self.insns[at] == Insn::may_goto(0) {
                self.remove(at, at + 1);
                // The cursor goes back two.
                at = at.saturating_sub(1);
            } else {
                at += 1;
            }
        }
    }

    /// The parts of `do_misc_fixups` that speak of division and of packet loads.
    pub(crate) fn fix_up(&mut self) {
        let mut at = 0;
        while at < self.insns.len() {
            let patch = match self.insns[at].class() {
                4 | 7 => division(self.insns[at]),
                0 => packet_load(self.insns[at]),
                _ => None,
            };
            if let Some(patch) = &patch {
                self.patch(at, patch);
            }
            at += patch.map_or(1, |patch| patch.len());
        }
    }

    /// `opt_subreg_zext_lo32_rnd_hi32`, where the JIT extends by itself.
    pub(crate) fn extend(&mut self, noise: bool) {
        let mut at = 0;
        while at < self.insns.len() {
            let insn = self.insns[at];
            let mut patch = vec![insn];
            if insn.code == 0x18 {
                at += 2;
                continue;
            }
            if let Some(reg) = defines_narrow(insn) {
                let is_exchange = insn.code == 0xc3 && insn.imm == 0xf1;
                if self.facts[at].zext_dst {
                    if is_exchange {
                        patch.push(Insn::new(0xbc, reg, reg, 0, 1));
                    }
                } else if noise {
                    let [high, join] = [Insn::alu64_imm(0x60, AX, 32), Insn::alu64_reg(0x40, reg, AX)];
                    patch.extend([Insn::mov64_imm(AX, 0), high, join]);
                }
            }
            if patch.len() > 1 {
                self.patch(at, &patch);
            }
            at += patch.len();
        }
    }

    /// `bpf_jit_blind_constants`.
    pub(crate) fn blind(&mut self) {
        let (mut at, mut wide) = (0, None);
        while at < self.insns.len() {
            let insn = self.insns[at];
            let key = i32::try_from(self.rng.below(1 << 30)).expect("a small number");
            let dst = insn.dst();
            let patch = if let Some((dst, low)) = wide.take() {
                let [mov, xor] = halves(4, low, key);
                vec![mov, xor, Insn::new(0x4f, dst, AX, 0, 0)]
            } else if insn.code == 0x18 && insn.src() == LD_FUNC {
                at += 2;
                continue;
            } else if insn.code == 0x18 {
                wide = Some((dst, insn.imm));
                let [mov, xor] = halves(7, self.insns[at + 1].imm, key);
                vec![mov, xor, Insn::alu64_imm(0x60, AX, 32), Insn::new(0xbf, dst, AX, 0, 0)]
            } else if matches!(insn.code, 0xb7 | 0xb4) && insn.imm == 0 && dst != AX {
                vec![Insn::new(0xaf, dst, dst, 0, 0)]
            } else if dst != AX && insn.src() != AX {
                blinded(insn, key)
            } else {
                vec![insn]
            };
            self.patch(at, &patch);
            at += patch.len();
        }
    }
}

fn halves(class: u8, value: i32, key: i32) -> [Insn; 2] {
    [Insn::new(0xb0 | class, AX, 0, 0, value ^ key), Insn::new(0xa0 | class, AX, 0, 0, key)]
}

fn blinded(insn: Insn, key: i32) -> Vec<Insn> {
    let class = match insn.code {
        0x04 | 0x14 | 0x54 | 0x44 | 0xa4 | 0x24 | 0xb4 | 0x34 | 0x94 | 0x16 | 0x56 | 0x26 | 0xa6 | 0x36
        | 0xb6 | 0x66 | 0xc6 | 0x76 | 0xd6 | 0x46 => 4,
        0x07 | 0x17 | 0x57 | 0x47 | 0xa7 | 0x27 | 0xb7 | 0x37 | 0x97 | 0x15 | 0x55 | 0x25 | 0xa5 | 0x35
        | 0xb5 | 0x65 | 0xc5 | 0x75 | 0xd5 | 0x45 | 0x7a | 0x62 | 0x6a | 0x72 => 7,
        _ => return vec![insn],
    };
    let [mov, xor] = halves(class, insn.imm, key);
    let is_jump = matches!(insn.class(), 5 | 6);
    let off = if is_jump && insn.off < 0 { insn.off - 2 } else { insn.off };
    let code = if insn.class() == 2 { insn.code + 1 } else { insn.code | 8 };
    vec![mov, xor, Insn::new(code, insn.dst(), AX, off, 0)]
}

/// The register of which an instruction writes 32 bits or less, and zeroes to the rest.
fn defines_narrow(insn: Insn) -> Option<u8> {
    let is_narrow = insn.size() != DW;
    match (insn.class(), insn.mode()) {
        (4, _) => (insn.op() != 0xd0 || insn.imm != 64).then_some(insn.dst()),
        (7, _) => (insn.code == 0xd7 && insn.imm != 64).then_some(insn.dst()),
        (0, 0x20 | 0x40) => Some(insn.dst()),
        (1, 0x60) => is_narrow.then_some(insn.dst()),
        (3, 0xc0) if is_narrow => match insn.imm {
            0xf1 => Some(0),
            0x100 => Some(insn.dst()),
            0x110 => None,
            imm => (imm & 1 != 0).then_some(insn.src()),
        },
        _ => None,
    }
}

fn division(insn: Insn) -> Option<Vec<Insn>> {
    let (dst, src) = (insn.dst(), insn.src());
    let is_division = insn.op() == 0x30;
    if !is_division && insn.op() != 0x90 {
        return None;
    }
    let (is_wide, is_signed) = (insn.class() == 7, insn.off == 1);
    let (alu, jump) = if is_wide { (7, 5) } else { (4, 6) };
    let skip = |op: u8, reg, imm, off| Insn::new(op | jump, reg, 0, off, imm);
    let zero = Insn::new(0xb4, dst, 0, 0, 0);
    let negate = Insn::new(0x80 | alu, dst, 0, 0, 0);
    let truncate = Insn::new(0xbc, dst, dst, 0, 0);
    if insn.code & 8 == 0 {
        let by_minus_one = is_signed && insn.imm == -1;
        return by_minus_one.then(|| vec![if is_division { negate } else { zero }]);
    }
    if is_signed {
        let [copy, one] = [Insn::mov64_reg(AX, src), Insn::new(alu, AX, 0, 0, 1)];
        let mut patch = vec![copy, one];
        if is_division {
            patch.extend([skip(0x20, AX, 1, 4), skip(0x10, AX, 0, 1), Insn::new(0xb0 | alu, dst, 0, 0, 0)]);
            patch.extend([negate, Insn::ja(1), insn]);
        } else {
            patch.extend([skip(0x20, AX, 1, 3), skip(0x10, AX, 1, 3 + i16::from(!is_wide)), zero]);
            patch.extend([Insn::ja(1), insn]);
            if !is_wide {
                patch.extend([Insn::ja(1), truncate]);
            }
        }
        return Some(patch);
    }
    Some(if is_division {
        vec![skip(0x50, src, 0, 2), Insn::new(0xac, dst, dst, 0, 0), Insn::ja(1), insn]
    } else if is_wide {
        vec![skip(0x10, src, 0, 1), insn]
    } else {
        vec![skip(0x10, src, 0, 2), insn, Insn::ja(1), truncate]
    })
}

fn packet_load(insn: Insn) -> Option<Vec<Insn>> {
    let mut patch = match insn.mode() {
        0x20 => vec![Insn::mov64_imm(2, insn.imm)],
        0x40 => vec![Insn::mov64_reg(2, insn.src())],
        _ => return None,
    };
    if insn.mode() == 0x40 && insn.imm != 0 {
        patch.push(Insn::alu64_imm(0, 2, insn.imm));
    }
    patch.extend([Insn::mov64_reg(1, 6), Insn::call(0), Insn::jmp_imm(0x70, 0, 0, 2)]);
    patch.extend([Insn::alu32_reg(0xa0, 0, 0), Insn::exit()]);
    Some(patch)
}
