//! Where runs hang: in the order of a word, in a slot, or in a site.

use super::handle::to_u32;
use super::site::{Block, Chain, PackedSlot, Run, RunId, Site, Slot};
use super::words::{WORD, ones};
use super::{Error, Handle, Isa, List};

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    #[inline]
    pub(super) fn push_run(&mut self, start: u32, end: u32, anchor: Handle, chain: Chain) -> RunId {
        let id = RunId::new(to_u32(self.runs.len()));
        self.runs.push(Run::new(start, end, anchor, chain, id.0.index()));
        id
    }

    /// Hangs a run into the site of its anchor, nearest to the instruction.
    pub(super) fn hang(&mut self, id: RunId, anchor: Handle) {
        let (index, bit) = (anchor.at() / WORD, anchor.at() % WORD);
        let word = &mut self.words[index];
        match word.block.checked_sub(1) {
            None => {
                if word.edited == 0 {
                    word.first_run = id.0.index();
                }
                let run = &self.runs[id.0.at()];
                word.edit_in_order(bit, run.chain() == Chain::Body && !run.is_labeled());
            }
            Some(block) => {
                let slot = &mut self.blocks[block as usize][bit];
                if word.edited >> bit & 1 == 0 {
                    word.edited |= 1 << bit;
                    *slot = Slot::Lone(id).pack();
                } else {
                    let site = match slot.unpack() {
                        Slot::Site(site) => site,
                        Slot::Lone(lone) => {
                            let site = to_u32(self.sites.len());
                            *slot = Slot::Site(site).pack();
                            self.sites.push(Site::lone(lone, self.run(lone)));
                            site
                        }
                    };
                    self.hang_into_site(id, site);
                }
            }
        }
        self.touch(anchor);
    }

    fn hang_into_site(&mut self, id: RunId, site: u32) {
        let run = *self.run(id);
        let site = &mut self.sites[site as usize];
        let last = site.chain_mut(run.chain());
        let before = *last.get_or_insert(id);
        if matches!(run.chain(), Chain::Fall | Chain::Pre) {
            *last = Some(id);
        }
        if run.chain() == Chain::Body {
            site.body = Some(run.start);
        }
        let first = self.run(before).next();
        self.runs[id.0.at()].set_next(first);
        self.runs[before.0.at()].set_next(id);
    }

    /// Gives a word a block for its slots.
    pub(super) fn add_block(&mut self, index: usize) -> Result<(), Error> {
        if self.blocks.capacity() == self.blocks.len() {
            self.blocks.try_reserve(1)?;
        }
        let word = &mut self.words[index];
        let mut block: Block = [PackedSlot::default(); WORD];
        for (bit, run) in ones(word.edited, 0).zip(word.run_in_order(0)..) {
            block[bit] = Slot::Lone(RunId::new(run)).pack();
        }
        self.blocks.push(block);
        word.block = to_u32(self.blocks.len());
        word.bodies = 0;
        Ok(())
    }
}
