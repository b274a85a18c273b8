//! Whether types of two sets are compatible, by the rules of libbpf's `relo_core.c`.

use super::types::{Kind, Type, Types, essential_name};

/// How deep types are compared.
const LEVELS: u32 = 32;
/// How many comparisons one question may take: types that name each other make exponentially many paths.
const STEPS: u32 = 1 << 20;

/// A question about two types.
pub(super) struct Pair<'a, 'd> {
    pub(super) local: &'a Types<'d>,
    pub(super) target: &'a Types<'d>,
    steps: u32,
}

impl<'a, 'd> Pair<'a, 'd> {
    pub(super) fn new(local: &'a Types<'d>, target: &'a Types<'d>) -> Self {
        Self { local, target, steps: STEPS }
    }

    fn both(&mut self, local: u32, target: u32) -> Option<(Type<'d>, Type<'d>)> {
        self.steps = self.steps.checked_sub(1)?;
        Some((self.local.skip_modifiers(local)?.1, self.target.skip_modifiers(target)?.1))
    }

    /// Whether a member of one type may be read as one of the other (`bpf_core_fields_are_compat`).
    pub(super) fn fields(&mut self, mut local_id: u32, mut target_id: u32) -> Option<bool> {
        for _ in 0..LEVELS {
            let (local, target) = self.both(local_id, target_id)?;
            if local.kind.is_composite() && target.kind.is_composite() {
                return Some(true);
            }
            if !kinds_agree(local.kind, target.kind) {
                return Some(false);
            }
            return Some(match local.kind {
                Kind::Pointer | Kind::Float => true,
                Kind::Forward | Kind::Enum | Kind::Enum64 => {
                    let [local, target] = [local, target].map(|found| essential_name(found.name));
                    local.is_empty() || target.is_empty() || local == target
                }
                Kind::Int => self.are_whole(&local, &target),
                Kind::Array => {
                    local_id = self.local.array(&local)?.0;
                    target_id = self.target.array(&target)?.0;
                    continue;
                }
                _ => false,
            });
        }
        None
    }

    /// Whether neither integer starts within its bytes.
    fn are_whole(&self, local: &Type<'d>, target: &Type<'d>) -> bool {
        let starts = [self.local.int(local), self.target.int(target)];
        starts.into_iter().all(|int| int.is_some_and(|(_, start)| start == 0))
    }

    /// Whether one type stands for the other (`bpf_core_types_are_compat`).
    pub(super) fn types(&mut self, local: u32, target: u32) -> Option<bool> {
        // The kinds of the types themselves count too, before modifiers go.
        if !kinds_agree(self.local.get(local)?.kind, self.target.get(target)?.kind) {
            return Some(false);
        }
        self.types_below(local, target, LEVELS)
    }

    fn types_below(&mut self, mut local_id: u32, mut target_id: u32, levels: u32) -> Option<bool> {
        for levels in (0..levels).rev() {
            let (local, target) = self.both(local_id, target_id)?;
            if !kinds_agree(local.kind, target.kind) {
                return Some(false);
            }
            match local.kind {
                Kind::Void | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Forward => {
                    return Some(true);
                }
                Kind::Int => return Some(self.are_whole(&local, &target)),
                Kind::Pointer => {}
                Kind::Array => {
                    local_id = self.local.array(&local)?.0;
                    target_id = self.target.array(&target)?.0;
                    continue;
                }
                Kind::Prototype if local.entries == target.entries => {
                    for index in 0..local.entries {
                        let of_local = self.local.parameter(&local, index)?;
                        let of_target = self.target.parameter(&target, index)?;
                        if !self.types_below(of_local, of_target, levels)? {
                            return Some(false);
                        }
                    }
                }
                _ => return Some(false),
            }
            (local_id, target_id) = (local.size_or_type, target.size_or_type);
        }
        None
    }

