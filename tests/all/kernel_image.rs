//! Programs that the kernel gives back, loaded again.

use std::fs;
use std::os::fd::AsRawFd;

use relinear::bpf::kernel_image::{ImportReason, KernelImage, Names};
use relinear::bpf::{Bpf, FuncInfo, Insn, Program, Symbols, SymbolsError};
use relinear::{Arena, Handle, List};

use crate::kernel::{self, Hardening};
use crate::random::{Shape, program, traffic_control};

/// The text that addresses of functions come from, if the kernel shows them.
fn kallsyms() -> Option<String> {
    let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    match Symbols::parse(&text) {
        Ok(_) => Some(text),
        Err(why) => {
            crate::skipped(why);
            None
        }
    }
}

const NO_NAMES: Names<'_> = Names { symbols: None, map: &|_| None, kfunc: &|_| None };

fn import(insns: &[Insn], names: &Names<'_>) -> Result<Program, (usize, ImportReason)> {
    let image = KernelImage { insns, func_info: &[], line_info: &[] };
    image.import(names).map_err(|error| (error.at, error.reason))
}

/// A program from the kernel, with its last `exit` returning 100 more.
fn edited(program: &Program) -> Vec<Insn> {
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
    let exit = program.insns.iter().position(|insn| insn.is_exit()).expect("an exit");
    let handle = Handle::new(u32::try_from(exit).expect("a short program"));
    list.prepend(handle, &[Insn::alu64_imm(0, 0, 100)][..]).expect("there is room");
    list.linearize().expect("a program").units
}

#[test]
fn random_programs_do_the_same_when_they_are_loaded_again() {
    if !kernel::is_available() {
        return;
    }
    let Some(text) = kallsyms() else { return };
    let _plain = match Hardening::off() {
        Ok(held) => held,
        Err(why) => return crate::skipped(why),
    };
    let symbols = Symbols::parse(&text).expect("it was parsed before");
    let names = Names { symbols: Some(&symbols), ..NO_NAMES };
    for seed in 0..40 {
        let shape = Shape { statements: 30, callees: (seed % 4) as usize, junk: false, use_r1: false };
        // What the kernel makes of an access to the context cannot be loaded again.
        let text = traffic_control(seed, shape).replace("*(u32 *)(r1 + 0)", "64");
        let text = text.replacen("r0 = 7", "call 5\nr0 >>= 63\nr0 += 7", 1);
        let loaded = kernel::load(&program(&text).insns).expect("it is valid");
        let insns = loaded.translated().expect("it may be read");
        let imported = import(&insns, &names).unwrap_or_else(|why| panic!("seed {seed}: {why:?}"));
        assert_eq!(imported.subprogs.len(), shape.callees + 1, "seed {seed}");
        let again = kernel::load(&imported.insns)
            .unwrap_or_else(|why| panic!("seed {seed}: {} {}\n{text}", why.error, why.log));
        let changed = kernel::load(&edited(&imported)).expect("one more instruction");
        let [before, after, more] =
            [&loaded, &again, &changed].map(|program| program.run(64).expect("it runs"));
        assert_eq!((after, more), (before, before.wrapping_add(100)), "seed {seed}");
    }
}

#[test]
fn maps_are_found_by_their_ids_and_lookups_by_their_code() {
    if !kernel::is_available() {
        return;
    }
    let _plain = match Hardening::off() {
        Ok(held) => held,
        Err(why) => return crate::skipped(why),
    };
    let map = kernel::array_map().expect("an array");
    let fd = map.as_raw_fd();
    let text = format!(
        "
        *(u32 *)(r10 - 4) = 0
        r1 = map[fd:{fd}] ll
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto out
        r1 = *(u64 *)(r0 + 0)
        r1 += 1
        *(u64 *)(r0 + 0) = r1
        r2 = map[fd:{fd}][8] ll
        *(u64 *)(r2 + 0) = r1
        r0 = r1
    out:
        exit"
    );
    let loaded = kernel::load(&program(&text).insns).expect("it is valid");
    let insns = loaded.translated().expect("it may be read");
    let id = kernel::map_id(&map);
    assert_eq!(import(&insns, &NO_NAMES), Err((1, ImportReason::NoMap { id })));
    let names = Names { map: &|other| (other == id).then_some(fd), ..NO_NAMES };
    let imported = import(&insns, &names).expect("nothing but an array is called");
    assert!(imported.insns.contains(&Insn::call(1)), "{:?}", imported.insns);
    let again = kernel::load(&edited(&imported)).unwrap_or_else(|why| panic!("{} {}", why.error, why.log));
    // They share the map.
    let runs = [&loaded, &again, &loaded, &again].map(|program| program.run(64).expect("it runs"));
    assert_eq!(runs, [1, 102, 3, 104]);
}

