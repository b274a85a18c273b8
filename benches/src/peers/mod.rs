//! The peers, each in its own file.

mod bpf_patcher;
#[cfg(feature = "cranelift")]
mod cranelift_layout;
mod edit_log;
mod kernel_array;
mod memcpy;
mod relinear;
mod rfc_list;
mod rfc_list_pool;

use ::relinear::bpf::Insn;

use crate::tables::{Line, move_lines, move_starts};
use crate::work::Work;

/// A way to make edits.
pub trait Peer {
    /// Makes the list (or what stands for it), makes the edits, lays the result out, and frees what
    /// is not kept for the next run. All of this is timed.
    fn run(&mut self, work: &Work);

    /// The result of the last run.
    fn output(&self) -> &Output;
}

/// What every peer makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The program.
    pub units: Vec<Insn>,
    /// Line info.
    pub lines: Vec<Line>,
    /// Starts of subprograms.
    pub subprogs: Vec<u32>,
}

impl Output {
    /// Bytes of its contents.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.units) + size_of_val(&*self.lines) + size_of_val(&*self.subprogs)
    }

    fn move_tables(&mut self, work: &Work, new_of: impl Fn(u32) -> u32) {
        move_lines(&work.lines, &mut self.lines, &new_of);
        move_starts(&work.subprogs, &mut self.subprogs, &new_of);
    }
}

/// Names of all peers, ours first, as in reports.
pub const NAMES: &[&str] = &[
    "relinear",
    "memcpy",
    "edit_log",
    "bpf_patcher",
    "rfc_list_pool",
    "rfc_list",
    #[cfg(feature = "cranelift")]
    "cranelift_layout",
    "kernel_array",
];

/// The peer of that name. `memcpy` needs the result of another.
#[must_use]
pub fn by_name(name: &str, expected: &Output) -> Option<Box<dyn Peer>> {
    Some(match name {
        "relinear" => Box::<relinear::Relinear>::default(),
        "memcpy" => Box::new(memcpy::Memcpy::new(expected)),
        "edit_log" => Box::<edit_log::EditLog>::default(),
        "bpf_patcher" => Box::<bpf_patcher::BpfPatcher>::default(),
        "rfc_list_pool" => Box::<rfc_list::RfcList<rfc_list_pool::Pool>>::default(),
        "rfc_list" => Box::<rfc_list::RfcList<rfc_list::Heap>>::default(),
        #[cfg(feature = "cranelift")]
        "cranelift_layout" => Box::<cranelift_layout::CraneliftLayout>::default(),
        "kernel_array" => Box::<kernel_array::KernelArray>::default(),
        _ => return None,
    })
}
