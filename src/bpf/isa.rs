//! [`Bpf`]: where eBPF keeps its displacements.

use core::ops::RangeInclusive;

use super::Insn;
use super::opcode::{
    CALL, CALL_CODE, CALL_LOCAL, EXIT, GOTOL, JA, JCOND, JMP, JMP32, JSLE, LD_FUNC, LD_IMM64, X,
};
use crate::core::{Isa, Marks};

/// The eBPF instruction set, for the core. A unit is a slot.
///
/// These hold a displacement, which counts from the slot after the first one of the instruction:
/// `goto`, the conditional jumps and `may_goto` in `off`; `gotol`, a call of kind
/// [`CALL_LOCAL`] and an `ld_imm64` of kind [`LD_FUNC`] in `imm`. It is what the kernel adjusts in
/// `bpf_adj_branches`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Bpf;

/// The displacement is in `off`.
const IN_OFF: u8 = 0x80;
/// The displacement is in `imm`.
const IN_IMM: u8 = 0x81;
/// There is none.
const NOWHERE: u8 = 0x40;

/// For each code where its displacement is; a number below 16 says "in `imm`, if `src` is this".
static FORM: [u8; 256] = {
    let mut form = [NOWHERE; 256];
    let mut op = JA;
    while op <= JSLE {
        if op != JA && op != CALL && op != EXIT {
            form[(JMP | op) as usize] = IN_OFF;
            form[(JMP | op | X) as usize] = IN_OFF;
            form[(JMP32 | op) as usize] = IN_OFF;
            form[(JMP32 | op | X) as usize] = IN_OFF;
        }
        op += 0x10;
    }
    form[(JMP | JA) as usize] = IN_OFF;
    form[(JMP | JCOND) as usize] = IN_OFF;
    form[GOTOL as usize] = IN_IMM;
    form[CALL_CODE as usize] = CALL_LOCAL;
    form[LD_IMM64 as usize] = LD_FUNC;
    form
};

#[inline]
fn form(insn: &[Insn]) -> u8 {
    FORM[insn[0].code as usize]
}

impl Isa for Bpf {
    type Unit = Insn;

    #[inline]
    fn len(&self, units: &[Insn]) -> Option<usize> {
        let len = units.first()?.slots();
        (len <= units.len()).then_some(len)
    }

    #[inline]
    fn fields(&self, insn: &[Insn]) -> usize {
        let form = form(insn);
        usize::from(form >> 7 | u8::from(form == insn[0].src()))
    }

    #[inline]
    fn base(&self, _insn: &[Insn], _field: usize) -> i64 {
        1
    }

    #[inline]
    fn read(&self, insn: &[Insn], _field: usize) -> i64 {
        if form(insn) == IN_OFF { i64::from(insn[0].off) } else { i64::from(insn[0].imm) }
    }

