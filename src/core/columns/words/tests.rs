//! What the words say that other code could find out in a longer way, and goes on to do if they do not say it.

use super::*;

const ALL: u64 = u64::MAX;

#[test]
fn edits_in_order_come_above_the_last_one() {
    let mut word = Word::default();
    assert_eq!(word.next_in_order(7), ALL, "the first may be anywhere");
    word.first_run = 7;
    word.edit_in_order(5, false);
    assert_eq!(word.next_in_order(8), ALL << 6);
    assert_eq!(word.next_in_order(9), 0, "a run between is of another word");
    word.edit_in_order(63, true);
    assert_eq!(word.next_in_order(9), 0, "none is above the last unit");
    assert_eq!((word.run_in_order(5), word.run_in_order(63)), (7, 8));
    assert_eq!((word.edited, word.bodies), (1 << 63 | 1 << 5, 1 << 63));
    let in_block = Word { block: 1, ..Word::default() };
    assert_eq!(in_block.next_in_order(7), 0);
}

#[test]
fn an_instruction_is_single_if_the_next_unit_begins_another() {
    let word = Word { inner: 1 << 5 | 1 << 6 | 1 << 40, ..Word::default() };
    for bit in 0..WORD {
        let single = ![4, 5, 39, WORD - 1].contains(&bit);
        assert_eq!(word.is_single(bit), single, "unit {bit}");
        assert_eq!(word.is_single(bit + 3 * WORD), single, "unit {bit} of another word");
        assert_eq!(word.singles() >> bit & 1 != 0, single, "unit {bit}");
    }
    // The last unit is followed by one of another word, whatever the first of this one is.
    assert!(!Word::default().is_single(WORD - 1));
    assert!(!Word { inner: 1, ..Word::default() }.is_single(WORD - 1));
}

#[test]
fn an_instruction_ends_where_the_next_one_begins() {
    let bump = Bump::new();
    let mut words = Words::new_in(&bump);
    words.push(Word { inner: ALL << 2, ..Word::default() });
    words.push(Word::default());
    assert_eq!((words.len_at(0), words.len_at(1), words.len_at(64)), (1, 63, 1));
    words[1].inner = 1;
    assert_eq!((words.len_at(1), words.len_at(65)), (64, 1));
}

#[test]
fn room_is_made_once() {
    let bump = Bump::new();
    let mut words = Words::new_in(&bump);
    words.try_reserve(640).unwrap();
    for _ in 0..10 {
        words.push(Word::default());
    }
    words.try_reserve(640).unwrap();
    assert_eq!(words.words.capacity(), 10);
    words.try_reserve(641).unwrap();
    assert_eq!(words.words.capacity(), 11);
}
