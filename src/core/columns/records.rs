//! [`Records`]: the edits, a record each, and [`Slot`] and [`Site`], which say what an edited instruction has.

use bumpalo::Bump;
use bumpalo::collections::Vec;

use super::out_of_memory;
use super::words::WORD;
use crate::core::handle::to_u32;
use crate::core::{Error, Handle};

/// Where the units of a record stand, as seen from its anchor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::core) enum Kind {
    /// Before the label: reached only by falling in from above.
    Fall,
    /// Between the label and the instruction.
    Pre,
    /// Behind the instruction.
    Post,
    /// Behind the instruction, but for the first instruction of the record, which replaced it.
    Body,
}

/// What a record says of its units, in 4 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::core) struct Meta(u32);

/// The units may not come out as one stretch.
const SPLIT: u32 = 8;
/// A label follows the units.
const LABELED: u32 = 4;
const KIND: u32 = 3;
const LEN_SHIFT: u32 = 4;

/// The most units that a record can have.
pub(in crate::core) const MAX_LEN: usize = u32::MAX as usize >> LEN_SHIFT;

/// The most records that a slot can tell apart.
pub(in crate::core) const MAX_RECORDS: usize = u32::MAX as usize >> 1;

impl Meta {
    #[inline]
    pub(in crate::core) const fn new(len: u32, kind: Kind, labeled: bool) -> Self {
        Self(len << LEN_SHIFT | (labeled as u32 * LABELED) | kind as u32)
    }

    #[inline]
    pub(in crate::core) const fn kind(self) -> Kind {
        match self.0 & KIND {
            0 => Kind::Fall,
            1 => Kind::Pre,
            2 => Kind::Post,
            _ => Kind::Body,
        }
    }

    /// How many units the record has, without a label.
    #[inline]
    pub(in crate::core) const fn len(self) -> usize {
        (self.0 >> LEN_SHIFT) as usize
    }

    #[inline]
    pub(in crate::core) const fn is_labeled(self) -> bool {
        self.0 & LABELED != 0
    }

    /// Whether its units may not come out as one stretch.
    #[inline]
    pub(in crate::core) const fn is_split(self) -> bool {
        self.0 & SPLIT != 0
    }

    /// Whether it is a body whose units come out as one stretch, without a label.
    #[inline]
    pub(in crate::core) const fn is_plain_body(self) -> bool {
        self.0 & (SPLIT | LABELED | KIND) == Kind::Body as u32
    }

    #[inline]
    pub(in crate::core) const fn split(self) -> Self {
        Self(self.0 | SPLIT)
    }
}

/// One edit that inserted.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Record {
    /// The handle index of the instruction that it is anchored at.
    pub(in crate::core) anchor: usize,
    /// The handle index of its first unit.
    pub(in crate::core) start: usize,
    pub(in crate::core) meta: Meta,
}

impl Record {
    #[inline]
    pub(in crate::core) const fn kind(&self) -> Kind {
        self.meta.kind()
    }

    /// One past its last unit that is not a label.
    #[inline]
    pub(in crate::core) const fn code_end(&self) -> usize {
        self.start + self.meta.len()
    }

    /// One past its last unit.
    #[inline]
    pub(in crate::core) const fn end(&self) -> usize {
        self.code_end() + self.meta.is_labeled() as usize
    }

    #[inline]
    pub(in crate::core) fn anchor(&self) -> Handle {
        Handle::new(to_u32(self.anchor))
    }
}

/// Records in columns that do not move, all of one length.
#[derive(Debug)]
struct Chunk<'a> {
    /// The number of its first record.
    first: usize,
    /// How many records there are.
    len: usize,
    orig: &'a mut [u32],
    start: &'a mut [u32],
    meta: &'a mut [Meta],
}

impl<'a> Chunk<'a> {
    fn new(bump: &'a Bump, first: usize, room: usize) -> Result<Self, Error> {
        let columns = bump.try_alloc_slice_fill_copy(2 * room, 0).map_err(out_of_memory)?;
        let meta = bump.try_alloc_slice_fill_copy(room, Meta(0)).map_err(out_of_memory)?;
        let (orig, start) = columns.split_at_mut(room);
        Ok(Self { first, len: 0, orig, start, meta })
    }

    fn copy(&self, bump: &'a Bump) -> Result<Self, Error> {
        let copy = Self::new(bump, self.first, self.orig.len())?;
        copy.orig.copy_from_slice(self.orig);
        copy.start.copy_from_slice(self.start);
        copy.meta.copy_from_slice(self.meta);
        Ok(Self { len: self.len, ..copy })
    }

