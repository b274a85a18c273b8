//! [`List::linearize`]: lays the list out in one sweep, then fixes every branch with two look-ups.

use alloc::vec::Vec;
use core::ops::Range;

use super::bits::WORD;
use super::list::{RunId, to_u32};
use super::map::{Map, NOWHERE};
use super::walk::Place;
use super::{Error, Handle, Isa, List};

/// A linearized program.
#[derive(Clone, Debug, Default)]
pub struct Linear<U, A = ()> {
    /// The units.
    pub units: Vec<U>,
    /// The fact of each unit; that of an instruction is at its first unit.
    pub aux: Vec<A>,
    /// Where everything went.
    pub map: Map,
    /// Where the units of each branch were in the list, and where they are now.
    branches: Vec<(Handle, u32)>,
    /// A label, and the label inside its prepended code that it coincides with.
    aliases: Vec<(Handle, Handle)>,
}

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    /// Lays the list out as one program, with every branch leading where it should.
    ///
    /// O(units + inserted units), whatever the number of edits.
    ///
    /// # Errors
    ///
    /// As [`linearize_into`](List::linearize_into).
    pub fn linearize(&self) -> Result<Linear<I::Unit, A>, Error> {
        let mut out = Linear {
            units: Vec::new(),
            aux: Vec::new(),
            map: Map::default(),
            branches: Vec::new(),
            aliases: Vec::new(),
        };
        self.linearize_into(&mut out)?;
        Ok(out)
    }

    /// As [`linearize`](List::linearize), into memory that is there already. What `out` held before is
    /// lost.
    ///
    /// # Errors
    ///
    /// [`Error::BranchOutside`], [`Error::BranchIntoInsn`], [`Error::DeletedTail`],
    /// [`Error::OutOfRange`] for the first live branch that has no place to go;
    /// [`Error::NoSuchInsn`] for one with a target that is a handle of another list; [`Error::OutOfMemory`].
    /// `out` is empty then.
    pub fn linearize_into(&self, out: &mut Linear<I::Unit, A>) -> Result<(), Error> {
        let mut sweep = Sweep { list: self, out };
        let result = sweep.run();
        if result.is_err() {
            sweep.clear();
        }
        result
    }
}

/// One linearization under way.
struct Sweep<'l, 'a, I: Isa, A> {
    list: &'l List<'a, I, A>,
    out: &'l mut Linear<I::Unit, A>,
}

impl<I: Isa, A: Copy + Default> Sweep<'_, '_, I, A> {
    fn run(&mut self) -> Result<(), Error> {
        self.clear();
        self.reserve()?;
        self.lay_out();
        self.settle_aliases();
        self.fix_branches()
    }

    fn clear(&mut self) {
        let Linear { units, aux, map, branches, aliases } = &mut *self.out;
        units.clear();
        aux.clear();
        branches.clear();
        aliases.clear();
        map.labels.clear();
        map.own.clear();
        map.dead.clear();
        map.origins.clear();
        map.inserted.clear();
    }

    fn reserve(&mut self) -> Result<(), Error> {
        let (old, inserted) = (self.list.original.len(), self.list.inserted.len());
        let Linear { units, aux, map, .. } = &mut *self.out;
        let reserved = units
            .try_reserve(old + inserted)
            .and_then(|()| aux.try_reserve(old + inserted))
            .and_then(|()| map.origins.try_reserve(old + inserted))
            .and_then(|()| map.labels.try_reserve(old + 1))
            .and_then(|()| map.inserted.try_reserve(inserted))
            .and_then(|()| map.dead.try_reserve(self.list.base as usize / WORD));
        reserved.map_err(|_| Error::OutOfMemory)?;
        map.base = self.list.base;
        map.inserted.resize(inserted, NOWHERE);
        map.dead.extend_from_slice(&self.list.dead.words()[..self.list.base as usize / WORD]);
        Ok(())
    }

    fn position(&self) -> u32 {
        to_u32(self.out.units.len())
    }

    /// Original code: untouched stretches as blocks, and what was edited or deleted between them.
    fn lay_out(&mut self) {
        let (list, end) = (self.list, self.list.original.len());
        let mut at = 0;
        while at < end {
            let touched = self.next_touched(at);
            self.copy_original(at..touched);
            if touched == end {
                break;
            }
            let handle = Handle::new(to_u32(touched));
            at = touched + list.len_at(handle);
            if list.edited.get(touched) {
                self.weave(handle);
            } else {
                self.out.map.labels.resize(at, to_u32(self.out.units.len()));
            }
        }
        self.weave(list.end());
    }

    /// The first original unit from `from` on that was edited or deleted, or the end.
    fn next_touched(&self, from: usize) -> usize {
        let (edited, dead) = (self.list.edited.words(), self.list.dead.words());
        let mut word = from / WORD;
        let mut touched = (edited[word] | dead[word]) & (!0 << (from % WORD));
        // The end is dead, so the search ends there at the latest.
        while touched == 0 {
            word += 1;
            touched = edited[word] | dead[word];
        }
        word * WORD + touched.trailing_zeros() as usize
    }

    fn copy_original(&mut self, range: Range<usize>) {
        let (list, new) = (self.list, self.position());
        self.note_branches(range.clone(), new);
        let Linear { units, aux, map, .. } = &mut *self.out;
        units.extend_from_slice(&list.original[range.clone()]);
        aux.extend_from_slice(&list.aux[range.clone()]);
        map.labels.extend(new..new + to_u32(range.len()));
        map.origins.extend(to_u32(range.start)..to_u32(range.end));
    }

