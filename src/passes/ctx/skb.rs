//! [`SkBuff`]: what `struct __sk_buff` is made from.

use alloc::vec;
use alloc::vec::Vec;

use super::table::{Bits, CTX, Field, HIDDEN, Load, Store, Table, VALUE};
use crate::bpf::opcode::{ADD, AND, B, DW, H, JEQ, JGE, JSET, LSH, RSH, W};
use crate::bpf::{Endian, Insn};

/// What kind of programs get a `struct __sk_buff`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Hook {
    /// Traffic control, where a packet always has a device.
    TrafficControl,
    /// Socket filters, control groups, lightweight tunnels.
    Other,
}

/// Where a 64-bit kernel has what programs see in a `struct __sk_buff`: members of `struct sk_buff`, or of
/// structures that it leads to, in bytes from the start of each structure. Fields of a kernel that was built without what
/// they are for are `None`; the kernel makes them 0, and here there is no conversion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SkBuff {
    /// `len`.
    pub len: i16,
    /// `pkt_type`.
    pub pkt_type: Bits,
    /// `mark`.
    pub mark: i16,
    /// `queue_mapping`.
    pub queue_mapping: i16,
    /// `protocol`.
    pub protocol: i16,
    /// What tells whether there is a VLAN tag.
    pub vlan: Vlan,
    /// `vlan_tci`.
    pub vlan_tci: i16,
    /// `vlan_proto`.
    pub vlan_proto: i16,
    /// `priority`.
    pub priority: i16,
    /// `skb_iif`.
    pub skb_iif: i16,
    /// `dev`.
    pub dev: i16,
    /// `net_device.ifindex`.
    pub ifindex: i16,
    /// `tc_index`.
    pub tc_index: Option<i16>,
    /// `cb`.
    pub cb: i16,
    /// `qdisc_skb_cb.data`, in `cb`.
    pub cb_data: i16,
    /// `qdisc_skb_cb.pkt_len`, in `cb`.
    pub cb_pkt_len: i16,
    /// `qdisc_skb_cb.tc_classid`, in `cb`.
    pub cb_tc_classid: i16,
    /// `bpf_skb_data_end.data_meta`, in `cb`.
    pub cb_data_meta: i16,
    /// `bpf_skb_data_end.data_end`, in `cb`.
    pub cb_data_end: i16,
    /// `hash`.
    pub hash: i16,
    /// `data`.
    pub data: i16,
    /// `head`.
    pub head: i16,
    /// `end`, of 32 bits, which counts from `head`.
    pub end: i16,
    /// `skb_shared_info.gso_segs`.
    pub gso_segs: i16,
    /// `skb_shared_info.gso_size`.
    pub gso_size: i16,
    /// `skb_shared_info.hwtstamps`.
    pub hwtstamps: i16,
    /// The number of the queue that the packet came from.
    pub napi: Option<NapiId>,
    /// `sk`.
    pub sk: i16,
    /// What is at `sk`.
    pub socket: Socket,
    /// `tstamp`, and what is said of it.
    pub stamps: Option<Stamps>,
    /// `cloned`, which [`direct_write`](super::direct_write) asks.
    pub cloned: Bits,
}

/// What tells whether a packet has a VLAN tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Vlan {
    /// `vlan_present`, as in 6.1.
    Present(Bits),
    /// `vlan_all`, as in 6.12.
    All(i16),
}

/// The number of the queue that a packet came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NapiId {
    /// `napi_id`.
    pub offset: i16,
    /// The least number there is, `MIN_NAPI_ID`; what is below becomes 0. It is one more than `NR_CPUS`.
    pub min: i32,
}

/// Members of `struct sock_common`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Socket {
    /// `skc_family`.
    pub family: i16,
    /// `skc_daddr`.
    pub daddr: i16,
    /// `skc_rcv_saddr`.
    pub rcv_saddr: i16,
    /// `skc_v6_daddr`.
    pub v6_daddr: Option<i16>,
    /// `skc_v6_rcv_saddr`.
    pub v6_rcv_saddr: Option<i16>,
    /// `skc_dport`.
    pub dport: i16,
    /// `skc_num`.
    pub num: i16,
}

/// The time stamp of a packet, as in 6.12 and 6.18.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamps {
    /// `tstamp`.
    pub offset: i16,
    /// `tstamp_type`: of what clock it is.
    pub kind: Bits,
    /// `tc_at_ingress`, in the same byte.
    pub at_ingress: Bits,
}

