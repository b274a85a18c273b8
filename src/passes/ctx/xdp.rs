//! [`Xdp`]: what `struct xdp_md` is made from.

use alloc::vec;

use super::table::{CTX, Field, Load, Store, Table, VALUE};
use crate::bpf::opcode::{DW, W};
use crate::bpf::{Endian, Insn};

/// Where a 64-bit kernel has what programs see in a `struct xdp_md`, in bytes from the start of each structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Xdp {
    /// `xdp_buff.data`.
    pub data: i16,
    /// `xdp_buff.data_end`.
    pub data_end: i16,
    /// `xdp_buff.data_meta`.
    pub data_meta: i16,
    /// `xdp_buff.rxq`.
    pub rxq: i16,
    /// `xdp_rxq_info.dev`.
    pub rxq_dev: i16,
    /// `xdp_rxq_info.queue_index`.
    pub rxq_queue_index: i16,
    /// `xdp_buff.txq` and `xdp_txq_info.dev`, if there are any.
    pub egress: Option<(i16, i16)>,
    /// `net_device.ifindex`.
    pub ifindex: i16,
}

impl Xdp {
    /// The table for programs that get a `struct xdp_md` (`xdp_convert_ctx_access`).
    #[must_use]
    pub fn table(&self, endian: Endian) -> Table {
        let Self { data, data_end, data_meta, rxq, rxq_dev, rxq_queue_index, egress, ifindex } = *self;
        let field = |offset, width, code| Field {
            offset,
            len: 4,
            load: Load::Code { width, code },
            store: Store::None,
        };
        let pointer = |offset, at| field(offset, 8, vec![Insn::ldx(DW, VALUE, CTX, at)]);
        let index = |offset, queue, dev| {
            let code = [(DW, CTX, queue), (DW, VALUE, dev), (W, VALUE, ifindex)];
            field(offset, 4, code.map(|(size, from, at)| Insn::ldx(size, VALUE, from, at)).to_vec())
        };
        let mut fields = vec![
            pointer(0, data),
            pointer(4, data_end),
            pointer(8, data_meta),
            index(12, rxq, rxq_dev),
            field(16, 4, vec![Insn::ldx(DW, VALUE, CTX, rxq), Insn::ldx(W, VALUE, VALUE, rxq_queue_index)]),
        ];
        fields.extend(egress.map(|(txq, dev)| index(20, txq, dev)));
        Table::new(endian, fields)
    }
}
