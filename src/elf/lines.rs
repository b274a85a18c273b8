//! What becomes of line records.

use alloc::vec::Vec;

use super::moves::Move;

/// The records that survive an edit, by index, each with its new slot, strictly ascending.
///
/// A record stays with what its instruction has become, with all that was prepended. Of the
/// records of deleted instructions the last one moves to the first instruction after them, if that
/// is of the same function and has no record of its own: the kernel's rule, in
/// `bpf_adj_linfo_after_remove`.
///
/// O(records), or O(records · log records) if they do not ascend.
pub(crate) fn surviving_lines(slots: impl Iterator<Item = u32>, moved: &Move<'_>) -> Vec<(usize, u32)> {
    let mut records: Vec<(usize, u32)> = slots.enumerate().collect();
    records.sort_by_key(|&(_, slot)| slot);
    let mut kept: Vec<(usize, u32)> = Vec::with_capacity(records.len());
    for (index, slot) in records {
        let new = moved.new_of(slot);
        if new >= moved.end_at(slot) {
            continue;
        }
        // A record of the instruction itself comes after those of deleted ones before it.
        match kept.last_mut() {
            Some(last) if last.1 == new => last.0 = index,
            _ => kept.push((index, new)),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::bpf::{Bpf, Endian, Insn, Program};
    use crate::elf::CodeSection;
    use crate::elf::moves::{Given, NewCode};
    use crate::{Arena, Handle, List};

    /// The kernel's `bpf_remove_insns` on line records, a hole at a time: as it is told in words, with the
    /// positions that it has at each step. Records are (index, slot).
    fn remove(records: &mut Vec<(usize, u32)>, new_len: u32, hole: u32, count: u32) {
        let first = records.partition_point(|&(_, slot)| slot < hole);
        let end = records.partition_point(|&(_, slot)| slot < hole + count);
        if first < end {
            let next_has_one = records.get(end).is_some_and(|&(_, slot)| slot == hole + count);
            let keep = new_len != hole && !next_has_one;
            if keep {
                records[end - 1].1 = hole + count;
            }
            records.drain(first..end - usize::from(keep));
        }
        for (_, slot) in &mut records[first..] {
            *slot -= count;
        }
    }

    proptest! {
        #[test]
        fn deletion_is_that_of_the_kernel(
            slots in prop::collection::vec((any::<bool>(), any::<bool>(), 0..6u8), 1..40),
        ) {
            let mut subprogs = vec![0];
            subprogs.extend((1..).zip(&slots[1..]).filter(|(_, slot)| slot.2 == 0).map(|(at, _)| at));
            // The kernel wants a record at the start of every subprogram.
            let lines: Vec<u32> =
                (0..).zip(&slots).filter(|(at, slot)| slot.0 || subprogs.contains(at)).map(|(at, _)| at).collect();
            let dead: Vec<u32> = (0..).zip(&slots).filter(|(_, slot)| slot.1).map(|(at, _)| at).collect();

            let insns = vec![Insn::mov64_imm(0, 0); slots.len()];
            let arena = Arena::new();
            let mut list = List::<Bpf>::new(&arena, &insns).unwrap();
            let mut expected: Vec<(usize, u32)> = lines.iter().copied().enumerate().collect();
            let mut len = u32::try_from(slots.len()).unwrap();
            // Runs from the front, as the verifier does; what was deleted before is gone already.
            let mut at = 0;
            while at < dead.len() {
                let run = (at..dead.len()).take_while(|&to| dead[to] - dead[at] == u32::try_from(to - at).unwrap());
                let run = run.count();
                len -= u32::try_from(run).unwrap();
                remove(&mut expected, len, dead[at] - u32::try_from(at).unwrap(), u32::try_from(run).unwrap());
                at += run;
            }
            for &slot in &dead {
                list.delete(Handle::new(slot)).unwrap();
            }
            let new = list.linearize().unwrap();
            let program = Program { insns: insns.clone(), subprogs, ..Program::default() };
            let code = CodeSection::of_program(program, Endian::Little);
            let moved = Move::new(&code, NewCode { code: 0, insns: &new.units, map: &new.map, given: Given::default() }).unwrap();
            prop_assert_eq!(surviving_lines(lines.iter().copied(), &moved), expected);
        }
    }
}
