//! [`Tiny`]: an instruction set that reaches so little that every branch is at its limit soon.
//!
//! | kind | units | displacements | longer form |
//! | --- | --- | --- | --- |
//! | `Nop`, `Stop` | 1 | | |
//! | `Wide` | 2 | | |
//! | `NarrowIf` | 1 | -8..=7 from its end | `WideIf` |
//! | `WideIf` | 2 | -64..=63 from its start | `NarrowUnless` over a `FarJump` |
//! | `NarrowUnless` | 1 | -8..=7 from its end | |
//! | `NarrowJump` | 1 | -8..=7 from its end | `WideJump` |
//! | `WideJump` | 1 | -64..=63 from its end | `FarJump` |
//! | `FarJump` | 2 | any | |
//! | `Call` | 1 | -64..=63 from its end | `FarCall` |
//! | `FarCall` | 2 | any | |
//! | `Fork` | 2 | two of -64..=63, from its start | |
//!
//! All but calls may go through trampolines.

use core::ops::RangeInclusive;

use crate::{Isa, LongForm, Relax};

/// A unit. An instruction that comes out of the case has a number; none has 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) kind: Kind,
    pub(super) id: u16,
    pub(super) to: i16,
}

/// What a unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// The second one of an instruction.
    Inner,
    #[default]
    Nop,
    Wide,
    Stop,
    NarrowIf,
    WideIf,
    NarrowUnless,
    NarrowJump,
    WideJump,
    FarJump,
    Call,
    FarCall,
    Fork,
}

impl Kind {
    pub(super) fn is_jump(self) -> bool {
        matches!(self, Self::NarrowJump | Self::WideJump | Self::FarJump)
    }

    pub(super) fn is_call(self) -> bool {
        matches!(self, Self::Call | Self::FarCall)
    }

    pub(super) fn ends_flow(self) -> bool {
        self.is_jump() || self == Self::Stop
    }

    /// The units of an instruction of this kind.
    pub(super) fn words(self, id: u16) -> impl Iterator<Item = Word> {
        let inner = Word { kind: Self::Inner, id, to: 0 };
        core::iter::once(Word { kind: self, id, to: 0 }).chain((1..self.len()).map(move |_| inner))
    }

    pub(super) fn len(self) -> usize {
        match self {
            Self::Wide | Self::WideIf | Self::FarJump | Self::FarCall | Self::Fork => 2,
            _ => 1,
        }
    }
}

/// The instruction set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tiny;

impl Isa for Tiny {
    type Unit = Word;

    fn len(&self, units: &[Word]) -> Option<usize> {
        let first = units.first().filter(|first| first.kind != Kind::Inner)?;
        let len = first.kind.len();
        (len <= units.len()).then_some(len)
    }

    fn fields(&self, insn: &[Word]) -> usize {
        match insn[0].kind {
            Kind::Inner | Kind::Nop | Kind::Wide | Kind::Stop => 0,
            Kind::Fork => 2,
            _ => 1,
        }
    }

    fn base(&self, insn: &[Word], _: usize) -> i64 {
        i64::from(!matches!(insn[0].kind, Kind::WideIf | Kind::Fork)) * if insn.len() == 2 { 2 } else { 1 }
    }

    fn read(&self, insn: &[Word], field: usize) -> i64 {
        i64::from(insn[field].to)
    }

    fn range(&self, insn: &[Word], _: usize) -> RangeInclusive<i64> {
        match insn[0].kind {
            Kind::NarrowIf | Kind::NarrowUnless | Kind::NarrowJump => -8..=7,
            Kind::FarJump | Kind::FarCall => -32768..=32767,
            _ => -64..=63,
        }
    }

    fn write(&self, insn: &mut [Word], field: usize, displacement: i64) {
        insn[field].to = displacement.try_into().expect("it is in range");
    }
}

/// What branches that do not reach may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    /// How many longer forms there are.
    pub(super) forms: u8,
    pub(super) trampoline: Option<Word>,
}

impl Ways {
    /// The kinds of the longer form, the first of which keeps the number.
    pub(super) fn form(self, kind: Kind) -> Option<&'static [Kind]> {
        let (needed, form): (_, &[Kind]) = match kind {
            Kind::NarrowIf => (1, &[Kind::WideIf]),
            Kind::NarrowJump => (1, &[Kind::WideJump]),
            Kind::WideIf => (2, &[Kind::NarrowUnless, Kind::FarJump]),
            Kind::WideJump => (2, &[Kind::FarJump]),
            Kind::Call => (2, &[Kind::FarCall]),
            _ => return None,
        };
        (self.forms >= needed).then_some(form)
    }
}

impl Relax<Tiny> for Ways {
    fn relax(&self, insn: &[Word], _: usize, long: &mut LongForm<Word>) -> bool {
        let Some(form) = self.form(insn[0].kind) else { return false };
        if let [first, _] = form {
            long.units.extend(first.words(insn[0].id));
            long.units[0].to = 2;
        }
        long.goto_target(0);
        let id = if form.len() == 1 { insn[0].id } else { 0 };
        long.units.extend(form[form.len() - 1].words(id));
        true
    }

    fn trampoline(&self) -> Option<&[Word]> {
        self.trampoline.as_ref().map(core::slice::from_ref)
    }

    fn may_detour(&self, insn: &[Word], _: usize) -> bool {
        !insn[0].kind.is_call()
    }

    fn ends_flow(&self, insn: &[Word]) -> bool {
        insn[0].kind.ends_flow()
    }
}
