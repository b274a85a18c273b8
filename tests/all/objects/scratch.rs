//! Code that overwrites scratch registers and slots, all over the committed objects, in the running kernel.

use relinear::bpf::scratch::{Context, Scratch};
use relinear::bpf::{Arguments, Bpf, Cfg};
use relinear::elf::{Edit, Object};
use relinear::{Arena, List};

use super::{OTHER_LOADERS, ask, compare, objects};
use crate::random::Rng;
use crate::scratch::{Tally, insert_at_random};

/// An object with code inserted at random places of all its sections.
fn edited(object: &[u8], rng: &mut Rng, tally: &mut Tally) -> Vec<u8> {
    let mut object = Object::parse(object).expect("an object of clang's");
    let growths = object.stack_growths().expect("its code has a graph");
    let mut done = Vec::new();
    for (code, growths) in growths.into_iter().enumerate() {
        let section = &object.code()[code];
        let program = section.program();
        if program.insns.is_empty() {
            continue;
        }
        let cfg = Cfg::new(program).expect("it has a graph");
        let mut context = Context::of(program, &cfg, 512);
        context.growths = growths;
        let called = section.name() == ".text";
        context.entries.fill(Some(if called { Arguments::UNKNOWN } else { Arguments::CONTEXT }));
        let mut scratch = Scratch::new(program, &cfg, context);
        let arena = Arena::new();
        let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
        insert_at_random(program, &cfg, &mut scratch, &mut list, (rng, 8), tally);
        done.push((code, list.linearize().expect("a program")));
    }
    let edits = done.iter().map(|(code, new)| Edit { code: *code, insns: new.units.clone(), map: &new.map });
    object.replace_codes(edits.collect()).expect("the object takes it");
    object.write().expect("it can be written")
}

#[test]
fn programs_answer_as_before_with_their_scratch_registers_overwritten() {
    let mut tally = Tally::default();
    let mut loaded = 0;
    for (name, object) in objects() {
        // In the code of `reach.o` jumps would no longer reach.
        if OTHER_LOADERS.contains(&name.as_str()) || name == "reach.o" {
            continue;
        }
        let Some(expected) = ask(&object, &name) else { return };
        for seed in 0..4 {
            let edited = edited(&object, &mut Rng::new(seed), &mut tally);
            compare(&expected, &edited, &format!("{name}, seed {seed}"));
            loaded += 1;
        }
    }
    println!("{loaded} objects: {tally:?}");
    assert!(tally.inserted > 500 && loaded > 40);
}
