//! Access to contexts: by the documents of what the kernel does, and by the running kernel.

#[cfg(feature = "elf")]
mod btf;
mod edges;
#[cfg(all(feature = "elf", target_os = "linux"))]
mod live;
#[cfg(all(feature = "elf", target_os = "linux"))]
mod random;
#[cfg(all(feature = "elf", target_os = "linux"))]
mod running;
mod worked;

use relinear::bpf::opcode::FRAME_POINTER;
use relinear::bpf::{Aux, Bpf, Endian, Insn};
use relinear::passes::ctx::{
    self, Bits, Hook, Memory, NapiId, Options, SkBuff, Socket, Stamps, Table, Vlan, Xdp,
};
use relinear::passes::{Error, kernel::Kernel};
use relinear::{Arena, List};

/// A slot by its fields.
fn slot(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(code, dst, src, off, imm)
}

/// Facts of instructions that were all seen.
fn seen(count: usize) -> Vec<Aux> {
    vec![Aux { seen: true, ..Aux::default() }; count]
}

/// What a program becomes if everything but the stack is the context.
fn converted(insns: &[Insn], table: &Table, options: &Options<'_>) -> Result<Vec<Insn>, Error> {
    let arena = Arena::new();
    let mut list = List::<Bpf, Aux>::with_aux(&arena, insns, &seen(insns.len()))?;
    ctx::run(&mut list, options, |site| context_but_stack(site.insn, table).into())?;
    Ok(list.linearize()?.units)
}

fn context_but_stack(insn: Insn, table: &Table) -> Memory<'_> {
    let base = if insn.class() == 1 { insn.src() } else { insn.dst() };
    if base == FRAME_POINTER { Memory::Plain } else { Memory::Context(table) }
}

/// What one instruction becomes.
fn one(insn: Insn, table: &Table) -> Vec<Insn> {
    let out = converted(&[insn, Insn::exit()], table, &Options::default());
    let mut out = out.unwrap_or_else(|error| panic!("{insn:?}: {error}"));
    assert_eq!(out.pop(), Some(Insn::exit()));
    out
}

const fn bits(byte: i16, first: u8, len: u8) -> Bits {
    Bits { byte, first, len }
}

/// As a build of Linux 6.18 for x86-64 has it.
const SK_BUFF: SkBuff = SkBuff {
    len: 112,
    pkt_type: bits(128, 0, 3),
    mark: 164,
    queue_mapping: 124,
    protocol: 176,
    vlan: Vlan::All(152),
    vlan_tci: 154,
    vlan_proto: 152,
    priority: 140,
    skb_iif: 144,
    dev: 16,
    ifindex: 224,
    tc_index: Some(132),
    cb: 40,
    cb_data: 8,
    cb_pkt_len: 0,
    cb_tc_classid: 6,
    cb_data_meta: 32,
    cb_data_end: 40,
    hash: 148,
    data: 200,
    head: 192,
    end: 188,
    gso_segs: 6,
    gso_size: 4,
    hwtstamps: 16,
    napi: Some(NapiId { offset: 156, min: 257 }),
    sk: 24,
    socket: Socket {
        family: 16,
        daddr: 0,
        rcv_saddr: 4,
        v6_daddr: Some(56),
        v6_rcv_saddr: Some(72),
        dport: 12,
        num: 14,
    },
    stamps: Some(Stamps { offset: 32, kind: bits(129, 0, 2), at_ingress: bits(129, 2, 1) }),
    cloned: bits(126, 0, 1),
};

/// As a build of Linux 6.18 for x86-64 has it.
const XDP: Xdp = Xdp {
    data: 0,
    data_end: 8,
    data_meta: 16,
    rxq: 32,
    rxq_dev: 0,
    rxq_queue_index: 8,
    egress: Some((40, 0)),
    ifindex: 224,
};

fn traffic_control() -> Table {
    SK_BUFF.table(Hook::TrafficControl, false, Endian::Little)
}

const OLD: Options<'_> = Options { version: Kernel::V6_1, ax: 11, prologue: &[], epilogue: None };
