//! Offsets in structures of a kernel, out of its BTF, for [`ctx`](crate::passes::ctx).
//!
//! A kernel shows its BTF in `/sys/kernel/btf/vmlinux`. Bit fields are found by their own members: where the kernel's
//! converter goes by a marker in front of them, as `__pkt_type_offset` is, the marker only has to name the same byte.

use core::fmt;

use super::btf::{Btf, Member};
use crate::bpf::Endian;
use crate::passes::ctx::{Bits, NapiId, SkBuff, Socket, Stamps, Vlan, Xdp};

/// What was looked for in BTF, and is not there, or not where an instruction can reach it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMember {
    /// The name of a structure.
    pub structure: &'static str,
    /// The name of a member of it.
    pub member: &'static str,
}

impl fmt::Display for NoMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BTF has no place for the member {} of struct {}", self.member, self.structure)
    }
}

impl core::error::Error for NoMember {}

/// A structure, to be asked for its members.
#[derive(Clone, Copy)]
struct Structure<'b, 'd> {
    btf: &'b Btf<'d>,
    name: &'static str,
    id: Option<u32>,
}

impl<'b, 'd> Structure<'b, 'd> {
    fn new(btf: &'b Btf<'d>, name: &'static str) -> Self {
        Self { btf, name, id: btf.structure(name) }
    }

    fn missing(self, member: &'static str) -> NoMember {
        NoMember { structure: self.name, member }
    }

    fn find(self, member: &str) -> Option<Member> {
        self.btf.member(self.id?, member)
    }

    fn offset(self, member: &'static str) -> Result<i16, NoMember> {
        self.optional(member).ok_or(self.missing(member))
    }

    fn optional(self, member: &str) -> Option<i16> {
        let Member { offset, bits: None, .. } = self.find(member)? else { return None };
        i16::try_from(offset / 8).ok()
    }

    /// A bit field in one byte.
    fn bits(self, member: &'static str) -> Result<Bits, NoMember> {
        self.optional_bits(member).ok_or(self.missing(member))
    }

    fn optional_bits(self, member: &str) -> Option<Bits> {
        let Member { offset, bits: Some(len), .. } = self.find(member)? else { return None };
        let from = u8::try_from(offset % 8).ok()?;
        let left = 8_u8.checked_sub(from + len.min(8)).filter(|_| len <= 8)?;
        // Bits count from the end of the byte that is first in memory.
        let first = if self.btf.endian() == Endian::Big { left } else { from };
        Some(Bits { byte: i16::try_from(offset / 8).ok()?, first, len })
    }
}

impl Xdp {
    /// The offsets in the kernel, of 64 bits, that the BTF is of.
    ///
    /// O(types).
    ///
    /// # Errors
    ///
    /// The first member that BTF does not have.
    pub fn from_btf(btf: &Btf<'_>) -> Result<Self, NoMember> {
        let [buff, rxq, txq] =
            ["xdp_buff", "xdp_rxq_info", "xdp_txq_info"].map(|name| Structure::new(btf, name));
        Ok(Self {
            data: buff.offset("data")?,
            data_end: buff.offset("data_end")?,
            data_meta: buff.offset("data_meta")?,
            rxq: buff.offset("rxq")?,
            rxq_dev: rxq.offset("dev")?,
            rxq_queue_index: rxq.offset("queue_index")?,
            egress: buff.optional("txq").zip(txq.optional("dev")),
            ifindex: Structure::new(btf, "net_device").offset("ifindex")?,
        })
    }
}

impl SkBuff {
    /// The offsets in the kernel, of 64 bits, that the BTF is of.
    ///
    /// The least number of a queue is not in BTF. It is taken from the length of `struct cpumask`, and is right if the
    /// kernel was built for a number of processors that is a multiple of 64.
    ///
    /// O(types).
    ///
    /// # Errors
    ///
    /// The first member that BTF does not have.
    pub fn from_btf(btf: &Btf<'_>) -> Result<Self, NoMember> {
        let [skb, shared] = ["sk_buff", "skb_shared_info"].map(|name| Structure::new(btf, name));
        let [queue, ends] = ["qdisc_skb_cb", "bpf_skb_data_end"].map(|name| Structure::new(btf, name));
        if skb.find("end").is_some_and(|end| btf.is_pointer(end.type_id)) {
            // A kernel of 32 bits.
            return Err(skb.missing("end"));
        }
        Ok(Self {
            len: skb.offset("len")?,
            pkt_type: skb.bits("pkt_type")?,
            mark: skb.offset("mark")?,
            queue_mapping: skb.offset("queue_mapping")?,
            protocol: skb.offset("protocol")?,
            vlan: match skb.optional("vlan_all") {
                Some(at) => Vlan::All(at),
                None => Vlan::Present(skb.bits("vlan_present")?),
            },
            vlan_tci: skb.offset("vlan_tci")?,
            vlan_proto: skb.offset("vlan_proto")?,
            priority: skb.offset("priority")?,
            skb_iif: skb.offset("skb_iif")?,
            dev: skb.offset("dev")?,
            ifindex: Structure::new(btf, "net_device").offset("ifindex")?,
            tc_index: skb.optional("tc_index"),
            cb: skb.offset("cb")?,
            cb_data: queue.offset("data")?,
            cb_pkt_len: queue.offset("pkt_len")?,
            cb_tc_classid: queue.offset("tc_classid")?,
            cb_data_meta: ends.offset("data_meta")?,
            cb_data_end: ends.offset("data_end")?,
            hash: skb.offset("hash")?,
            data: skb.offset("data")?,
            head: skb.offset("head")?,
            end: skb.offset("end")?,
            gso_segs: shared.offset("gso_segs")?,
            gso_size: shared.offset("gso_size")?,
            hwtstamps: shared.offset("hwtstamps")?,
            napi: napi(skb),
            sk: skb.offset("sk")?,
            socket: Socket::from_btf(btf)?,
            stamps: stamps(skb),
            cloned: skb.bits("cloned")?,
        })
    }
}

impl Socket {
    fn from_btf(btf: &Btf<'_>) -> Result<Self, NoMember> {
        let socket = Structure::new(btf, "sock_common");
        Ok(Self {
            family: socket.offset("skc_family")?,
            daddr: socket.offset("skc_daddr")?,
            rcv_saddr: socket.offset("skc_rcv_saddr")?,
            v6_daddr: socket.optional("skc_v6_daddr"),
            v6_rcv_saddr: socket.optional("skc_v6_rcv_saddr"),
            dport: socket.offset("skc_dport")?,
            num: socket.offset("skc_num")?,
        })
    }
}

fn napi(skb: Structure<'_, '_>) -> Option<NapiId> {
    let bits = Structure::new(skb.btf, "cpumask").find("bits")?;
    let processors = skb.btf.elements(bits.type_id)?.checked_mul(64)?;
    let min = i32::try_from(processors).ok()?.checked_add(1)?;
    Some(NapiId { offset: skb.optional("napi_id")?, min })
}

fn stamps(skb: Structure<'_, '_>) -> Option<Stamps> {
    let [kind, at_ingress] = ["tstamp_type", "tc_at_ingress"].map(|name| skb.optional_bits(name));
    Some(Stamps { offset: skb.optional("tstamp")?, kind: kind?, at_ingress: at_ingress? })
        .filter(|stamps| stamps.kind.byte == stamps.at_ingress.byte)
}