#[test]
fn what_cannot_be_taken_back_has_a_place_and_a_reason() {
    use relinear::bpf::asm::parse;
    let import = |text: &str, names: &Names<'_>| import(&parse(text).expect("a program"), names);
    let hidden = Err((1, ImportReason::HiddenCall));
    assert_eq!(import("r0 = 0\ncall 0\nexit", &NO_NAMES), hidden);
    assert_eq!(import("r0 = 0\ncall 77\nexit", &NO_NAMES), hidden);
    let tail_call = "call 12\nexit";
    assert_eq!(import(tail_call, &NO_NAMES).map(|program| program.insns), Ok(parse(tail_call).unwrap()));
    let refused = import("r0 = 0\nr11 = 5\nexit", &NO_NAMES).expect_err("no program names r11");
    assert!(matches!(refused, (1, ImportReason::NotLoadable(_))), "{refused:?}");

    let text = "
ffffffff81000000 T __bpf_call_base
ffffffff81000100 T bpf_map_update_elem
ffffffff81000200 t htab_map_update_elem
ffffffff81000300 T bpf_perf_event_output_raw_tp
ffffffff81000400 T __htab_map_lookup_elem
ffffffff81000500 T a_kernel_function	[module]
ffffffff80ffff00 T bpf_xdp_fib_lookup";
    let symbols = Symbols::parse(text).expect("they are all there");
    let names = Names {
        symbols: Some(&symbols),
        kfunc: &|name| (name == "a_kernel_function").then_some((7, 1)),
        ..NO_NAMES
    };
    let call =
        |imm: i32| import(&format!("call {imm}\nr0 = 0\nexit"), &names).map(|program| program.insns[0]);
    assert_eq!(call(0x100), Ok(Insn::call(2)));
    assert_eq!(call(0x200), Ok(Insn::call(2)));
    assert_eq!(call(0x300), Ok(Insn::call(25)));
    assert_eq!(call(-0x100), Ok(Insn::call(69)));
    assert_eq!(call(0x400), Err((0, ImportReason::Lookup)));
    let function = "a_kernel_function".to_owned();
    assert_eq!(call(0x500), Err((0, ImportReason::NoHelper { function })));
    assert_eq!(call(0x600), Err((0, ImportReason::NoFunction { imm: 0x600 })));
    let kfunc = import("call kfunc 1280\nr0 = 0\nexit", &names).expect("it is known");
    assert_eq!(kfunc.insns[0], parse("call kfunc 7 off 1").unwrap()[0]);
    let lookup = import("call 1024\nif r0 == 0 goto +1\nr0 += 56\nexit", &names).expect("a lookup");
    assert_eq!(lookup.insns, parse("call 1\ngoto +0\ngoto +0\nexit").unwrap());

    for (text, why) in [
        ("", SymbolsError::NoBase),
        ("0000000000000000 T __bpf_call_base\n0000000000000000 T bpf_map_update_elem", SymbolsError::Hidden),
    ] {
        assert_eq!(Symbols::parse(text).map(|_| ()), Err(why));
    }
}

#[test]
fn calls_that_are_too_far_for_their_field_lead_to_the_function_that_fits() {
    let mut insns = vec![Insn::ja(0); 70_000];
    // What the kernel shows for a displacement of 69,000.
    insns[0] = Insn::call_local(-2).with_off(3464);
    insns[69_000] = Insn::exit();
    let func = |insn_off| FuncInfo { insn_off, type_id: 1 };
    let displacement = |funcs: &[FuncInfo]| {
        let image = KernelImage { insns: &insns, func_info: funcs, line_info: &[] };
        image.import(&NO_NAMES).map(|program| program.insns[0].imm).map_err(|error| error.reason)
    };
    assert_eq!(displacement(&[func(0), func(69_001)]), Ok(69_000));
    assert_eq!(displacement(&[func(0), func(3465), func(69_001)]), Err(ImportReason::FarCall));
    assert_eq!(displacement(&[func(0), func(69_002)]), Err(ImportReason::FarCall));
    assert_eq!(displacement(&[]), Err(ImportReason::FarCall));
}
