//! What is gathered before a word is laid out; without it, everything would go its way through the general case.

use std::vec;

use super::*;
use crate::core::Arena;
use crate::fuzzing::Toy;

#[test]
fn runs_of_a_word_are_gathered() {
    let (arena, program) = (Arena::new(), vec![1; 100]);
    let mut list = List::<Toy>::new(&arena, &program).unwrap();
    // Not in order, and so in a block.
    let inserted = [20, 5, 64].map(|at| list.append(Handle::new(at), &[1, 1][..]).unwrap().at(0));
    list.prepend(Handle::new(10), &[1][..]).unwrap();
    list.append(Handle::new(10), &[1][..]).unwrap();
    let mut out = list.linearize().unwrap();
    let mut layout = Layout::new(&list, &mut out);
    layout.gather(&list.words[0]);
    let starts: Vec<_> = layout.gathered.iter().map(|run| run.map(|run| run.start)).collect();
    let mut expected = [None; WORD];
    (expected[20], expected[5]) = (Some(inserted[0]), Some(inserted[1]));
    assert_eq!(starts, expected, "those with two runs are no lone ones, and others are of another word");
}