    #[inline]
    fn get(&self, at: usize) -> Record {
        Record { anchor: self.orig[at] as usize, start: self.start[at] as usize, meta: self.meta[at] }
    }
}

/// All records of a list, by number.
#[derive(Debug)]
pub(in crate::core) struct Records<'a> {
    tail: Chunk<'a>,
    full: Vec<'a, Chunk<'a>>,
    /// The next record in the ring, for each of the records; empty while each anchor has one.
    next: Vec<'a, u32>,
}

impl<'a> Records<'a> {
    pub(in crate::core) fn new(bump: &'a Bump, room: usize) -> Result<Self, Error> {
        Ok(Self { tail: Chunk::new(bump, 0, room)?, full: Vec::new_in(bump), next: Vec::new_in(bump) })
    }

    pub(in crate::core) fn copy(&self, bump: &'a Bump) -> Result<Self, Error> {
        let mut copy = Self { tail: self.tail.copy(bump)?, full: Vec::new_in(bump), next: Vec::new_in(bump) };
        copy.full.try_reserve_exact(self.full.len()).map_err(out_of_memory)?;
        for chunk in &self.full {
            copy.full.push(chunk.copy(bump)?);
        }
        copy.next.try_reserve_exact(self.next.capacity()).map_err(out_of_memory)?;
        copy.next.extend_from_slice_copy(&self.next);
        Ok(copy)
    }

    #[inline]
    pub(in crate::core) fn len(&self) -> usize {
        self.tail.first + self.tail.len
    }

    /// How many more there is room for.
    #[inline]
    pub(in crate::core) fn room(&self) -> usize {
        self.tail.orig.len() - self.tail.len
    }

    /// Makes room for at least `more`, and for `roomy` if there has to be a new chunk.
    #[cold]
    pub(in crate::core) fn grow(&mut self, bump: &'a Bump, more: usize, roomy: usize) -> Result<(), Error> {
        if self.room() >= more {
            return Ok(());
        }
        self.full.try_reserve(1).map_err(out_of_memory)?;
        let tail = Chunk::new(bump, self.len(), roomy.max(more))?;
        let full = core::mem::replace(&mut self.tail, tail);
        if full.len > 0 {
            self.full.push(full);
        }
        Ok(())
    }

    /// The chunk with a record, and the index there.
    #[inline]
    fn chunk(&self, id: usize) -> (&Chunk<'a>, usize) {
        if let Some(at) = id.checked_sub(self.tail.first) {
            return (&self.tail, at);
        }
        let chunk = &self.full[self.full_chunk(id)];
        (chunk, id - chunk.first)
    }

    /// Which of the full chunks has a record.
    #[cold]
    fn full_chunk(&self, id: usize) -> usize {
        self.full.partition_point(|chunk| chunk.first <= id) - 1
    }

    #[inline]
    pub(in crate::core) fn get(&self, id: usize) -> Record {
        let (chunk, at) = self.chunk(id);
        chunk.get(at)
    }

    /// The starts, and what there is to say, of up to `count` records from `id` on, fewer at the end of a chunk.
    #[inline]
    pub(in crate::core) fn stretch(&self, id: usize, count: usize) -> (&[u32], &[Meta]) {
        let (chunk, at) = self.chunk(id);
        let end = chunk.len.min(at + count);
        (&chunk.start[at..end], &chunk.meta[at..end])
    }

    /// The starts of all records, a slice for each chunk.
    pub(in crate::core) fn starts(&self) -> impl Iterator<Item = &[u32]> {
        self.full.iter().chain([&self.tail]).map(|chunk| &chunk.start[..chunk.len])
    }

    #[inline]
    fn meta_mut(&mut self, id: usize) -> &mut Meta {
        if id >= self.tail.first {
            return &mut self.tail.meta[id - self.tail.first];
        }
        let chunk = self.full_chunk(id);
        let chunk = &mut self.full[chunk];
        &mut chunk.meta[id - chunk.first]
    }

    /// Says that the units of a record may not come out as one stretch.
    #[inline]
    pub(in crate::core) fn split(&mut self, id: usize) {
        let meta = self.meta_mut(id);
        *meta = meta.split();
    }

    #[cfg(all(test, feature = "bpf"))]
    pub(in crate::core) fn change(&mut self, id: usize, change: impl FnOnce(&mut u32, &mut u32, &mut u32)) {
        let first = self.tail.first;
        let chunk = if id >= first { &mut self.tail } else { &mut self.full[0] };
        let at = id - chunk.first;
        change(&mut chunk.orig[at], &mut chunk.start[at], &mut chunk.meta[at].0);
    }

