//! Code at the entry and the exits of the main function, worked out by hand from descriptions of what the kernel does.

use relinear::bpf::{Aux, Bpf, Insn};
use relinear::passes::Error;
use relinear::passes::ctx::{self, Epilogue, Memory, Options, direct_write};
use relinear::passes::kernel::Kernel;
use relinear::{Arena, List};

use super::{OLD, SK_BUFF, converted, seen, slot, traffic_control};

fn unclone() -> [Insn; 10] {
    direct_write(SK_BUFF.cloned, 2)
}

#[test]
fn prologue_of_a_program_that_writes_to_packets() {
    let expected = [
        slot(0x71, 6, 1, 126, 0),
        slot(0x54, 6, 0, 0, 1),
        slot(0x15, 6, 0, 7, 0),
        slot(0xbf, 6, 1, 0, 0),
        slot(0xaf, 2, 2, 0, 0),
        slot(0x85, 0, 0, 0, 39),
        slot(0x15, 0, 0, 2, 0),
        slot(0xb4, 0, 0, 0, 2),
        slot(0x95, 0, 0, 0, 0),
        slot(0xbf, 1, 6, 0, 0),
    ];
    assert_eq!(unclone(), expected);
}

/// The first instruction is a load that becomes three, and the last one jumps back to it.
#[test]
fn jumps_to_the_first_instruction_skip_the_prologue_since_6_12() {
    let insns = [slot(0x71, 0, 1, 10, 0), slot(0x15, 0, 0, -2, 0), Insn::exit()];
    for (version, back) in [(Kernel::V6_1, -14), (Kernel::V6_12, -4), (Kernel::V6_18, -4)] {
        let prologue = unclone();
        let options = Options { version, prologue: &prologue, ..Options::default() };
        let out = converted(&insns, &traffic_control(), &options).expect("a program");
        let load = [slot(0x61, 0, 1, 164, 0), slot(0x74, 0, 0, 0, 16), slot(0x54, 0, 0, 0, 0xff)];
        let expected = [&prologue[..], &load, &[slot(0x15, 0, 0, back, 0), Insn::exit()]].concat();
        assert_eq!(out, expected, "{version:?}");
    }
}

/// An earlier pass deleted the first two instructions, to which there are jumps.
#[test]
fn jumps_to_what_stood_first_skip_the_prologue() {
    for target in 0..3 {
        let back = Insn::jmp_imm(0x10, 0, 0, target - 4);
        let insns = [Insn::ja(0), Insn::ja(0), Insn::mov64_imm(0, 0), back, Insn::exit()];
        let arena = Arena::new();
        let mut list = List::<Bpf, Aux>::with_aux(&arena, &insns, &seen(5)).expect("a list");
        for at in [0, 1] {
            list.delete(relinear::Handle::new(at)).expect("an instruction");
        }
        let prologue = unclone();
        let options = Options { prologue: &prologue, ..Options::default() };
        ctx::run(&mut list, &options, |_| Memory::Plain.into()).expect("no error");
        let out = list.linearize().expect("a program").units;
        assert_eq!(out[..10], prologue, "to {target}");
        let expected = [Insn::mov64_imm(0, 0), Insn::jmp_imm(0x10, 0, 0, -2), Insn::exit()];
        assert_eq!(out[10..], expected, "to {target}");
    }
}

/// What the kernel's own test of epilogues does: the context is saved, exits after the first lead to the epilogue, those
/// of other functions do not.
#[test]
fn exits_lead_to_the_epilogue() {
    let insns = [
        Insn::jmp_imm(0x10, 1, 0, 2),
        Insn::call_local(3),
        Insn::exit(),
        Insn::mov64_imm(0, 0),
        Insn::exit(),
        Insn::exit(),
    ];
    let code = [slot(0x79, 1, 10, -24, 0), slot(0x79, 1, 1, 0, 0), Insn::exit()];
    let epilogue = Epilogue { code: &code, stack: 16, end: 5 };
    let prologue = [Insn::mov64_imm(3, 0)];
    let options = Options { prologue: &prologue, epilogue: Some(epilogue), ..Options::default() };
    let save = slot(0x7b, 10, 1, -24, 0);
    let expected = [
        &[prologue[0], save, Insn::jmp_imm(0x10, 1, 0, 4), Insn::call_local(5)][..],
        &code,
        &[Insn::mov64_imm(0, 0), Insn::gotol(-5), Insn::exit()],
    ]
    .concat();
    assert_eq!(converted(&insns, &traffic_control(), &options).expect("a program"), expected);
    let old = Options { epilogue: Some(epilogue), ..OLD };
    assert_eq!(converted(&insns, &traffic_control(), &old).expect("a program"), insns);
    let deep = Options { epilogue: Some(Epilogue { stack: 0x8000, ..epilogue }), ..options };
    assert_eq!(
        converted(&insns, &traffic_control(), &deep),
        Err(Error::StackTooDeep { subprog: 0, used: 0x8000, more: 8 })
    );
}
