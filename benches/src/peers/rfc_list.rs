//! `rfc_list`: a singly linked list with one heap node per slot, linearized once: the design of
//! the kernel series "accelerate insn patching speed". Also the list of `rfc_list_pool`.
//!
//! The node that stands for original slot `i` stays where it is; a patch overwrites it with the first
//! of the patch and links nodes for the rest behind it. A pass walks the list; one whose edits come in
//! no order notes the nodes in an array first.

use core::ptr::null_mut;

use relinear::bpf::Insn;

use super::{Output, Peer};
use crate::branch;
use crate::work::{Edit, Kind, Work};

pub(super) struct Node {
    insn: Insn,
    next: *mut Node,
    /// The original slot that it stands for, or that its displacement counts from.
    orig: u32,
    flags: u32,
}

/// The node stands for original slot `orig`.
const ORIGINAL: u32 = 1;
/// The displacement counts from original slot `orig`, and leads to an original slot.
const RELOCATE: u32 = 2;
const REMOVED: u32 = 4;

/// Where nodes come from.
pub(super) trait Nodes: Default {
    /// Before a program of this many slots is made.
    fn start(&mut self, slots: usize);
    fn node(&mut self, node: Node) -> *mut Node;
    /// Frees the list that starts at `head`.
    ///
    /// # Safety
    ///
    /// `head` and all that it leads to came from [`node`](Nodes::node) and are not used again.
    unsafe fn free(&mut self, head: *mut Node);
}

/// One allocation a node.
#[derive(Default)]
pub(super) struct Heap;

impl Nodes for Heap {
    fn start(&mut self, _slots: usize) {}

    #[inline]
    fn node(&mut self, node: Node) -> *mut Node {
        Box::into_raw(Box::new(node))
    }

    unsafe fn free(&mut self, mut head: *mut Node) {
        while !head.is_null() {
            // SAFETY: by the contract, from `Box::into_raw`, and each is visited once.
            head = unsafe { Box::from_raw(head) }.next;
        }
    }
}

#[derive(Default)]
pub(super) struct RfcList<N> {
    nodes: N,
    output: Output,
    /// Where each original slot went.
    new: Vec<u32>,
    /// The node of each original slot, if edits come in no order.
    index: Vec<*mut Node>,
    /// The node that each edit of the first pass made, for passes that refer to it.
    made: Vec<*mut Node>,
}

impl<N: Nodes> Peer for RfcList<N> {
    fn run(&mut self, work: &Work) {
        self.nodes.start(work.program.len());
        self.index.clear();
        self.made.clear();
        // SAFETY: every node stays allocated until `free`, and nothing else refers to one.
        unsafe {
            let head = self.create(work);
            for (number, pass) in work.passes.iter().enumerate() {
                let remember = work.is_referred_to(number);
                let mut walk = head;
                for edit in &pass.edits {
                    let node = if let Some(unit) = pass.within {
                        (0..unit).fold(self.made[edit.at as usize], |node, _| (*node).next)
                    } else if !work.ordered {
                        self.index[edit.at as usize]
                    } else {
                        while (*walk).orig != edit.at || (*walk).flags & ORIGINAL == 0 {
                            walk = (*walk).next;
                        }
                        walk
                    };
                    self.make(work, edit, node);
                    if remember {
                        self.made.push(node);
                    }
                }
            }
            self.number(head, work.program.len());
            self.linearize(head);
            self.nodes.free(head);
        }
        let new = &self.new;
        self.output.move_tables(work, |old| new[old as usize]);
    }

    fn output(&self) -> &Output {
        &self.output
    }
}

impl<N: Nodes> RfcList<N> {
    unsafe fn create(&mut self, work: &Work) -> *mut Node {
        let mut head = null_mut();
        let mut link: *mut *mut Node = &raw mut head;
        for (insn, orig) in work.program.iter().zip(0..) {
            let flags = if branch::is_branch(insn) { ORIGINAL | RELOCATE } else { ORIGINAL };
            let node = self.nodes.node(Node { insn: *insn, next: null_mut(), orig, flags });
            if !work.ordered {
                self.index.push(node);
            }
            // SAFETY: `link` is the head, or in the node before.
            unsafe {
                *link = node;
                link = &raw mut (*node).next;
            }
        }
        head
    }

    unsafe fn make(&mut self, work: &Work, edit: &Edit, node: *mut Node) {
        // SAFETY: the caller's nodes are all live, and so are their neighbours.
        unsafe {
            match edit.kind {
                Kind::Delete => Self::remove(node, edit.len),
                Kind::Replace => {
                    Self::remove(node, edit.len);
                    let patch = work.patch(edit);
                    let keep = patch.keep.map_or(usize::MAX, usize::from);
                    let displacement = (*node).insn;
                    let flag = |unit| if unit == keep { RELOCATE } else { 0 };
                    (*node).flags = (*node).flags & ORIGINAL | flag(0);
                    (*node).insn = branch::kept(patch.units[0], displacement, keep == 0);
                    let mut last = node;
                    for (unit, &insn) in patch.units.iter().enumerate().skip(1) {
                        let insn = branch::kept(insn, displacement, unit == keep);
                        last = self.insert(last, insn, flag(unit));
                    }
                }
                Kind::Prepend => {
                    let (units, own) = (&work.patch(edit).units, (*node).insn);
                    let flags = (*node).flags & RELOCATE;
                    (*node).flags &= ORIGINAL;
                    (*node).insn = units[0];
                    let mut last = node;
                    for &insn in &units[1..] {
                        last = self.insert(last, insn, 0);
                    }
                    self.insert(last, own, flags);
                }
            }
        }
    }

    unsafe fn remove(mut node: *mut Node, len: u16) {
        for _ in 0..len {
            // SAFETY: as many nodes follow as the edit has units.
            unsafe {
                (*node).flags |= REMOVED;
                node = (*node).next;
            }
        }
    }

    #[inline]
    unsafe fn insert(&mut self, after: *mut Node, insn: Insn, flags: u32) -> *mut Node {
        // SAFETY: `after` is a live node.
        unsafe {
            let node = self.nodes.node(Node { insn, next: (*after).next, orig: (*after).orig, flags });
            (*after).next = node;
            node
        }
    }

    /// Notes where every original slot goes.
    unsafe fn number(&mut self, head: *mut Node, slots: usize) {
        self.new.clear();
        self.new.resize(slots + 1, 0);
        let (mut node, mut at) = (head, 0);
        while !node.is_null() {
            // SAFETY: a live node.
            let Node { next, orig, flags, .. } = unsafe { &*node };
            if flags & ORIGINAL != 0 {
                self.new[*orig as usize] = at;
            }
            at += u32::from(flags & REMOVED == 0);
            node = *next;
        }
        self.new[slots] = at;
    }

    unsafe fn linearize(&mut self, head: *mut Node) {
        let units = &mut self.output.units;
        units.clear();
        units.reserve(self.new[self.new.len() - 1] as usize);
        let (mut node, mut at) = (head, 0);
        while !node.is_null() {
            // SAFETY: a live node.
            let Node { insn, next, orig, flags } = unsafe { &*node };
            if flags & REMOVED == 0 {
                let mut insn = *insn;
                if flags & RELOCATE != 0 {
                    let to = self.new[branch::target(*orig, &insn) as usize];
                    branch::aim(&mut insn, at, to);
                }
                units.push(insn);
                at += 1;
            }
            node = *next;
        }
    }
}
