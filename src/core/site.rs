//! [`Run`], [`Site`] and [`Slot`]: what stands around an edited instruction.

use super::Handle;
use super::words::WORD;

/// Where a run hangs in the site of its anchor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chain {
    /// Before the label: reached only by falling in from above.
    Fall,
    /// Between the label and the instruction.
    Pre,
    /// After the instruction.
    Post,
    /// After the instruction, but for the first instruction of the run, which replaced it.
    Body,
}

/// The index of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RunId(pub(super) Handle);

impl RunId {
    #[inline]
    pub(super) const fn new(index: u32) -> Self {
        Self(Handle::new(index))
    }
}

/// A contiguous piece of inserted code: one patch, or one label.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) start: Handle,
    /// One past its last unit.
    pub(super) end: u32,
    pub(super) anchor: Handle,
    /// The next in the ring of its chain, above four bits: `TOUCHED`, `LABELED`, and two of the chain.
    link: u32,
}

/// Something in the run was edited or deleted.
const TOUCHED: u32 = 8;
/// The last unit of the run is a label.
const LABELED: u32 = 4;
const CHAIN: u32 = 3;
const FLAGS: u32 = TOUCHED + LABELED + CHAIN;
const NEXT_SHIFT: u32 = 4;

/// The most runs that a link can tell apart.
pub(super) const MAX_RUNS: usize = u32::MAX as usize >> NEXT_SHIFT;

impl Run {
    /// Run `id`, in a ring of its own.
    #[inline]
    pub(super) fn new(start: u32, end: u32, anchor: Handle, chain: Chain, id: u32) -> Self {
        Self { start: Handle::new(start), end, anchor, link: id << NEXT_SHIFT | chain as u32 }
    }

    #[inline]
    pub(super) fn chain(&self) -> Chain {
        match self.link & CHAIN {
            0 => Chain::Fall,
            1 => Chain::Pre,
            2 => Chain::Post,
            _ => Chain::Body,
        }
    }

    /// The next in the ring of its chain.
    #[inline]
    pub(super) fn next(&self) -> RunId {
        RunId::new(self.link >> NEXT_SHIFT)
    }

    pub(super) fn set_next(&mut self, next: RunId) {
        self.link = (next.0.index() << NEXT_SHIFT) + (self.link & FLAGS);
    }

    /// Whether something in the run was edited or deleted.
    #[inline]
    pub(super) fn is_touched(&self) -> bool {
        self.link & TOUCHED != 0
    }

    /// Whether its last unit is a label, which is dead.
    #[inline]
    pub(super) fn is_labeled(&self) -> bool {
        self.link & LABELED != 0
    }

    /// One past its last unit that is not a label.
    #[inline]
    pub(super) fn code_end(&self) -> u32 {
        self.end - (self.link & LABELED) / LABELED
    }

    #[inline]
    pub(super) fn label(&mut self) {
        self.link |= LABELED;
    }

    #[inline]
    pub(super) fn touch(&mut self) {
        self.link |= TOUCHED;
    }
}

/// The chains of an edited instruction, each named by its last run.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Site {
    pub(super) fall: Option<RunId>,
    pub(super) pre: Option<RunId>,
    pub(super) post: Option<RunId>,
    /// The units that replaced it.
    pub(super) body: Option<Handle>,
}

const _: () = assert!(size_of::<Run>() == 16 && size_of::<Site>() == 16);

impl Site {
    /// A site with one run.
    #[inline]
    pub(super) fn lone(id: RunId, run: &Run) -> Self {
        let mut site = Self::default();
        *site.chain_mut(run.chain()) = Some(id);
        if run.chain() == Chain::Body {
            site.body = Some(run.start);
        }
        site
    }

    #[inline]
    pub(super) fn chain(&self, chain: Chain) -> Option<RunId> {
        match chain {
            Chain::Fall => self.fall,
            Chain::Pre => self.pre,
            Chain::Post | Chain::Body => self.post,
        }
    }

    #[inline]
    pub(super) fn chain_mut(&mut self, chain: Chain) -> &mut Option<RunId> {
        match chain {
            Chain::Fall => &mut self.fall,
            Chain::Pre => &mut self.pre,
            Chain::Post | Chain::Body => &mut self.post,
        }
    }
}

/// What an edited instruction has, in 4 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// One run and nothing else.
    Lone(RunId),
    /// Any more: the index of a site.
    Site(u32),
}

/// A [`Slot`] with the variant in the lowest bit.
#[derive(Clone, Copy, Default)]
pub(super) struct PackedSlot(u32);

/// The slots of the units of a word. They come into being when units are not edited in order, or twice.
pub(super) type Block = [PackedSlot; WORD];

impl Slot {
    #[inline]
    pub(super) const fn pack(self) -> PackedSlot {
        match self {
            Self::Lone(run) => PackedSlot(run.0.index() * 2),
            Self::Site(site) => PackedSlot(site * 2 + 1),
        }
    }
}

impl PackedSlot {
    #[inline]
    pub(super) const fn unpack(self) -> Slot {
        if self.0 & 1 == 0 { Slot::Lone(RunId::new(self.0 / 2)) } else { Slot::Site(self.0 / 2) }
    }
}
