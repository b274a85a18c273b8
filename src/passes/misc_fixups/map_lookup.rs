//! Look-ups in arrays and hash tables, without a call of the helper.
//!
//! `r1` holds the map and `r2` the address of the key; `r0` gets the address of the value, or 0.

use alloc::vec::Vec;

use super::host::{BadFact, IndexMask, immediate};
use crate::bpf::Insn;
use crate::bpf::opcode::{ADD, AND, B, DW, JEQ, JGE, JNE, LSH, MUL, W};

/// An array, or an array of values per processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArrayLookup {
    /// Where the elements, or the addresses of them, begin in the map, in bytes.
    pub elements: i32,
    /// The size of an element in bytes, with the padding between two of them. The kernel pads values to
    /// a multiple of 8.
    pub element_size: u32,
    /// How many elements there are.
    pub max_entries: u32,
    /// What keeps speculation within the array, if anything has to: the index is masked with it.
    pub index_mask: Option<u32>,
}

/// A hash table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashLookup {
    /// The immediate of a call of the function that finds an element.
    pub find: i32,
    /// Where the value is in an element, in bytes.
    pub value: i32,
    /// Where an element keeps the byte that says it was referenced, if the table evicts what was not.
    pub referenced: Option<i16>,
}

/// `off` of a 64-bit register move that makes the address of a variable per processor the one of this
/// processor.
const PER_CPU: i16 = -1;

/// Makes the address in `reg` of a variable per processor the one of this processor.
pub(super) const fn per_cpu(reg: u8) -> Insn {
    Insn::mov64_reg(reg, reg).with_off(PER_CPU)
}

pub(super) fn write_array(code: &mut Vec<Insn>, map: &ArrayLookup) -> Result<(), BadFact> {
    write_index(code, map, 3)?;
    code.push(match map.element_size {
        size if size.is_power_of_two() => Insn::alu64_imm(LSH, 0, size.trailing_zeros().cast_signed()),
        size => Insn::alu64_imm(MUL, 0, immediate("the size of an element", size)?),
    });
    code.extend([Insn::alu64_reg(ADD, 0, 1), Insn::ja(1), Insn::mov64_imm(0, 0)]);
    Ok(())
}

pub(super) fn write_per_cpu(code: &mut Vec<Insn>, map: &ArrayLookup) -> Result<(), BadFact> {
    write_index(code, map, 5)?;
    code.extend([
        Insn::alu64_imm(LSH, 0, 3),
        Insn::alu64_reg(ADD, 0, 1),
        Insn::ldx(DW, 0, 0, 0),
        per_cpu(0),
        Insn::ja(1),
        Insn::mov64_imm(0, 0),
    ]);
    Ok(())
}

/// The index in `r0` and the elements in `r1`; too large an index skips `rest` instructions.
fn write_index(code: &mut Vec<Insn>, map: &ArrayLookup, rest: i16) -> Result<(), BadFact> {
    let mask = map.index_mask.map(|index_mask| IndexMask { max_entries: map.max_entries, index_mask });
    let entries = immediate("the number of elements", map.max_entries)?;
    let skip = rest + i16::from(mask.is_some());
    code.extend([Insn::alu64_imm(ADD, 1, map.elements), Insn::ldx(W, 0, 2, 0)]);
    code.push(Insn::jmp_imm(JGE, 0, entries, skip));
    code.extend(mask.map(|mask| Insn::alu32_imm(AND, 0, mask.mask())));
    Ok(())
}

pub(super) fn write_hash(code: &mut Vec<Insn>, map: &HashLookup) {
    code.push(Insn::call(map.find));
    if let Some(referenced) = map.referenced {
        code.extend([
            Insn::jmp_imm(JEQ, 0, 0, 4),
            Insn::ldx(B, 1, 0, referenced),
            Insn::jmp_imm(JNE, 1, 0, 1),
            Insn::st(B, 0, referenced, 1),
        ]);
    } else {
        code.push(Insn::jmp_imm(JEQ, 0, 0, 1));
    }
    code.push(Insn::alu64_imm(ADD, 0, map.value));
}
