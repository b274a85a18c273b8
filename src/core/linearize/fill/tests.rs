//! How wide copies are, which shows in what they write beyond the true length.

use std::vec;

use super::*;

/// How many values a copy of `len` writes, of which the first `len` are right.
fn copied(len: usize, to_len: usize, from_len: usize) -> usize {
    let (mut to, from) = (vec![0; to_len], (100..).take(from_len).collect::<Vec<u8>>());
    copy(&mut to, 3, &from, 5, len);
    let written = to.iter().filter(|&&value| value != 0).count();
    let expected: Vec<u8> = (105..).take(written).collect();
    assert_eq!(to[3..3 + written], expected, "{len} in {to_len} of {from_len}");
    written
}

#[test]
fn a_few_values_are_copied_in_one_of_three_widths() {
    for len in 0..=40 {
        let wide = match len {
            0..=4 => 4,
            5..=8 => 8,
            9..=16 => 16,
            _ => len,
        };
        assert_eq!(copied(len, 50, 50), wide);
        assert_eq!(copied(len, 3 + wide, 5 + wide), wide, "that is enough room");
        if len < wide {
            assert_eq!(copied(len, 2 + wide, 5 + wide), len);
            assert_eq!(copied(len, 3 + wide, 4 + wide), len);
            assert_eq!(copied(len, 3 + len, 5 + len), len);
        }
    }
}

#[test]
fn labels_are_written_eight_at_once() {
    for len in 0..=40 {
        let mut labels = vec![0; 3 + usize::next_multiple_of(len, LANES)];
        number(&mut labels, 3, len, 7);
        let expected: Vec<u32> = (7..).take(labels.len() - 3).collect();
        assert_eq!(labels[3..], expected, "{len}");
    }
}

#[test]
fn what_there_is_no_memory_for_is_refused() {
    let (mut notes, mut refused) = (Vec::with_capacity(1), false);
    note(&mut notes, 1, &mut refused);
    note(&mut notes, 2, &mut refused);
    assert_eq!((notes, refused), (vec![1, 2], false));
}
