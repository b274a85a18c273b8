//! [`Spec`]: the field, type or enumerator that a CO-RE record speaks of, in one set of types.

use alloc::vec::Vec;

use super::compat::Pair;
use super::core::{CoreError, Relo};
use super::types::{Type, Types, essential_name};

/// The most indices that an access may have (`BPF_CORE_SPEC_MAX_LEN`).
const MAX_LEN: usize = 64;

/// A step from a type into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'d> {
    /// The structure, the enumeration, or the type of the element.
    pub(super) type_id: u32,
    pub(super) index: u32,
    /// The name of the member or enumerator; `None` for an element of an array.
    pub(super) name: Option<&'d str>,
}

/// What a record speaks of.
#[derive(Clone, Debug)]
pub(super) struct Spec<'d> {
    pub(super) root: u32,
    pub(super) steps: Vec<Step<'d>>,
    pub(super) bit_offset: u64,
}

impl<'d> Spec<'d> {
    /// What a record of an object speaks of in the object itself (`bpf_core_parse_spec`).
    pub(super) fn local(types: &Types<'d>, relo: Relo, root: u32, access: &str) -> Result<Self, CoreError> {
        let indices: Option<Vec<u32>> = access.split(':').map(|index| index.parse().ok()).collect();
        let indices = indices.filter(|indices| indices.len() <= MAX_LEN).ok_or(CoreError::Access)?;
        let mut spec = Self { root, steps: Vec::new(), bit_offset: 0 };
        let (id, found) = types.skip_modifiers(root).ok_or(CoreError::Type)?;
        if relo.is_of_type() {
            return if indices == [0] { Ok(spec) } else { Err(CoreError::Access) };
        }
        if relo.is_of_enum() {
            let enumerator = types.enumerator(&found, indices[0] as usize).ok_or(CoreError::Access)?;
            if indices.len() != 1 {
                return Err(CoreError::Access);
            }
            spec.steps.push(Step { type_id: id, index: indices[0], name: Some(enumerator.name) });
            return Ok(spec);
        }
        spec.steps.push(Step { type_id: id, index: indices[0], name: None });
        spec.add(types, id, indices[0])?;
        let mut id = id;
        for &index in &indices[1..] {
            let (this, found) = types.skip_modifiers(id).ok_or(CoreError::Type)?;
            if found.kind.is_composite() {
                let member = types.member(&found, index as usize).ok_or(CoreError::Access)?;
                spec.bit_offset =
                    spec.bit_offset.checked_add(member.bit_offset.into()).ok_or(CoreError::Access)?;
                if !member.name.is_empty() {
                    spec.steps.push(Step { type_id: this, index, name: Some(member.name) });
                }
                id = member.type_id;
            } else {
                let (element, len) = types.array(&found).ok_or(CoreError::Access)?;
                let (element, _) = types.skip_modifiers(element).ok_or(CoreError::Type)?;
                if index >= len && !spec.is_flexible(types, len) {
                    return Err(CoreError::Access);
                }
                spec.steps.push(Step { type_id: element, index, name: None });
                spec.add(types, element, index)?;
                id = element;
            }
        }
        Ok(spec)
    }

    /// Goes on by so many elements of a type.
    fn add(&mut self, types: &Types<'d>, element: u32, index: u32) -> Result<(), CoreError> {
        let bits = types.size(element).and_then(|size| size.checked_mul(8)?.checked_mul(index.into()));
        let sum = bits.and_then(|bits| self.bit_offset.checked_add(bits));
        self.bit_offset = sum.ok_or(CoreError::Type)?;
        Ok(())
    }

    /// Whether an array of so many elements, which the last step leads to, is one without an end: the last member of
    /// its structure, of no or one element (`is_flex_arr`).
    fn is_flexible(&self, types: &Types<'d>, len: u32) -> bool {
        let Some(Step { type_id, index, name: Some(_) }) = self.steps.last().copied() else { return false };
        len <= 1 && types.get(type_id).is_some_and(|of| index as usize + 1 == of.entries)
    }

