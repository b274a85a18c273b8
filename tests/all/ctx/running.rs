//! The structures of the running kernel, if it is one that we do as.

use std::sync::OnceLock;

use relinear::bpf::{Endian, Insn};
use relinear::elf::Btf;
use relinear::passes::ctx::{Hook, SkBuff, Table, Xdp};

/// What the kernel's BTF says of it.
pub(super) struct Running {
    pub(super) skb: SkBuff,
    pub(super) packets: Table,
    /// Without the device that a packet will leave by, and with it.
    pub(super) traffic: [Table; 2],
    pub(super) other: Table,
}

/// The running kernel, or `None`, said loudly.
pub(super) fn running() -> Option<&'static Running> {
    static RUNNING: OnceLock<Option<Running>> = OnceLock::new();
    let make = || make().inspect_err(|why| crate::skipped(why)).ok();
    RUNNING.get_or_init(make).as_ref()
}

fn make() -> Result<Running, String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 12) {
        return Err(format!("access to contexts is not compared with that of Linux {}", release.trim()));
    }
    let path = "/sys/kernel/btf/vmlinux";
    let data = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let btf = Btf::parse(&data, Endian::NATIVE).map_err(|error| format!("{path}: {error}"))?;
    let skb = SkBuff::from_btf(&btf).map_err(|error| error.to_string())?;
    let xdp = Xdp::from_btf(&btf).map_err(|error| error.to_string())?;
    Ok(Running {
        skb,
        packets: xdp.table(Endian::NATIVE),
        traffic: [false, true].map(|asks| skb.table(Hook::TrafficControl, asks, Endian::NATIVE)),
        other: skb.table(Hook::Other, false, Endian::NATIVE),
    })
}

/// What a load of `tstamp_type` has.
pub(super) fn is_of_tstamp_type(insn: Insn) -> bool {
    insn.class() == 1 && insn.off == 180
}
