//! What the words say that other code could find out in a longer way, and goes on to do if they do not say it.

use super::*;
use crate::core::columns::Slot;

const ALL: u64 = u64::MAX;

#[test]
fn edits_in_order_come_above_the_last_one() {
    let bump = Bump::new();
    let mut words = Words::new(&bump, 2, false).unwrap();
    assert_eq!(words.next_in_order(0, 7), ALL, "the first may be anywhere");
    words.first[0] = 7;
    words.edited[0] = 1 << 5;
    assert_eq!(words.next_in_order(0, 8), ALL << 6);
    assert_eq!(words.next_in_order(0, 9), 0, "a record between is of another word");
    words.edited[0] |= 1 << 63;
    assert_eq!(words.next_in_order(0, 9), 0, "none is above the last unit");
    words.add_block(&bump, 1).unwrap();
    assert_eq!(words.next_in_order(1, 7), 0, "a word with a block has no order");
}

#[test]
fn a_block_takes_over_the_records_of_its_word() {
    let bump = Bump::new();
    let mut words = Words::new(&bump, 1, false).unwrap();
    (words.first[0], words.edited[0]) = (7, 1 << 63 | 1 << 5);
    words.add_block(&bump, 0).unwrap();
    let block = words.blocks[0].as_ref().unwrap();
    assert_eq!((block[5].unpack(), block[63].unpack()), (Slot::Lone(7), Slot::Lone(8)));
    assert_eq!(words.blocks_used(), 1);
}

#[test]
fn an_instruction_is_single_if_the_next_unit_begins_another() {
    let bump = Bump::new();
    let words = Words::new(&bump, 3, false).unwrap();
    words.inner[1] = 1 << 5 | 1 << 6 | 1 << 40;
    for bit in 0..WORD {
        assert_eq!(words.singles(1) >> bit & 1 != 0, ![4, 5, 39].contains(&bit), "unit {bit}");
    }
    words.inner[2] = 1;
    assert_eq!(words.singles(1) >> 63, 0, "it goes on in the next word");
    assert_eq!(words.singles(2) >> 63, 1, "behind the last word is nothing");
}

#[test]
fn an_instruction_ends_where_the_next_one_begins() {
    let bump = Bump::new();
    let words = Words::new(&bump, 2, false).unwrap();
    words.inner[0] = ALL << 2;
    assert_eq!((words.len_at(0), words.len_at(1), words.len_at(64)), (1, 63, 1));
    words.inner[1] = 1;
    assert_eq!((words.len_at(1), words.len_at(65)), (64, 1));
    words.inner[1] = ALL;
    assert_eq!(words.len_at(1), 127, "behind the last word is nothing");
}

#[test]
fn marks_reach_into_the_next_word() {
    let bump = Bump::new();
    let mut words = Words::new(&bump, 3, true).unwrap();
    words.mark(60, 8, &Marks { inner: 0b1010_0000, branch: 0b0100_0001, ..Marks::default() });
    assert_eq!((words.inner[0], words.inner[1]), (0, 0b1010));
    assert_eq!((words.branch[0], words.branch[1]), (1 << 60, 0b100));
    Words::set(words.dead, 62, 4);
    assert_eq!((words.dead[0], words.dead[1]), (0b11 << 62, 0b11));
    words.clear(63, 68);
    assert_eq!((words.branch[0], words.dead[0]), (1 << 60, 1 << 62));
    assert_eq!((words.inner[1], words.branch[1], words.dead[1]), (0, 0, 0));
}

#[test]
fn a_copy_is_the_same_and_stands_for_itself() {
    let bump = Bump::new();
    let mut words = Words::new(&bump, 2, true).unwrap();
    for column in [&mut *words.inner, words.branch, words.dead, words.edited, words.starts] {
        column.copy_from_slice(&[3, 5]);
    }
    for column in [&mut *words.records, words.targets, words.first] {
        column.copy_from_slice(&[7, 9]);
    }
    words.add_block(&bump, 1).unwrap();
    let copy = words.copy(&bump).unwrap();
    assert_eq!(std::format!("{copy:?}"), std::format!("{words:?}"));
    words.blocks[1].as_mut().unwrap()[0] = PackedSlot::site(3);
    words.dead[0] = 0;
    assert_ne!(std::format!("{:?}", copy.blocks), std::format!("{:?}", words.blocks));
    assert_eq!(copy.dead[0], 3);
}
