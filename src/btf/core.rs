//! CO-RE: what a relocation of an object becomes with the types of a kernel.
//!
//! The rules are those of libbpf (`relo_core.c` and `bpf_core_find_cands`): candidates are the types of the same kind
//! whose names are the same but for flavours (`___x`), those of the kernel itself, or, if it has none, of its modules;
//! of these, the ones count that have what the record speaks of; and all of them have to agree on the answer.
//!
//! ```no_run
//! use relinear::btf::Types;
//! use relinear::btf::core::{Answer, Relo, relocate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let section_of_object: Vec<u8> = Vec::new();
//! let kernel = std::fs::read("/sys/kernel/btf/vmlinux")?;
//! let (local, kernel) = (Types::parse(&section_of_object)?, Types::parse(&kernel)?);
//! match relocate(&local, Relo::FieldExists, 17, "0:5", &kernel, &[])?.target {
//!     Answer::Value(0) => println!("the kernel has no such field"),
//!     Answer::Value(_) => println!("it has"),
//!     Answer::Missing => println!("the question has no answer without the field"),
//! }
//! # Ok(())
//! # }
//! ```

use core::fmt;

use super::compat::kinds_agree;
use super::spec::Spec;
use super::types::{Kind, Types};
use crate::bpf::Endian;

/// What a record asks for: `enum bpf_core_relo_kind`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Relo {
    /// The offset of a field, in bytes.
    FieldOffset,
    /// The size of a field, in bytes; of a bit field, of what is to be loaded for it.
    FieldSize,
    /// Whether there is such a field.
    FieldExists,
    /// Whether the field is signed.
    FieldSigned,
    /// By how much the field is to be shifted left, in a register, to have its highest bit highest.
    FieldLeftShift,
    /// By how much it is to be shifted right then.
    FieldRightShift,
    /// The id of a type in the object.
    LocalTypeId,
    /// The id of a type in the kernel; 0 if it has none.
    TargetTypeId,
    /// Whether there is such a type.
    TypeExists,
    /// The size of a type, in bytes; 0 if there is none.
    TypeSize,
    /// Whether there is such an enumerator.
    EnumeratorExists,
    /// The value of an enumerator.
    EnumeratorValue,
    /// Whether there is a type that looks the same.
    TypeMatches,
}

const RELOS: [Relo; 13] = [
    Relo::FieldOffset,
    Relo::FieldSize,
    Relo::FieldExists,
    Relo::FieldSigned,
    Relo::FieldLeftShift,
    Relo::FieldRightShift,
    Relo::LocalTypeId,
    Relo::TargetTypeId,
    Relo::TypeExists,
    Relo::TypeSize,
    Relo::EnumeratorExists,
    Relo::EnumeratorValue,
    Relo::TypeMatches,
];

impl Relo {
    /// The one with a number, as in `.BTF.ext`.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        RELOS.get(number as usize).copied()
    }

    pub(super) const fn is_of_type(self) -> bool {
        matches!(
            self,
            Self::LocalTypeId | Self::TargetTypeId | Self::TypeExists | Self::TypeSize | Self::TypeMatches
        )
    }

    pub(super) const fn is_of_enum(self) -> bool {
        matches!(self, Self::EnumeratorExists | Self::EnumeratorValue)
    }
}

/// What a relocation becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// This number.
    Value(u64),
    /// There is no number: the kernel has no such field or enumerator. libbpf makes the instruction one that no
    /// verifier accepts if it reaches it.
    Missing,
}

/// What a relocation is in an object, and in a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relocated {
    /// What the compiler wrote for it.
    pub local: Answer,
    /// What it is with the types of the kernel.
    pub target: Answer,
}

/// Why a relocation has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CoreError {
    /// The type is none of the object, or has no name, or a type that it is made of is damaged.
    Type,
    /// The access does not fit the type.
    Access,
    /// The question does not fit the field: a bit field that no load of 8 bytes has, an element of an array.
    Question,
    /// Types are nested too deep to be compared.
    Deep,
    /// Candidates do not agree.
    Ambiguous {
        /// The id of one of them.
        one: u32,
        /// The id of another one.
        other: u32,
    },
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type => f.write_str("a type that is damaged, or has no name"),
            Self::Access => f.write_str("an access that does not fit its type"),
            Self::Question => f.write_str("a question that does not fit its field"),
            Self::Deep => f.write_str("types that are nested too deep"),
            Self::Ambiguous { one, other } => write!(f, "types {one} and {other} disagree"),
        }
    }
}

impl core::error::Error for CoreError {}