/// `tstamp` counts as the time of arrival, which a packet at ingress has only if it is of no other kind. A program
/// that asks for `tstamp_type` knows about the others.
#[derive(Clone, Copy)]
struct Stamped {
    stamps: Stamps,
    asks: bool,
}

impl SkBuff {
    /// The table for programs that get a `struct __sk_buff` (`bpf_convert_ctx_access`, `tc_cls_act_convert_ctx_access`).
    ///
    /// `asks_for_tstamp_type` says whether a verified instruction of the program loads the field `tstamp_type`. It then
    /// gets and sets any time stamp there is. Elsewhere, one that is not a time of arrival reads as 0.
    #[must_use]
    pub fn table(&self, hook: Hook, asks_for_tstamp_type: bool, endian: Endian) -> Table {
        let mut fields = self.of_packet(hook);
        fields.extend(self.of_control_block().into_iter().flatten());
        fields.extend(self.of_shared_info());
        fields.extend(self.of_socket(endian));
        if let Some(stamps) = self.stamps {
            fields.extend(Stamped { stamps, asks: asks_for_tstamp_type }.fields());
        }
        Table::new(endian, fields)
    }

    fn of_packet(&self, hook: Hook) -> Vec<Field> {
        let mut ifindex = vec![Insn::ldx(DW, VALUE, CTX, self.dev)];
        if hook != Hook::TrafficControl {
            ifindex.push(Insn::jmp_imm(JEQ, VALUE, 0, 1));
        }
        ifindex.push(Insn::ldx(W, VALUE, VALUE, self.ifindex));
        let vlan = match self.vlan {
            Vlan::Present(bits) => field(20, 4, 1, flag(bits)),
            Vlan::All(at) => {
                let skip = Insn::jmp_imm(JEQ, VALUE, 0, 1);
                field(20, 4, 4, vec![Insn::ldx(W, VALUE, CTX, at), skip, Insn::mov32_imm(VALUE, 1)])
            }
        };
        let mut fields = vec![
            word(0, self.len),
            field(4, 4, 1, bits(self.pkt_type)),
            word(8, self.mark).stored(Store::Code(vec![Insn::stx(W, CTX, VALUE, self.mark)])),
            half(12, self.queue_mapping).stored(Store::Half(self.queue_mapping)),
            half(16, self.protocol),
            vlan,
            half(24, self.vlan_tci),
            half(28, self.vlan_proto),
            word(32, self.priority).stored(Store::Code(vec![Insn::stx(W, CTX, VALUE, self.priority)])),
            word(36, self.skb_iif),
            field(40, 4, 4, ifindex),
            word(68, self.hash),
            field(76, 4, 8, vec![Insn::ldx(DW, VALUE, CTX, self.data)]),
        ];
        fields.extend(
            self.tc_index.map(|at| half(44, at).stored(Store::Code(vec![Insn::stx(H, CTX, VALUE, at)]))),
        );
        fields.extend(self.napi.map(|NapiId { offset, min }| {
            let check = [Insn::jmp_imm(JGE, VALUE, min, 1), Insn::mov64_imm(VALUE, 0)];
            field(84, 4, 4, [&[Insn::ldx(W, VALUE, CTX, offset)], &check[..]].concat())
        }));
        fields
    }

    /// Fields in the part of the structure that belongs to whoever has the packet.
    fn of_control_block(&self) -> Option<[Field; 5]> {
        let at = |within: i16| self.cb.checked_add(within);
        let (data, classid) = (at(self.cb_data)?, at(self.cb_tc_classid)?);
        let pointer = |offset, at| field(offset, 4, 8, vec![Insn::ldx(DW, VALUE, CTX, at)]);
        Some([
            Field { offset: 48, len: 20, load: Load::Moved(data), store: Store::Moved(data) },
            half(72, classid).stored(Store::Code(vec![Insn::stx(H, CTX, VALUE, classid)])),
            pointer(80, at(self.cb_data_end)?),
            pointer(140, at(self.cb_data_meta)?),
            word(160, at(self.cb_pkt_len)?),
        ])
    }