    /// Whether one type is like the other, down to names and sizes (`bpf_core_types_match`).
    pub(super) fn matches(&mut self, local: u32, target: u32) -> Option<bool> {
        self.matches_below(local, target, false, LEVELS)
    }

    fn matches_below(
        &mut self,
        mut local_id: u32,
        mut target_id: u32,
        mut behind_pointer: bool,
        levels: u32,
    ) -> Option<bool> {
        for levels in (0..levels).rev() {
            let (local, target) = self.both(local_id, target_id)?;
            if !names_agree(local.name, target.name) {
                return Some(false);
            }
            let same = local.kind == target.kind;
            match local.kind {
                Kind::Void => return Some(same),
                Kind::Forward if same => return Some(local.flag == target.flag),
                Kind::Forward => {
                    let union = if local.flag { Kind::Union } else { Kind::Struct };
                    return Some(behind_pointer && target.kind == union);
                }
                Kind::Enum | Kind::Enum64 => return self.enums_match(&local, &target),
                Kind::Struct | Kind::Union if behind_pointer => {
                    let is_union = local.kind == Kind::Union;
                    return Some(same || (target.kind == Kind::Forward && is_union == target.flag));
                }
                Kind::Struct | Kind::Union => {
                    return if same { self.members_match(&local, &target, levels) } else { Some(false) };
                }
                Kind::Int => {
                    let signs =
                        [self.local.int(&local)?.0, self.target.int(&target).is_some_and(|int| int.0)];
                    return Some(same && local.size_or_type == target.size_or_type && signs[0] == signs[1]);
                }
                Kind::Pointer if same => behind_pointer = true,
                Kind::Array if same => {
                    let (of_local, of_target) = (self.local.array(&local)?, self.target.array(&target)?);
                    if of_local.1 != of_target.1 {
                        return Some(false);
                    }
                    (local_id, target_id) = (of_local.0, of_target.0);
                    continue;
                }
                Kind::Prototype if same && local.entries == target.entries => {
                    for index in 0..local.entries {
                        let of_local = self.local.parameter(&local, index)?;
                        let of_target = self.target.parameter(&target, index)?;
                        if !self.matches_below(of_local, of_target, behind_pointer, levels)? {
                            return Some(false);
                        }
                    }
                }
                _ => return Some(false),
            }
            (local_id, target_id) = (local.size_or_type, target.size_or_type);
        }
        None
    }

    /// Whether each enumerator of one is in the other.
    fn enums_match(&mut self, local: &Type<'d>, target: &Type<'d>) -> Option<bool> {
        if !target.kind.is_enum()
            || local.size_or_type != target.size_or_type
            || local.entries > target.entries
        {
            return Some(false);
        }
        for index in 0..local.entries {
            let name = self.local.enumerator(local, index)?.name;
            let mut found = false;
            for other in 0..target.entries {
                self.steps = self.steps.checked_sub(1)?;
                found |= names_agree(name, self.target.enumerator(target, other)?.name);
            }
            if !found {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Whether each member of one is in the other.
    fn members_match(&mut self, local: &Type<'d>, target: &Type<'d>, levels: u32) -> Option<bool> {
        if local.entries > target.entries {
            return Some(false);
        }
        for index in 0..local.entries {
            let member = self.local.member(local, index)?;
            let mut found = false;
            for other in 0..target.entries {
                self.steps = self.steps.checked_sub(1)?;
                let other = self.target.member(target, other)?;
                if names_agree(member.name, other.name)
                    && self.matches_below(member.type_id, other.type_id, false, levels)?
                {
                    found = true;
                    break;
                }
            }
            if !found {
                return Some(false);
            }
        }
        Some(true)
    }
}

/// Whether kinds are the same, or both are enumerations (`btf_kind_core_compat`).
pub(super) fn kinds_agree(local: Kind, target: Kind) -> bool {
    local == target || (local.is_enum() && target.is_enum())
}

fn names_agree(local: &str, target: &str) -> bool {
    essential_name(local) == essential_name(target)
}
