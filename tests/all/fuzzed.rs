//! The assembler, objects and BTF on what the fuzzer kept, and on cases from seeds that are fixed.

use std::fs;

use relinear::fuzzing::check_asm;

#[test]
fn the_corpus_of_asm_passes() {
    for input in crate::corpus("asm") {
        check_asm(&input);
    }
}

#[test]
fn random_slots_have_texts_and_random_texts_have_places() {
    let mut rng = crate::random::Rng::new(11);
    let dictionary = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/dictionaries/asm.dict");
    if crate::is_packaged() {
        crate::skipped("texts of the words of a dictionary that is not in the package");
        return;
    }
    let dictionary = fs::read_to_string(dictionary).unwrap();
    let words: Vec<&str> =
        dictionary.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"')).collect();
    for _ in 0..2000 {
        let slots: Vec<u8> = (0..8 * rng.below(12)).map(|_| rng.next().to_le_bytes()[0]).collect();
        check_asm(&slots);
        let text: String =
            (0..rng.below(20)).map(|_| if rng.one_in(4) { "\n" } else { rng.pick(&words) }).collect();
        check_asm(text.as_bytes());
    }
}

#[cfg(feature = "elf")]
mod objects {
    use arbitrary::{Arbitrary, Unstructured};
    use relinear::fuzzing::{BtfExtCase, check_btf_ext, check_object, damage_object};

    use crate::corpus;
    use crate::random::Rng;

    fn check_bytes(bytes: &[u8]) {
        check_btf_ext(&BtfExtCase::arbitrary(&mut Unstructured::new(bytes)).expect("no bytes are too few"));
    }

    #[test]
    fn the_corpora_pass() {
        for data in corpus("object") {
            check_object(&data);
        }
        for bytes in corpus("btf_ext") {
            check_bytes(&bytes);
        }
    }

    #[test]
    fn random_records_are_where_they_belong() {
        let mut rng = Rng::new(5);
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..rng.below(400)).map(|_| rng.next().to_le_bytes()[0]).collect();
            check_bytes(&bytes);
        }
    }

    #[test]
    fn damaged_objects_are_refused_or_survived() {
        let mut rng = Rng::new(7);
        for data in corpus("object").into_iter().filter(|data| data.len() < 4096) {
            for _ in 0..20 {
                let mut damaged = data.clone();
                damage_object(&mut damaged, u32::try_from(rng.next() >> 32).unwrap());
                check_object(&damaged);
            }
        }
    }
}
