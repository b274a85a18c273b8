//! Every access that the running kernel takes, of each field: its conversion against ours.

use relinear::bpf::opcode::{B, DW, H, LDX, MEMSX, W};
use relinear::bpf::{Insn, opcode};
use relinear::passes::ctx::{Options, SkBuff, Table, direct_write};

use super::converted;
use super::running::{Running, running};
use crate::differential::image::Image;
use crate::differential::load::{Fixtures, LOG_STATS, Request, fixtures};
use crate::kernel;

/// Programs that get one kind of context.
struct Programs {
    /// `enum bpf_prog_type` and `enum bpf_attach_type`.
    kind: (u32, u32),
    name: &'static str,
    /// How long the context is, in bytes.
    len: i16,
    table: fn(&Running) -> &Table,
}

const XDP: Programs = Programs { kind: (6, 0), name: "XDP", len: 24, table: |running| &running.packets };
const TRAFFIC_CONTROL: Programs =
    Programs { kind: (3, 0), name: "traffic control", len: 192, table: |running| &running.traffic[0] };

const ALL: [Programs; 7] = [
    XDP,
    Programs { kind: (6, 35), name: "XDP of a device map", ..XDP },
    TRAFFIC_CONTROL,
    Programs { kind: (1, 0), name: "a socket filter", table: |running| &running.other, ..TRAFFIC_CONTROL },
    Programs { kind: (8, 0), name: "a control group", table: |running| &running.other, ..TRAFFIC_CONTROL },
    Programs { kind: (10, 0), name: "a tunnel, inwards", table: |running| &running.other, ..TRAFFIC_CONTROL },
    Programs {
        kind: (12, 0),
        name: "a tunnel, outwards",
        table: |running| &running.other,
        ..TRAFFIC_CONTROL
    },
];

/// What the kernel makes of a program, if it takes it.
fn theirs(fixtures: &Fixtures, (kind, attach): (u32, u32), insns: &[Insn]) -> Option<Vec<Insn>> {
    let image = Image { insns: insns.to_vec(), ..Image::default() };
    let request = Request { kind, attach, flags: 0, image: &image, hardening: 0 };
    // To load it in full takes long if it is refused.
    drop(fixtures.load_once(&request, LOG_STATS).ok()?);
    Some(fixtures.load(&request).ok()?.masked().insns)
}

#[test]
fn every_field() {
    let (Some(fixtures), Some(running)) = (fixtures(), running()) else { return };
    let Some(_held) = kernel::unhardened() else { return };
    for programs in &ALL {
        let (mut taken, table) = (0, (programs.table)(running));
        for off in 0..programs.len {
            for size in [B, H, W, DW] {
                let loads = |mode| [2, 1].map(|dst| Insn::new(LDX | mode | size, dst, 1, off, 0));
                let store = Insn::stx(size, 1, 2, off);
                let stores = [5, -1, 0xfffe, 0xffff, i32::MAX].map(|imm| Insn::st(size, 1, off, imm));
                taken += compare(fixtures, programs, table, &loads(opcode::MEM));
                taken += compare(fixtures, programs, table, &loads(MEMSX));
                if compare(fixtures, programs, table, &[store]) == 1 {
                    taken += 1 + compare(fixtures, programs, table, &stores);
                }
            }
        }
        println!("{}: {taken} accesses", programs.name);
        assert!(taken > 0, "{}", programs.name);
    }
}

/// How many of these, or none as soon as one is refused, become what ours do.
fn compare(fixtures: &Fixtures, programs: &Programs, table: &Table, accesses: &[Insn]) -> usize {
    for (before, access) in accesses.iter().enumerate() {
        let insns = [Insn::mov64_imm(2, 1), *access, Insn::mov64_imm(0, 0), Insn::exit()];
        let Some(theirs) = theirs(fixtures, programs.kind, &insns) else { return before };
        let ours = converted(&insns, table, &Options::default());
        assert_eq!(ours.as_ref(), Ok(&theirs), "{}: {access:x?}", programs.name);
    }
    accesses.len()
}

/// A program that asks for `tstamp_type` has its time stamps as they are.
#[test]
fn time_stamps_of_one_who_asks() {
    let (Some(fixtures), Some(running)) = (fixtures(), running()) else { return };
    let Some(_held) = kernel::unhardened() else { return };
    let insns = [
        Insn::ldx(DW, 2, 1, 152),
        Insn::stx(DW, 1, 2, 152),
        Insn::st(DW, 1, 152, 7),
        Insn::ldx(B, 0, 1, 180),
        Insn::exit(),
    ];
    let theirs = theirs(fixtures, TRAFFIC_CONTROL.kind, &insns).expect("the kernel takes it");
    assert_eq!(converted(&insns, &running.traffic[1], &Options::default()), Ok(theirs));
}

/// Programs that write to their packet and jump back to their first instruction, which may be gone by then.
#[test]
fn jumps_back_to_the_start() {
    let (Some(fixtures), Some(running)) = (fixtures(), running()) else { return };
    let Some(_held) = kernel::unhardened() else { return };
    for nops in 0..3 {
        for target in 0..=nops {
            let insns = jumping_back(nops, target);
            let theirs = theirs(fixtures, TRAFFIC_CONTROL.kind, &insns).expect("the kernel takes it");
            let ours = without_nops(&insns, &running.skb, &running.traffic[0]);
            assert_eq!(ours, theirs, "{nops} in front, back to {target}");
        }
    }
}

/// Counts on the stack, from whatever is there, and writes to the packet in the end.
fn jumping_back(nops: i16, target: i16) -> Vec<Insn> {
    let mut insns = vec![Insn::ja(0); usize::try_from(nops).expect("a few")];
    let count = [
        Insn::ldx(DW, 0, 10, -8),
        Insn::jmp_imm(opcode::JGT, 0, 3, 3),
        Insn::alu64_imm(opcode::ADD, 0, 1),
        Insn::stx(DW, 10, 0, -8),
        Insn::ja(target - nops - 5),
    ];
    insns.extend(count);
    insns.extend([
        Insn::ldx(W, 2, 1, 76),
        Insn::ldx(W, 3, 1, 80),
        Insn::mov64_reg(4, 2),
        Insn::alu64_imm(opcode::ADD, 4, 1),
        Insn::jmp_reg(opcode::JGT, 4, 3, 1),
        Insn::st(B, 2, 0, 1),
        Insn::mov64_imm(0, 0),
        Insn::exit(),
    ]);
    insns
}

fn without_nops(insns: &[Insn], skb: &SkBuff, table: &Table) -> Vec<Insn> {
    use relinear::bpf::{Aux, Bpf};
    use relinear::passes::{ctx, remove_nops};
    let arena = relinear::Arena::new();
    let mut list =
        relinear::List::<Bpf, Aux>::with_aux(&arena, insns, &super::seen(insns.len())).expect("a list");
    remove_nops::run(&mut list, &remove_nops::Options::default()).expect("no error");
    let prologue = direct_write(skb.cloned, 2);
    let options = Options { prologue: &prologue, ..Options::default() };
    ctx::run(&mut list, &options, |site| match site.insn.dst() {
        2 if site.insn.class() == opcode::ST => ctx::Memory::Plain.into(),
        _ => super::context_but_stack(site.insn, table).into(),
    })
    .expect("no error");
    let insns = list.linearize().expect("a program").units;
    Image { insns, ..Image::default() }.masked().insns
}
