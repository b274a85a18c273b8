//! The instructions of edited sections.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;

use super::Check;
use super::data;
use super::error::VerifyError;
use super::relocations::Addend;
use super::slot::{Field, Slot, slots};
use super::trace::Trace;

/// How many jumps one after the other a branch may take to get where it leads.
const MAX_HOPS: usize = 64;

pub(super) fn check(check: &Check<'_>, addends: &[Addend]) -> Result<(), VerifyError> {
    for (index, trace) in check.traces.iter().enumerate() {
        let (Some(trace), Some(new)) = (trace, check.sections[index]) else { continue };
        let new = &check.new.sections[new];
        if new.data.len() as u64 != u64::from(trace.new_len()) * 8 {
            let reason =
                format!("it has {} bytes, and should have {} slots", new.data.len(), trace.new_len());
            return Err(VerifyError::of_section(new.name, reason));
        }
        let old = check.old.sections[index].data;
        let mut expected = Cow::Borrowed(old);
        data::put_all(check, index, addends, &mut expected);
        let code = Code {
            trace,
            name: check.old.sections[index].name,
            old: slots(&check.old, old),
            expected: slots(&check.old, &expected),
            new: slots(&check.new, new.data),
            relocated: check.old.relocated_slots(index),
        };
        code.check()?;
    }
    Ok(())
}

/// The code of one section.
struct Code<'a> {
    trace: &'a Trace<'a>,
    name: &'a [u8],
    old: Vec<Slot>,
    /// The old code with the addends that relocations have now.
    expected: Vec<Slot>,
    new: Vec<Slot>,
    /// The old slots with a relocation, ascending.
    relocated: Vec<u32>,
}

impl Code<'_> {
    fn check(&self) -> Result<(), VerifyError> {
        let survivors = self.survivors()?;
        let mut is_old = alloc::vec![false; self.new.len()];
        for &(slot, new, len) in &survivors {
            is_old[new as usize..new as usize + len].fill(true);
            self.check_survivor(slot, new, len)?;
        }
        for &(slot, new, _) in &survivors {
            self.check_target(slot, new, &is_old)?;
        }
        for (slot, new) in (0..).zip(&self.new) {
            let given = Slot::from(self.trace.insns[slot as usize]);
            if !is_old[slot as usize] && *new != given {
                let reason = format!("it is {new:?}, and the edit put {given:?} there");
                return Err(VerifyError::of_new_slot(self.name, slot, reason));
            }
        }
        Ok(())
    }

    /// The instructions that are as they were: old slot, new slot, and length in slots.
    fn survivors(&self) -> Result<Vec<(u32, u32, usize)>, VerifyError> {
        let mut survivors = Vec::new();
        let (mut at, mut free) = (0, 0);
        while at < self.old.len() {
            let slot = u32::try_from(at).unwrap_or(u32::MAX);
            let len = if self.old[at].is_wide() { 2.min(self.old.len() - at) } else { 1 };
            if let Some(new) = self.trace.survivor(slot) {
                let end = new as usize + len;
                if (new as usize) < free || end > self.new.len() {
                    return Err(VerifyError::of_slot(
                        self.name,
                        slot,
                        "it does not follow what stood before it",
                    ));
                }
                survivors.push((slot, new, len));
                free = end;
            }
            at += len;
        }
        Ok(survivors)
    }

    /// All but where it leads.
    fn check_survivor(&self, slot: u32, new: u32, len: usize) -> Result<(), VerifyError> {
        let (old, found) = (self.old[slot as usize], self.new[new as usize]);
        let expected = self.expected[slot as usize];
        let is_relocated = self.relocated.binary_search(&slot).is_ok();
        let field = old.field().filter(|_| !is_relocated && !self.trace.parts.is_between(slot));
        let is_same = match field {
            None => found == expected,
            // What has taken a longer form is looked at with where it leads.
            Some(field) => found.without(field) == old.without(field) || is_longer(old, found),
        };
        let rest = 1..len;
        let same_rest =
            rest.clone().all(|more| self.new[new as usize + more] == self.expected[slot as usize + more]);
        if is_same && same_rest {
            return Ok(());
        }
        let reason =
            format!("it was {old:?}, should be {expected:?}, and slot {new} of the new code is {found:?}");
        Err(VerifyError::of_slot(self.name, slot, reason))
    }

    fn check_target(&self, slot: u32, new: u32, is_old: &[bool]) -> Result<(), VerifyError> {
        let (old, found) = (self.old[slot as usize], self.new[new as usize]);
        if self.trace.parts.is_between(slot) {
            // The bytes were compared. It is no code that anybody runs.
            return Ok(());
        }
        let target = old.target(slot).filter(|_| self.relocated.binary_search(&slot).is_err());
        let Some(target) = target else { return Ok(()) };
        let fail = |reason| Err(VerifyError::of_slot(self.name, slot, reason));
        let Some(target) = u32::try_from(target).ok().filter(|&target| target <= self.trace.old_len()) else {
            return if found == old {
                Ok(())
            } else {
                fail("it led out of its section, and was changed".into())
            };
        };
        if old.enters() && self.trace.is_gone(target) {
            return fail(format!("it refers to slot {target}, of a function of which nothing is left"));
        }
        // A jump into another function gets there by all that stands at its start, as a call does.
        let parts = &self.trace.parts;
        let jumps_in = parts.at(slot) != parts.at(target) && parts.starts.binary_search(&target).is_ok();
        let begins = old.enters() || jumps_in;
        let expected = if begins { self.trace.begins(target) } else { self.trace.lands(target) };
        let expected = i64::from(expected);
        let reaches = if old.is_conditional() && old.code != found.code {
            // The inverse jump, over a `gotol` where it would fall.
            let falls = i64::from(new) + 1;
            found.off == 1 && self.inserted(falls, is_old).is_some() && self.reaches(falls, expected, is_old)
        } else {
            found.target(new).is_some_and(|target| self.reaches(target, expected, is_old))
        };
        if !reaches {
            let reason = format!(
                "it led to slot {target}, and slot {new} of the new code does not lead to {expected}"
            );
            return fail(reason);
        }
        // A jump to a `gotol` behind it falls over that.
        let near = i64::from(new) + 2;
        let detours = found.target(new) == Some(near) && expected != near && old.code == found.code;
        if detours && old.is_conditional() && self.inserted(near - 1, is_old) != Some(Slot::goto(1)) {
            return fail("its longer form falls into the jump that is for where it leads".into());
        }
        Ok(())
    }

    /// Whether a branch to `target` gets to `expected`, by unconditional jumps that were inserted if need be.
    fn reaches(&self, mut target: i64, expected: i64, is_old: &[bool]) -> bool {
        for _ in 0..MAX_HOPS {
            if target == expected {
                return true;
            }
            let jump = self.inserted(target, is_old).filter(|slot| slot.is_goto());
            let Some(next) = u32::try_from(target).ok().and_then(|at| jump?.target(at)) else { return false };
            target = next;
        }
        false
    }

    /// The slot at `at` of the new code, if it is none of the old ones.
    fn inserted(&self, at: i64, is_old: &[bool]) -> Option<Slot> {
        let at = usize::try_from(at).ok().filter(|&at| at < self.new.len() && !is_old[at])?;
        Some(self.new[at])
    }
}

/// Whether a jump may have become `found` to reach farther.
fn is_longer(old: Slot, found: Slot) -> bool {
    if old.is_conditional() {
        let inverse = old.inverse().map(|code| Slot { code, ..old }.without(Field::Off));
        return inverse == Some(found.without(Field::Off));
    }
    old.is_goto() && found.without(Field::Imm) == Slot::gotol()
}