/// What a relocation becomes: `root` is a type of the object, whose types are `local`, and `access` the indices with
/// colons between them, both as in `.BTF.ext`.
///
/// Each of `modules` is split BTF over `kernel`. O(log(types) + members of the types that are compared).
///
/// # Errors
///
/// See [`CoreError`].
pub fn relocate(
    local: &Types<'_>,
    relo: Relo,
    root: u32,
    access: &str,
    kernel: &Types<'_>,
    modules: &[Types<'_>],
) -> Result<Relocated, CoreError> {
    let spec = Spec::local(local, relo, root, access)?;
    let of_object = value(local, relo, Some(&spec))?;
    if relo == Relo::LocalTypeId {
        return Ok(Relocated { local: of_object, target: of_object });
    }
    let of_root = local.get(root).filter(|root| !root.name.is_empty()).ok_or(CoreError::Type)?;
    let mut found: Option<(u32, u64, Answer)> = None;
    let mut has_candidates = false;
    for target in core::iter::once(kernel).chain(modules) {
        if has_candidates {
            break;
        }
        for &id in target.own_named(of_root.name) {
            if !target.get(id).is_some_and(|candidate| kinds_agree(of_root.kind, candidate.kind)) {
                continue;
            }
            has_candidates |= core::ptr::eq(target, kernel);
            let Some(spec) = spec.matching(local, relo, target, id)? else { continue };
            let answer = value(target, relo, Some(&spec))?;
            match found {
                None => found = Some((id, spec.bit_offset, answer)),
                Some((_, bit_offset, other)) if (bit_offset, other) == (spec.bit_offset, answer) => {}
                Some((one, ..)) => return Err(CoreError::Ambiguous { one, other: id }),
            }
        }
    }
    let target = match found {
        Some((_, _, answer)) => answer,
        None => value(kernel, relo, None)?,
    };
    Ok(Relocated { local: of_object, target })
}

/// The answer for what was found, or for nothing (`bpf_core_calc_relo`).
fn value(types: &Types<'_>, relo: Relo, spec: Option<&Spec<'_>>) -> Result<Answer, CoreError> {
    let Some(spec) = spec else {
        let is_missing = !matches!(
            relo,
            Relo::FieldExists
                | Relo::EnumeratorExists
                | Relo::TypeExists
                | Relo::TypeMatches
                | Relo::TypeSize
                | Relo::TargetTypeId
        );
        return Ok(if is_missing { Answer::Missing } else { Answer::Value(0) });
    };
    let number = match relo {
        Relo::FieldExists | Relo::EnumeratorExists | Relo::TypeExists | Relo::TypeMatches => 1,
        Relo::LocalTypeId | Relo::TargetTypeId => spec.root.into(),
        Relo::TypeSize => types.size(spec.root).ok_or(CoreError::Type)?,
        Relo::EnumeratorValue => {
            let step = spec.steps.last().ok_or(CoreError::Access)?;
            let of = types.get(step.type_id).ok_or(CoreError::Type)?;
            types.enumerator(&of, step.index as usize).ok_or(CoreError::Type)?.value
        }
        _ => field_value(types, relo, spec)?,
    };
    Ok(Answer::Value(number))
}

/// The answer for a field (`bpf_core_calc_field_relo`).
fn field_value(types: &Types<'_>, relo: Relo, spec: &Spec<'_>) -> Result<u64, CoreError> {
    let step = spec.steps.last().ok_or(CoreError::Access)?;
    if step.name.is_none() {
        return match relo {
            Relo::FieldOffset => Ok(spec.bit_offset / 8),
            Relo::FieldSize => types.size(step.type_id).ok_or(CoreError::Type),
            _ => Err(CoreError::Question),
        };
    }
    let of = types.get(step.type_id).ok_or(CoreError::Type)?;
    let member = types.member(&of, step.index as usize).ok_or(CoreError::Type)?;
    let (field_type, field) = types.skip_modifiers(member.type_id).ok_or(CoreError::Type)?;
    let (size, offset, bits) = match member.bits {
        None => {
            let size = types.size(field_type).ok_or(CoreError::Type)?;
            (size, spec.bit_offset / 8, size.checked_mul(8).ok_or(CoreError::Type)?)
        }
        Some(bits) => {
            let (size, offset) = load_of(spec.bit_offset, bits.into(), field.size_or_type.into())?;
            (size, offset, bits.into())
        }
    };
    let end_in_load = || (spec.bit_offset - offset * 8).checked_add(bits).ok_or(CoreError::Question);
    match relo {
        Relo::FieldOffset => Ok(offset),
        Relo::FieldSize => Ok(size),
        Relo::FieldSigned => {
            let is_signed = match field.kind {
                Kind::Int => types.int(&field).is_some_and(|int| int.0),
                kind => kind.is_enum() && field.flag,
            };
            Ok(is_signed.into())
        }
        Relo::FieldLeftShift if types.endian() == Endian::Little => {
            64_u64.checked_sub(end_in_load()?).ok_or(CoreError::Question)
        }
        Relo::FieldLeftShift => {
            let unused = 8_u64.checked_sub(size).ok_or(CoreError::Question)?;
            Ok(unused * 8 + (spec.bit_offset - offset * 8))
        }
        _ => 64_u64.checked_sub(bits).ok_or(CoreError::Question),
    }
}

/// The size and the place of the smallest aligned load, of at least `size` bytes, that has all bits of a bit field.
fn load_of(bit_offset: u64, bits: u64, mut size: u64) -> Result<(u64, u64), CoreError> {
    loop {
        let offset = (bit_offset / 8).checked_div(size).ok_or(CoreError::Type)? * size;
        if bit_offset + bits <= (offset + size) * 8 {
            return Ok((size, offset));
        }
        if size >= 8 {
            return Err(CoreError::Question);
        }
        size *= 2;
    }
}
