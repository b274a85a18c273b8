//! [`Patch`]: the instructions of one edit, and where their branches go.

use super::Handle;

/// Where an inserted branch leads. It is resolved at linearization, so that later edits may happen
/// around the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The instruction at this unit of the same patch.
    Local(u32),
    /// What follows the patch.
    End,
    /// An instruction of the list: what was prepended to it runs first.
    Handle(Handle),
    /// The instruction that stood at this position of the original program, or its end.
    Original(u32),
}

/// One branch of a patch, and its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    pub(super) unit: u32,
    pub(super) field: u32,
    pub(super) target: Target,
}

impl Branch {
    /// The branch at unit `unit` of the patch leads to `target` (by its first displacement field).
    #[must_use]
    pub const fn new(unit: u32, target: Target) -> Self {
        Self { unit, field: 0, target }
    }

    /// The same for displacement field `field`.
    #[must_use]
    pub const fn field(self, field: u32) -> Self {
        Self { field, ..self }
    }
}

/// What an edit does with the fact (aux datum) of the instruction it edits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fact {
    /// It stays with the instruction; of a replaced one, with the first of the replacement.
    #[default]
    Keep,
    /// It goes to the instruction at this unit of the patch.
    MoveTo(u32),
    /// It becomes the default.
    Reset,
}

/// The instructions of one edit: one or more, any number of units.
///
/// The displacement of a branch in it counts within the patch, up to and including its end, unless
/// the branch is listed in [`branches`](Patch::branches).
#[derive(Clone, Copy, Debug)]
pub struct Patch<'p, U> {
    pub(super) units: &'p [U],
    pub(super) branches: &'p [Branch],
    pub(super) fact: Fact,
}

impl<'p, U> Patch<'p, U> {
    /// A patch of these units. The fact of the edited instruction is [kept](Fact::Keep).
    #[must_use]
    pub const fn new(units: &'p [U]) -> Self {
        Self { units, branches: &[], fact: Fact::Keep }
    }

    /// Says where branches of the patch lead; in ascending order of unit, then field.
    #[must_use]
    pub const fn branches(self, branches: &'p [Branch]) -> Self {
        Self { branches, ..self }
    }

    /// Says what becomes of the fact of the edited instruction.
    #[must_use]
    pub const fn fact(self, fact: Fact) -> Self {
        Self { fact, ..self }
    }
}

impl<'p, U> From<&'p [U]> for Patch<'p, U> {
    fn from(units: &'p [U]) -> Self {
        Self::new(units)
    }
}

/// The handles that an edit gave to the instructions it inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    first: Handle,
    /// The index of the first unit; above 32 bits, how many units there are. As two fields they are returned
    /// by two stores, read by one load that spans both, and wait for each other: a third of the time of an edit.
    units: u64,
}

impl Inserted {
    /// Units from index `base` on, the first of which goes by the name `first`.
    #[inline]
    pub(super) const fn new(first: Handle, base: u32, units: u32) -> Self {
        Self { first, units: (units as u64) << u32::BITS | base as u64 }
    }

    /// The first instruction of the patch. After a replacement it is the replaced handle itself.
    #[must_use]
    pub const fn first(self) -> Handle {
        self.first
    }

    /// The instruction at unit `unit` of the patch.
    ///
    /// # Panics
    ///
    /// If the patch has no such unit.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is an index")]
    pub const fn at(self, unit: u32) -> Handle {
        assert!((unit as u64) < self.units >> u32::BITS, "the patch has no such unit");
        if unit == 0 { self.first } else { Handle::new(self.units as u32 + unit) }
    }
}
