//! What takes too many units to be seen from outside.

use super::*;
use crate::core::Limits;
use crate::fuzzing::Toy;

#[test]
fn handles_name_all_units_but_as_many_as_the_arena_allows() {
    let arena = Arena::new();
    let list = List::<Toy>::new(&arena, &[1; 70]).unwrap();
    assert_eq!(list.most_inserted(), (Handle::MAX - 128) as usize, "the end is in the second word");
    let arena = Arena::with_limits(Limits { units: Handle::MAX - 59, ..Limits::default() });
    let list = List::<Toy>::new(&arena, &[1; 70]).unwrap();
    assert_eq!(list.most_inserted(), (Handle::MAX - 129) as usize);
}
