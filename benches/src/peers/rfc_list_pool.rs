//! `rfc_list_pool`: the list of `rfc_list` with nodes from `typed-arena`.

use typed_arena::Arena;

use super::rfc_list::{Node, Nodes};

#[derive(Default)]
pub(super) struct Pool {
    arena: Arena<Node>,
}

impl Nodes for Pool {
    fn start(&mut self, slots: usize) {
        self.arena = Arena::with_capacity(slots);
    }

    #[inline]
    fn node(&mut self, node: Node) -> *mut Node {
        self.arena.alloc(node)
    }

    unsafe fn free(&mut self, _head: *mut Node) {
        self.arena = Arena::with_capacity(0);
    }
}