    #[inline]
    fn range(&self, insn: &[Insn], _field: usize) -> RangeInclusive<i64> {
        if form(insn) == IN_OFF {
            i64::from(i16::MIN)..=i64::from(i16::MAX)
        } else {
            i64::from(i32::MIN)..=i64::from(i32::MAX)
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the caller keeps to the range of the field")]
    fn write(&self, insn: &mut [Insn], _field: usize, displacement: i64) {
        if form(insn) == IN_OFF {
            insn[0].off = displacement as i16;
        } else {
            insn[0].imm = displacement as i32;
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it is to share what is loaded with the loop that it stands in")]
    fn update(&self, insn: &mut [Insn], _field: usize, new: impl Fn(i64) -> Option<i64>) -> bool {
        let in_off = form(insn) == IN_OFF;
        let held = if in_off { i64::from(insn[0].off) } else { i64::from(insn[0].imm) };
        let Some(new) = new(held) else { return false };
        if in_off {
            let Ok(off) = new.try_into() else { return false };
            insn[0].off = off;
        } else {
            let Ok(imm) = new.try_into() else { return false };
            insn[0].imm = imm;
        }
        true
    }

    #[inline]
    fn enters(&self, insn: &[Insn], _field: usize) -> bool {
        matches!(insn[0].code, CALL_CODE | LD_IMM64)
    }

    #[inline]
    fn branches_of_short(&self, units: &[Insn]) -> Option<u64> {
        let marks = units.iter().fold(0, |marks, insn| marks >> 1 | mark(insn.code));
        let missing = u64::BITS - u32::try_from(units.len()).ok()?;
        // More than half of the marks have none to tell their fields and kinds apart.
        (marks & u64::from(u32::MAX) == 0 && missing >= 32).then(|| marks.unbounded_shr(missing))
    }

    #[inline]
    fn scan(&self, units: &[Insn], over: usize) -> Result<Marks, usize> {
        #[cfg(all(feature = "std", target_arch = "x86_64"))]
        if let Some((fields, kinds)) = units.first_chunk().and_then(super::wide::marks) {
            if fields | kinds | over as u64 == 0 {
                return Ok(Marks::default());
            }
            return scan_marked(units, over, fields, kinds);
        }
        let block = &units[..units.len().min(Marks::UNITS)];
        let (low, high) = block.split_at(block.len().min(Marks::UNITS / 2));
        let (low, high) = (marks(low), marks(high));
        if low | high | over as u64 == 0 {
            return Ok(Marks::default());
        }
        let fields = low >> 32 | high >> 32 << 32;
        let kinds = low & u64::from(u32::MAX) | high << 32;
        scan_marked(units, over, fields, kinds)
    }
}

/// The marks of the first 64 of `units`: `fields` have a displacement, and `kinds` are calls and `ld_imm64`, which
/// have one if they are of one kind.
fn scan_marked(units: &[Insn], over: usize, fields: u64, mut kinds: u64) -> Result<Marks, usize> {
    let last = units.len().min(Marks::UNITS) - 1;
    let (mut branch, mut wide) = (fields, 0);
    while kinds != 0 {
        let bit = kinds & kinds.wrapping_neg();
        let insn = &units[kinds.trailing_zeros() as usize];
        branch |= bit * u64::from(FORM[usize::from(insn.code)] == insn.src());
        wide |= bit * u64::from(insn.is_wide());
        kinds ^= bit;
    }
    let inner = wide << 1 | over as u64;
    let cut_short = units.len() <= Marks::UNITS && wide >> last != 0;
    if wide & inner != 0 || cut_short {
        return Marks::scan(&Bpf, units, over);
    }
    Ok(Marks { inner, branch: branch & !inner, over: (wide >> (Marks::UNITS - 1)) as usize, several: false })
}

/// A slot with this code has a displacement.
const FIELD: u64 = 1 << 63;
/// A slot with this code begins an `ld_imm64`, or is a call.
const KIND: u64 = 1 << 31;

/// For each code [`FIELD`], [`KIND`], or 0.
static MARK: [u64; 256] = {
    let mut mark = [0; 256];
    let mut code = 0;
    while code < 256 {
        mark[code] = if FORM[code] & IN_OFF != 0 { FIELD } else { 0 };
        code += 1;
    }
    mark[LD_IMM64 as usize] = KIND;
    mark[CALL_CODE as usize] = KIND;
    mark
};

#[inline]
fn mark(code: u8) -> u64 {
    MARK[usize::from(code)]
}

/// The marks of up to 32 slots: the `FIELD` bits in the high half, the `KIND` bits in the low half, the first slot lowest.
///
/// With marks at the top of each half, a slot takes three instructions: half of what it takes to put together bits
/// from a table of bytes.
#[inline]
fn marks(slots: &[Insn]) -> u64 {
    let next = |marks: u64, insn: &Insn| marks >> 1 | mark(insn.code);
    let (eights, rest) = slots.as_chunks::<8>();
    // Of a known length, a chunk has no loop, and it does not wait for the one before.
    let marks = eights.iter().fold(0, |marks, eight| marks >> 8 | eight.iter().fold(0, next));
    let marks = rest.iter().fold(marks, next);
    let (fields, kinds) = (marks >> 32, marks & u64::from(u32::MAX));
    let missing = 32 - slots.len();
    fields >> missing << 32 | kinds >> missing
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::bpf::opcode::{ALU64, CALL_KFUNC, DIV, MOV, SIGNED};

    /// The kernel's rule as a sentence: `true` for `off`, `false` for `imm`.
    fn expected(code: u8, src: u8) -> Option<bool> {
        match (code, src) {
            (0x05 | 0xe5, _) => Some(true),
            (0x06, _) | (0x85, 1) | (0x18, 4) => Some(false),
            _ if matches!(code & 7, 5 | 6) => matches!(code >> 4, 1..=7 | 0xa..=0xd).then_some(true),
            _ => None,
        }
    }

    #[test]
    fn every_code_and_kind_has_the_field_of_the_kernel_table() {
        for code in 0..=255 {
            for src in 0..16 {
                let mut insn = [Insn::new(code, 0, src, -3, 77), Insn::default()];
                let field = expected(code, src);
                assert_eq!(Bpf.fields(&insn), usize::from(field.is_some()), "{code:#x} {src}");
                let Some(in_off) = field else { continue };
                assert_eq!(Bpf.read(&insn, 0), if in_off { -3 } else { 77 });
                assert_eq!(*Bpf.range(&insn, 0).end(), if in_off { 32767 } else { 2_147_483_647 });
                let end = *Bpf.range(&insn, 0).start();
                for beyond in [end - 1, *Bpf.range(&insn, 0).end() + 1] {
                    assert!(!Bpf.update(&mut insn, 0, |_| Some(beyond)));
                    assert!(!Bpf.update(&mut insn, 0, |_| None));
                    assert_eq!((insn[0].off, insn[0].imm), (-3, 77));
                }
                let held = if in_off { -3 } else { 77 };
                assert!(Bpf.update(&mut insn, 0, |old| Some(end + old - held)));
                assert_eq!(Bpf.read(&insn, 0), end);
                insn[0] = Insn::new(code, 0, src, -3, 77);
                Bpf.write(&mut insn, 0, end);
                assert_eq!(Bpf.read(&insn, 0), end);
                assert_eq!(insn[0].imm == 77, in_off);
                assert_eq!(insn[0].off == -3, !in_off);
            }
        }
    }

    #[test]
    fn lengths() {
        let wide = Insn::ld_imm64(3, 7);
        assert_eq!(Bpf.len(&wide), Some(2));
        assert_eq!(Bpf.len(&wide[..1]), None);
        assert_eq!(Bpf.len(&[]), None);
        assert_eq!(Bpf.len(&[Insn::exit(), Insn::exit()]), Some(1));
    }

    #[test]
    fn what_looks_like_a_displacement_but_is_none() {
        for insn in [
            Insn::call(7),
            Insn::new(CALL_CODE, 0, CALL_KFUNC, 3, 9),
            Insn::alu64_imm(DIV, 1, 5).with_off(SIGNED),
            Insn::new(ALU64 | MOV | X, 1, 2, 32, 0),
            Insn::exit(),
        ] {
            assert_eq!(Bpf.fields(&[insn]), 0);
        }
    }

    #[test]
    fn scanning_at_once_marks_what_scanning_one_by_one_does() {
        let mut units = Vec::new();
        for code in 0..=255 {
            for src in [0, 1, 2, 4, 5] {
                units.push(Insn::new(code, 0, src, 1, 1));
                if code == LD_IMM64 {
                    units.push(Insn::default());
                }
            }
        }
        for start in 0..units.len() {
            for len in [1, 2, 7, 8, 9, 63, 64, 65, 66, 200] {
                let units = &units[start..(start + len).min(units.len())];
                for over in 0..2 {
                    assert_eq!(Bpf.scan(units, over), Marks::scan(&Bpf, units, over), "{start} {len} {over}");
                }
            }
        }
    }
}
