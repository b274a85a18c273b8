//! `bpf_patcher`: nodes, and for each original slot the node that stands there now, as the review
//! of the kernel series proposed; from one `bumpalo` arena, reset from run to run.

use core::ptr::null_mut;

use bumpalo::Bump;
use relinear::bpf::Insn;

use super::{Output, Peer};
use crate::branch;
use crate::work::{Edit, Kind, Work};

struct Node {
    next: *mut Node,
    insn: Insn,
    /// The original slot that a displacement counts from, or `LOCAL`.
    orig: u32,
    /// Where it goes: known at linearization. `REMOVED` before that if it goes nowhere.
    new: u32,
}

/// The instruction holds no displacement to an original slot.
const LOCAL: u32 = u32::MAX;
const REMOVED: u32 = u32::MAX;
const LIVE: u32 = 0;
/// In `new` once that is known: the node was removed, and this is where the next one goes.
const GONE: u32 = 1 << 31;

#[derive(Default)]
pub(super) struct BpfPatcher {
    bump: Bump,
    /// The first node that stands where each original slot stood.
    first: Vec<*mut Node>,
    /// The second node of each patch of the first pass, for passes that refer to them. The others
    /// follow it in memory.
    made: Vec<*mut Node>,
    output: Output,
}

impl Peer for BpfPatcher {
    fn run(&mut self, work: &Work) {
        self.first.clear();
        self.made.clear();
        // SAFETY: nodes stay allocated until the arena is reset; nothing else refers to one.
        unsafe {
            self.create(work);
            for (number, pass) in work.passes.iter().enumerate() {
                let remember = work.is_referred_to(number);
                for edit in &pass.edits {
                    let node = match pass.within {
                        None => self.first[edit.at as usize],
                        Some(unit) => self.made[edit.at as usize].add(unit as usize - 1),
                    };
                    self.make(work, edit, node);
                    if remember {
                        self.made.push((*node).next);
                    }
                }
            }
            self.linearize();
        }
        let (first, end) = (&self.first, self.output.units.len());
        let end = number(end);
        self.output.move_tables(work, |old| match first.get(old as usize) {
            // SAFETY: as above.
            Some(&node) => unsafe { (*node).new & !GONE },
            None => end,
        });
        self.bump.reset();
    }

    fn output(&self) -> &Output {
        &self.output
    }
}

impl BpfPatcher {
    unsafe fn create(&mut self, work: &Work) {
        let nodes = self.bump.alloc_slice_fill_with(work.program.len(), |at| {
            let insn = work.program[at];
            let orig = if branch::is_branch(&insn) { number(at) } else { LOCAL };
            Node { next: null_mut(), insn, orig, new: LIVE }
        });
        self.first.extend(nodes.iter_mut().map(core::ptr::from_mut));
        for pair in self.first.windows(2) {
            // SAFETY: both are nodes just made.
            unsafe { (*pair[0]).next = pair[1] };
        }
    }

    unsafe fn make(&mut self, work: &Work, edit: &Edit, node: *mut Node) {
        // SAFETY: `node` and the nodes that follow it are live.
        unsafe {
            match edit.kind {
                Kind::Delete => Self::remove(node, edit.len),
                Kind::Replace => {
                    Self::remove(node, edit.len);
                    let patch = work.patch(edit);
                    let keep = patch.keep.map_or(usize::MAX, usize::from);
                    let Node { next, insn: old, orig, .. } = *node;
                    let made = patch.units.iter().enumerate().map(|(unit, &insn)| {
                        let insn = branch::kept(insn, old, unit == keep);
                        (insn, if unit == keep { orig } else { LOCAL })
                    });
                    self.put(node, made, next);
                }
                Kind::Prepend => {
                    let Node { next, insn, orig, .. } = *node;
                    let made = work.patch(edit).units.iter().map(|&insn| (insn, LOCAL));
                    self.put(node, made.chain([(insn, orig)]), next);
                }
            }
        }
    }

    unsafe fn remove(mut node: *mut Node, len: u16) {
        for _ in 0..len {
            // SAFETY: as many nodes follow as the edit has units.
            unsafe {
                (*node).new = REMOVED;
                node = (*node).next;
            }
        }
    }

    /// The first of `made` overwrites `node`, the rest is linked between it and `next`.
    #[inline]
    unsafe fn put(&self, node: *mut Node, mut made: impl Iterator<Item = (Insn, u32)>, next: *mut Node) {
        let (insn, orig) = made.next().expect("no patch is empty");
        // SAFETY: `node` is live.
        unsafe { (*node) = Node { next, insn, orig, new: LIVE } };
        let len = made.size_hint().0;
        let rest = self.bump.alloc_slice_fill_with(len, |_| {
            let (insn, orig) = made.next().expect("as many as it says");
            Node { next, insn, orig, new: LIVE }
        });
        let mut last = node;
        for new in rest {
            // SAFETY: `last` is live.
            unsafe { (*last).next = new };
            last = new;
        }
    }

    unsafe fn linearize(&mut self) {
        let units = &mut self.output.units;
        units.clear();
        let (mut node, mut at) = (self.first[0], 0);
        while !node.is_null() {
            // SAFETY: a live node.
            let Node { next, new, .. } = unsafe { &mut *node };
            let live = *new != REMOVED;
            // A branch to a removed node lands on what follows.
            *new = if live { at } else { at | GONE };
            at += u32::from(live);
            node = *next;
        }
        units.reserve(at as usize);
        let mut node = self.first[0];
        while !node.is_null() {
            // SAFETY: a live node, and so are those of all original slots.
            unsafe {
                let Node { next, insn, orig, new } = *node;
                if new & GONE == 0 {
                    let mut insn = insn;
                    if orig != LOCAL {
                        let to = (*self.first[branch::target(orig, &insn) as usize]).new & !GONE;
                        branch::aim(&mut insn, new, to);
                    }
                    units.push(insn);
                }
                node = next;
            }
        }
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("a program fits in 32 bits")
}
