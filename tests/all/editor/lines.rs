//! Lines that were set, against a model that knows the line of each slot by itself.

use relinear::bpf::{Insn, LineInfo, Moves, Program};
use relinear::{Arena, Handle, Origin};

use super::generate;
use crate::random::Rng;

/// The line of each slot, by its text.
fn of_slots(program: &Program<u32>) -> Vec<Option<u32>> {
    let mut of_slots = vec![None; program.insns.len()];
    for record in &program.line_info {
        of_slots[record.insn_off as usize..].fill(Some(record.line_off));
    }
    of_slots
}

#[test]
fn every_slot_has_the_line_that_was_set_or_that_it_had() {
    let (mut set, mut compared) = (0, 0);
    for seed in 0..3000 {
        let rng = &mut Rng::new(seed);
        let program = generate::program(rng);
        let arena = Arena::new();
        let mut editor = program.edit(&arena).unwrap();
        let code = [Insn::mov64_imm(5, 1); 5];
        let mut wanted: Vec<(Handle, u32)> = Vec::new();
        for _ in 0..rng.below(8) {
            let live: Vec<Handle> = editor.list().iter().collect();
            if live.is_empty() {
                break;
            }
            let at = live[rng.below(live.len())];
            let patch = &code[..=rng.below(4)];
            let inserted = match rng.below(4) {
                0 => editor.list().prepend(at, patch),
                1 => editor.list().replace(at, patch),
                2 => editor.list().append(at, patch),
                _ => {
                    editor.list().delete(at).unwrap();
                    continue;
                }
            };
            let inserted = inserted.unwrap();
            for unit in 0..patch.len() {
                if rng.one_in(3) {
                    wanted.push((
                        inserted.at(u32::try_from(unit).unwrap()),
                        1000 + u32::try_from(wanted.len()).unwrap(),
                    ));
                }
            }
        }
        // What is wrong with the code is not what this is about.
        let Ok((plain, Moves { map, .. })) = editor.linearize_with_map() else { continue };
        let mut expected = of_slots(&plain);
        let mut at_place = vec![None; plain.insns.len()];
        for &(handle, line) in &wanted {
            let record = LineInfo { insn_off: 0, file_name_off: 1, line_off: line, line_col: 0 };
            if editor.list().is_live(handle) {
                editor.set_line(handle, record).unwrap();
                at_place[map.new_of_handle(handle).unwrap() as usize] = Some(line);
                set += 1;
            }
        }
        let mut current = None;
        for (slot, new) in (0..).zip(at_place) {
            let begins = plain.line_info.iter().any(|record| record.insn_off == slot);
            let original = matches!(map.origin(slot), Origin::Original(_));
            if new.is_some() || begins || original {
                current = new;
            }
            // Without a line before it there is none to go back to.
            if current.is_some() {
                expected[slot as usize] = current;
            }
        }
        let ours = editor.linearize().unwrap();
        assert_eq!(of_slots(&ours), expected, "{seed}");
        assert!(ours.line_info.is_sorted_by(|a, b| a.insn_off < b.insn_off), "{seed}");
        compared += 1;
    }
    assert!(compared > 1000 && set > 1000, "{compared} {set}");
}