    /// The same in another set of types, from a candidate for its root; `None` if it is not there
    /// (`bpf_core_spec_match`).
    pub(super) fn matching(
        &self,
        local: &Types<'d>,
        relo: Relo,
        target: &Types<'d>,
        root: u32,
    ) -> Result<Option<Self>, CoreError> {
        let mut pair = Pair::new(local, target);
        let mut spec = Spec { root, steps: Vec::new(), bit_offset: 0 };
        if relo.is_of_type() {
            let matches = if relo == Relo::TypeMatches {
                pair.matches(self.root, root)
            } else {
                pair.types(self.root, root)
            };
            return Ok(matches.ok_or(CoreError::Deep)?.then_some(spec));
        }
        let (id, found) = target.skip_modifiers(root).ok_or(CoreError::Type)?;
        if relo.is_of_enum() {
            let step = self.enumerator(target, id, &found)?;
            spec.steps.extend(step);
            return Ok(step.map(|_| spec));
        }
        let mut id = id;
        for (number, step) in self.steps.iter().enumerate() {
            if let Some(name) = step.name {
                let of_local = local.get(step.type_id).ok_or(CoreError::Type)?;
                let wanted = local.member(&of_local, step.index as usize).ok_or(CoreError::Access)?.type_id;
                match spec.find(&mut pair, id, name, wanted, MAX_LEN)? {
                    Some(next) => id = next,
                    None => return Ok(None),
                }
                continue;
            }
            if number > 0 {
                let (_, found) = target.skip_modifiers(id).ok_or(CoreError::Type)?;
                let Some((element, len)) = target.array(&found) else { return Ok(None) };
                if step.index >= len && !spec.is_flexible(target, len) {
                    return Ok(None);
                }
                id = target.skip_modifiers(element).ok_or(CoreError::Type)?.0;
            }
            spec.steps.push(Step { type_id: id, index: step.index, name: None });
            spec.add(target, id, step.index)?;
        }
        Ok(Some(spec))
    }

    /// The enumerator of the same name.
    fn enumerator(
        &self,
        target: &Types<'d>,
        id: u32,
        found: &Type<'d>,
    ) -> Result<Option<Step<'d>>, CoreError> {
        let name = self.steps.first().and_then(|step| step.name).ok_or(CoreError::Access)?;
        if !found.kind.is_enum() {
            return Ok(None);
        }
        for index in 0..found.entries {
            let other = target.enumerator(found, index).ok_or(CoreError::Type)?.name;
            if essential_name(other) == essential_name(name) {
                let index = u32::try_from(index).map_err(|_| CoreError::Type)?;
                return Ok(Some(Step { type_id: id, index, name: Some(other) }));
            }
        }
        Ok(None)
    }

    /// Steps to the member of a name, also through members without one. The type of the member
    /// (`bpf_core_match_member`).
    fn find(
        &mut self,
        pair: &mut Pair<'_, 'd>,
        structure: u32,
        name: &str,
        wanted: u32,
        depth: usize,
    ) -> Result<Option<u32>, CoreError> {
        let target = pair.target;
        let (id, of) = target.skip_modifiers(structure).ok_or(CoreError::Type)?;
        let depth = depth.checked_sub(1).ok_or(CoreError::Deep)?;
        let here = self.bit_offset;
        if !of.kind.is_composite() {
            return Ok(None);
        }
        for index in 0..of.entries {
            let member = target.member(&of, index).ok_or(CoreError::Type)?;
            self.bit_offset = here.checked_add(member.bit_offset.into()).ok_or(CoreError::Type)?;
            if member.name.is_empty() {
                if let Some(found) = self.find(pair, member.type_id, name, wanted, depth)? {
                    return Ok(Some(found));
                }
            } else if member.name == name {
                let agrees = pair.fields(wanted, member.type_id).ok_or(CoreError::Deep)?;
                let index = u32::try_from(index).map_err(|_| CoreError::Type)?;
                self.steps.push(Step { type_id: id, index, name: Some(member.name) });
                return Ok(agrees.then_some(member.type_id));
            }
        }
        self.bit_offset = here;
        Ok(None)
    }
}