    #[cfg(all(test, feature = "bpf"))]
    pub(in crate::core) fn pop(&mut self) {
        self.tail.len -= 1;
    }

    /// Appends a record, if there is room. Says whether there was.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an edit takes fewer instructions where it is made")]
    pub(in crate::core) fn push(&mut self, anchor: usize, start: usize, meta: Meta) -> bool {
        let Chunk { len, orig, start: starts, meta: metas, .. } = &mut self.tail;
        let (Some(orig), Some(starts), Some(metas)) =
            (orig.get_mut(*len), starts.get_mut(*len), metas.get_mut(*len))
        else {
            return false;
        };
        (*orig, *starts, *metas) = (to_u32(anchor), to_u32(start), meta);
        *len += 1;
        true
    }

    /// Makes room to link every record there is and may be without further room.
    pub(in crate::core) fn reserve_links(&mut self, more: usize) -> Result<(), Error> {
        let len = self.len() + more;
        if len > self.next.capacity() {
            self.next.try_reserve(len - self.next.len()).map_err(out_of_memory)?;
        }
        Ok(())
    }

    pub(in crate::core) fn links(&self) -> usize {
        self.next.len()
    }

    /// The next record in a ring.
    #[inline]
    pub(in crate::core) fn next(&self, id: usize) -> usize {
        self.next.get(id).map_or(id, |&next| next as usize)
    }

    /// Links record `id` to `next`. There is room by [`reserve_links`](Self::reserve_links).
    pub(in crate::core) fn link(&mut self, id: usize, next: usize) {
        // A record that has no link yet is in a ring of its own.
        for own in self.next.len()..=id {
            self.next.push(to_u32(own));
        }
        self.next[id] = to_u32(next);
    }
}

/// The rings of an instruction with several records, each named by the last of its records in program order; the `post`
/// ring by the oldest one.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::core) struct Site {
    pub(in crate::core) fall: Option<RecordId>,
    pub(in crate::core) pre: Option<RecordId>,
    pub(in crate::core) post: Option<RecordId>,
    /// The record whose first instruction replaced it.
    pub(in crate::core) body: Option<RecordId>,
}

/// The number of a record, with a niche.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::core) struct RecordId(Handle);

impl RecordId {
    #[inline]
    pub(in crate::core) fn new(id: usize) -> Self {
        Self(Handle::new(to_u32(id)))
    }

    #[inline]
    pub(in crate::core) const fn at(self) -> usize {
        self.0.at()
    }
}

const _: () = assert!(size_of::<Site>() == 16);

impl Site {
    /// A site with one record.
    #[inline]
    pub(in crate::core) fn lone(id: usize, kind: Kind) -> Self {
        let mut site = Self::default();
        *site.ring_mut(kind) = Some(RecordId::new(id));
        if kind == Kind::Body {
            site.body = Some(RecordId::new(id));
        }
        site
    }

    #[inline]
    pub(in crate::core) fn ring(&self, kind: Kind) -> Option<RecordId> {
        match kind {
            Kind::Fall => self.fall,
            Kind::Pre => self.pre,
            Kind::Post | Kind::Body => self.post,
        }
    }

    #[inline]
    pub(in crate::core) fn ring_mut(&mut self, kind: Kind) -> &mut Option<RecordId> {
        match kind {
            Kind::Fall => &mut self.fall,
            Kind::Pre => &mut self.pre,
            Kind::Post | Kind::Body => &mut self.post,
        }
    }
}

/// What an edited instruction has, in 4 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::core) enum Slot {
    /// One record.
    Lone(usize),
    /// Several: the index of a site.
    Site(usize),
}

/// A [`Slot`] with the variant in the lowest bit.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::core) struct PackedSlot(u32);

/// The slots of the units of a word.
pub(in crate::core) type Block = [PackedSlot; WORD];

impl PackedSlot {
    #[inline]
    pub(in crate::core) const fn lone(id: u32) -> Self {
        Self(id << 1)
    }

    #[inline]
    pub(in crate::core) const fn site(index: u32) -> Self {
        Self(index << 1 | 1)
    }

    #[inline]
    pub(in crate::core) const fn unpack(self) -> Slot {
        let index = (self.0 >> 1) as usize;
        if self.0 & 1 == 0 { Slot::Lone(index) } else { Slot::Site(index) }
    }
}