    /// Notes the branches among the units of `range` in the list, which go to `new` and on.
    fn note_branches(&mut self, range: Range<usize>, new: u32) {
        let words = self.list.branch.bits.words();
        let first = range.start / WORD;
        let mut mask = !0 << (range.start % WORD);
        for (word, &ones) in words[first..range.end.div_ceil(WORD).max(first)].iter().enumerate() {
            let mut ones = ones & mask;
            mask = !0;
            while ones != 0 {
                let at = (first + word) * WORD + ones.trailing_zeros() as usize;
                if at >= range.end {
                    break;
                }
                self.out.branches.push((Handle::new(to_u32(at)), new + to_u32(at - range.start)));
                ones &= ones - 1;
            }
        }
    }

    /// One original instruction, and all that stands around it.
    fn weave(&mut self, anchor: Handle) {
        let list = self.list;
        let mut place = Place::Before(anchor);
        let mut own = self.position();
        while place != Place::After(anchor) {
            if place == Place::Own(anchor) {
                own = self.position();
            }
            match place {
                Place::Run(id) if self.is_clean(id) => {
                    self.copy_run(id, anchor);
                    place = Place::RunEnd(id);
                    continue;
                }
                Place::Label(handle) => self.set_label(handle),
                Place::Own(handle) if !list.dead.get(handle.at()) => self.copy_insn(handle, anchor),
                _ => {}
            }
            place = list.step(place);
        }
        self.label_inner_units(anchor, own);
    }

    /// Labels the units after the first of an original instruction that was edited.
    fn label_inner_units(&mut self, anchor: Handle, own: u32) {
        let (list, labels) = (self.list, &mut self.out.map.labels);
        let inner = to_u32(list.len_at(anchor)) - 1;
        if list.is_live(anchor) && list.body(anchor) == anchor {
            labels.extend(own + 1..=own + inner);
        } else {
            labels.resize(labels.len() + inner as usize, own);
        }
    }

    /// Whether nothing was done to the instructions of a run.
    fn is_clean(&self, id: RunId) -> bool {
        let run = self.list.run(id);
        let range = run.start.at()..run.end as usize;
        !self.list.edited.any(range.clone()) && !self.list.dead.any(range)
    }

    fn copy_run(&mut self, id: RunId, anchor: Handle) {
        let (list, new) = (self.list, self.position());
        let (start, end) = (list.run(id).start.at(), list.run(id).end as usize);
        self.note_branches(start..end, new);
        let inserted = start - list.base as usize..end - list.base as usize;
        let Linear { units, aux, map, .. } = &mut *self.out;
        units.extend_from_slice(&list.inserted[inserted.clone()]);
        aux.extend_from_slice(&list.aux[start..end]);
        map.origins.resize(map.origins.len() + end - start, anchor.index());
        for (label, new) in map.inserted[inserted].iter_mut().zip(new..) {
            *label = new;
        }
    }

    fn copy_insn(&mut self, handle: Handle, anchor: Handle) {
        let (list, new) = (self.list, self.position());
        let body = list.body(handle);
        let insn = list.units(body);
        if list.branch.bits.get(body.at()) {
            self.out.branches.push((body, new));
        }
        let Linear { units, aux, map, .. } = &mut *self.out;
        units.extend_from_slice(insn);
        aux.push(list.aux[handle.at()]);
        aux.resize(units.len(), A::default());
        if handle == body && handle == anchor {
            map.origins.extend(anchor.index()..anchor.index() + to_u32(insn.len()));
        } else {
            map.origins.resize(units.len(), anchor.index());
        }
        if handle == anchor && map.labels[anchor.at()] != new {
            map.own.push((anchor.index(), new));
        }
    }

    /// A branch to `handle` lands here, or on the label of the first instruction prepended to it.
    fn set_label(&mut self, handle: Handle) {
        let (list, new) = (self.list, self.position());
        if let Some(last) = list.site(handle).and_then(|site| site.pre) {
            let first = list.run(list.run(last).next).start;
            if list.edited.get(first.at()) {
                self.out.aliases.push((handle, first));
            }
        }
        let map = &mut self.out.map;
        match handle.index().checked_sub(list.base) {
            None => map.labels.push(new),
            Some(at) => map.inserted[at as usize] = new,
        }
    }

    /// Sets labels that coincide with labels inside prepended code, innermost first.
    fn settle_aliases(&mut self) {
        let Linear { map, aliases, .. } = &mut *self.out;
        for &(label, inside) in aliases.iter().rev() {
            let new = map.inserted[(inside.index() - map.base) as usize];
            match label.index().checked_sub(map.base) {
                None => map.labels[label.at()] = new,
                Some(at) => map.inserted[at as usize] = new,
            }
        }
    }

    fn fix_branches(&mut self) -> Result<(), Error> {
        let (list, end) = (self.list, self.position());
        let Linear { units, map, branches, .. } = &mut *self.out;
        for &(at, from) in &*branches {
            let origin = map.origins[from as usize];
            let len = list.len_at(at);
            let insn = &mut units[from as usize..][..len];
            for field in 0..I::fields(insn) {
                let target = list
                    .target_of(at, insn, field)
                    .map_err(|target| Error::BranchOutside { origin, target })?;
                if list.inner.get(target.at()) {
                    return Err(Error::BranchIntoInsn { origin, target: i64::from(target.index()) });
                }
                let to = map.new_of_handle(target).ok_or(Error::NoSuchInsn(target))?;
                if to == end {
                    return Err(Error::DeletedTail { origin, target });
                }
                let displacement = i64::from(to) - i64::from(from) - I::base(insn, field);
                let range = I::range(insn, field);
                if !range.contains(&displacement) {
                    let (min, max) = (*range.start(), *range.end());
                    return Err(Error::OutOfRange { origin, from, to, displacement, min, max });
                }
                I::write(insn, field, displacement);
            }
        }
        Ok(())
    }
}
