//! The order of the records of an instruction: slots, sites and rings.

use super::Handle;
use super::columns::{Columns, Kind, PackedSlot, RecordId, Site, Slot, WORD, Words, below};
use super::handle::to_u32;

impl<U, A> Columns<'_, U, A> {
    /// What the edited instruction at `bit` of a word has.
    #[inline]
    pub(super) fn slot_in(words: &Words<'_>, word: usize, bit: usize) -> Slot {
        match &words.blocks[word] {
            None => {
                let rank = (words.edited[word] & below(bit)).count_ones();
                Slot::Lone((words.first[word] + rank) as usize)
            }
            Some(block) => block[bit].unpack(),
        }
    }

    /// What the edited instruction at `at` has.
    #[inline]
    pub(super) fn slot(&self, at: usize) -> Slot {
        let (words, at) = self.words_at(at);
        Self::slot_in(words, at / WORD, at % WORD)
    }

    /// The rings of the instruction at `at`, if anything is anchored at it.
    #[inline]
    pub(super) fn site(&self, at: usize) -> Option<Site> {
        self.is_edited(at).then(|| match self.slot(at) {
            Slot::Lone(id) => Site::lone(id, self.records.get(id).kind()),
            Slot::Site(site) => self.sites[site],
        })
    }

    /// The record that replaced the instruction at `at`, if any did.
    #[inline]
    pub(super) fn body_record(&self, at: usize) -> Option<usize> {
        if !self.is_edited(at) {
            return None;
        }
        match self.slot(at) {
            Slot::Lone(id) => (self.records.get(id).kind() == Kind::Body).then_some(id),
            Slot::Site(site) => self.sites[site].body.map(RecordId::at),
        }
    }

    /// Where the units of the instruction `at` stand: at its own index, or where its replacement does.
    #[inline]
    pub(super) fn body(&self, at: usize) -> usize {
        self.body_record(at).map_or(at, |id| self.records.get(id).start)
    }

    /// The first unit of a record that comes out where its kind says; the first instruction of a body does not.
    #[inline]
    pub(super) fn rest(&self, id: usize) -> usize {
        let record = self.records.get(id);
        match record.kind() {
            Kind::Body => record.start + self.len_at(record.start),
            _ => record.start,
        }
    }

    /// Anchors a record, which is the last one in program order of its kind so far, or the first one of the `post`
    /// records. There is room for a site and links if the anchor has one already. Keeps invariants 4, 5 and 6.
    pub(super) fn anchor(&mut self, id: usize, anchor: usize, kind: Kind) {
        let (words, at) = self.words_at_mut(anchor);
        let (word, bit) = (at / WORD, at % WORD);
        let (edited, had) = (words.edited[word], words.edited[word] >> bit & 1 != 0);
        words.edited[word] |= 1 << bit;
        let before = match &mut words.blocks[word] {
            None => {
                debug_assert!(!had, "an instruction with several records is in a word with a block");
                if edited == 0 {
                    words.first[word] = to_u32(id);
                }
                None
            }
            Some(block) => {
                let before = had.then(|| block[bit].unpack());
                if !had {
                    block[bit] = PackedSlot::lone(to_u32(id));
                }
                before
            }
        };
        match before {
            None => {}
            Some(Slot::Site(site)) => self.link_into_site(id, site, kind),
            Some(Slot::Lone(lone)) => {
                let (site, lone_kind) = (self.sites.len(), self.records.get(lone).kind());
                self.sites.push(Site::lone(lone, lone_kind));
                if lone_kind == Kind::Body {
                    self.records.split(lone);
                }
                let (words, _) = self.words_at_mut(anchor);
                if let Some(block) = &mut words.blocks[word] {
                    block[bit] = PackedSlot::site(to_u32(site));
                }
                self.link_into_site(id, site, kind);
            }
        }
        self.touch(anchor);
    }

    fn link_into_site(&mut self, id: usize, site: usize, kind: Kind) {
        let this = RecordId::new(id);
        let site = &mut self.sites[site];
        let last = site.ring_mut(kind);
        let before = last.get_or_insert(this).at();
        if matches!(kind, Kind::Fall | Kind::Pre) {
            *last = Some(this);
        }
        if kind == Kind::Body {
            site.body = Some(this);
            self.records.split(id);
        }
        let first = self.records.next(before);
        self.records.link(id, first);
        self.records.link(before, id);
    }

    /// Notes that something was done to the instruction at `at`, if it belongs to a record. Keeps invariant 3.
    #[inline]
    pub(super) fn touch(&mut self, at: usize) {
        if at >= self.base {
            self.records.split(self.record_of(at));
        }
    }

    /// Whether the handle names an instruction, live or deleted, a label, or one past the end.
    #[inline]
    pub(super) fn is_insn(&self, handle: Handle) -> bool {
        let at = handle.at();
        if !self.has(at) || self.is_inner(at) {
            return false;
        }
        at < self.base || !self.is_body_start(at)
    }

    /// The handle of the instruction whose units begin at `at`: a body goes by the name of its anchor.
    pub(super) fn name_of(&self, at: usize) -> Handle {
        if at >= self.base && self.is_body_start(at) {
            return self.records.get(self.record_of(at)).anchor();
        }
        Handle::new(to_u32(at))
    }
}
