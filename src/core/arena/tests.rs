//! How much memory a reset keeps.

use super::*;
use crate::core::List;
use crate::fuzzing::Toy;

/// Makes so many lists with an edit of each instruction, and resets the arena. How much it holds then.
fn kept(arena: &mut Arena, lists: usize) -> usize {
    for _ in 0..lists {
        let mut list = List::<Toy>::new(arena, &[1; 1000]).unwrap();
        for at in 0..1000 {
            list.append(Handle::new(at), &[1, 1][..]).unwrap();
        }
    }
    arena.reset();
    arena.allocated_bytes()
}

#[test]
fn a_reset_keeps_what_such_lists_need_and_no_more() {
    for limit in [None, Some(1 << 20)] {
        let mut arena = Arena::with_limits(Limits { bytes: limit, ..Limits::default() });
        let one = kept(&mut arena, 1);
        let of_edits = 1000 * (12 + 2 * size_of::<u16>());
        assert!((of_edits..2 * of_edits).contains(&one), "{one}");
        assert_eq!(kept(&mut arena, 1), one);
        let three = kept(&mut arena, 3);
        assert!((3 * one - 3000..3 * one + 3000).contains(&three), "{three}");
        assert_eq!((kept(&mut arena, 3), kept(&mut arena, 1)), (three, three));
    }
}

#[test]
fn a_reset_keeps_nothing_that_the_limit_forbids() {
    let mut arena = Arena::with_limits(Limits { bytes: Some(1 << 20), ..Limits::default() });
    arena.needed.set(1 << 21);
    arena.reset();
    assert_eq!(arena.allocated_bytes(), 0);
    assert!(kept(&mut arena, 1) > 0);
}