    /// Fields of the structure behind the end of the packet.
    fn of_shared_info(&self) -> [Field; 3] {
        let behind = |size, at| {
            vec![
                Insn::ldx(W, HIDDEN, CTX, self.end),
                Insn::ldx(DW, VALUE, CTX, self.head),
                Insn::alu64_reg(ADD, VALUE, HIDDEN),
                Insn::ldx(size, VALUE, VALUE, at),
            ]
        };
        [
            field(164, 4, 2, behind(H, self.gso_segs)),
            field(176, 4, 2, behind(H, self.gso_size)),
            field(184, 8, 8, behind(DW, self.hwtstamps)),
        ]
    }

    fn of_socket(&self, endian: Endian) -> Vec<Field> {
        let Socket { family, daddr, rcv_saddr, v6_daddr, v6_rcv_saddr, dport, num } = self.socket;
        let load = Insn::ldx(DW, VALUE, CTX, self.sk);
        let of =
            |offset, width, size, at| field(offset, 4, width, vec![load, Insn::ldx(size, VALUE, VALUE, at)]);
        let mut remote_port = vec![load, Insn::ldx(H, VALUE, VALUE, dport)];
        if endian == Endian::Little {
            remote_port.push(Insn::alu32_imm(LSH, VALUE, 16));
        }
        let mut fields = vec![
            of(88, 2, H, family),
            of(92, 4, W, daddr),
            of(96, 4, W, rcv_saddr),
            field(132, 4, 2, remote_port),
            of(136, 2, H, num),
            field(168, 8, 8, vec![load]),
        ];
        for (start, address) in [(100, v6_daddr), (116, v6_rcv_saddr)] {
            let words = [0, 4, 8, 12]
                .into_iter()
                .filter_map(|word| Some((start + word, address?.checked_add(word)?)));
            fields.extend(words.map(|(offset, at)| of(offset, 4, W, at)));
        }
        fields
    }
}

impl Stamped {
    fn fields(self) -> [Field; 2] {
        let Stamps { offset, kind, at_ingress } = self.stamps;
        let [load, store] = [Insn::ldx(DW, VALUE, CTX, offset), Insn::stx(DW, CTX, VALUE, offset)];
        let (mut read, mut write) = (Vec::new(), Vec::new());
        if !self.asks {
            let flags = Insn::ldx(B, HIDDEN, CTX, kind.byte);
            let is_set = |bits: Bits| Insn::jmp32_imm(JSET, HIDDEN, bits.mask(), 1);
            read = vec![flags, is_set(at_ingress), Insn::ja(4), is_set(kind), Insn::ja(2)];
            read.extend([Insn::mov64_imm(VALUE, 0), Insn::ja(1)]);
            write = vec![flags, is_set(at_ingress), Insn::ja(2), Insn::alu32_imm(AND, HIDDEN, !kind.mask())];
            write.push(Insn::stx(B, CTX, HIDDEN, kind.byte));
        }
        read.push(load);
        write.push(store);
        [field(152, 8, 8, read).stored(Store::Code(write)), field(180, 1, 1, bits(kind))]
    }
}

impl Field {
    fn stored(self, store: Store) -> Self {
        Self { store, ..self }
    }
}

/// A field of `len` bytes that cannot be stored.
fn field(offset: i16, len: u8, width: u8, code: Vec<Insn>) -> Field {
    Field { offset, len, load: Load::Code { width, code }, store: Store::None }
}

fn word(offset: i16, at: i16) -> Field {
    field(offset, 4, 4, vec![Insn::ldx(W, VALUE, CTX, at)])
}

fn half(offset: i16, at: i16) -> Field {
    field(offset, 4, 2, vec![Insn::ldx(H, VALUE, CTX, at)])
}

/// Loads a bit field: the byte, the bits where they are in it, and those moved down.
fn bits(bits: Bits) -> Vec<Insn> {
    let mut code = vec![Insn::ldx(B, VALUE, CTX, bits.byte), Insn::alu32_imm(AND, VALUE, bits.mask())];
    if bits.first > 0 {
        code.push(Insn::alu32_imm(RSH, VALUE, bits.first.into()));
    }
    code
}

/// Loads one bit: the byte, moved down, and what is above the bit cleared.
fn flag(bit: Bits) -> Vec<Insn> {
    let mut code = vec![Insn::ldx(B, VALUE, CTX, bit.byte)];
    if bit.first > 0 {
        code.push(Insn::alu32_imm(RSH, VALUE, bit.first.into()));
    }
    if bit.first < 7 {
        code.push(Insn::alu32_imm(AND, VALUE, 1));
    }
    code
}
