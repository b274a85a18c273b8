//! [`damage_object`]: changes to what an object says, rather than to any of its bytes.

use std::vec::Vec;

/// Words that are at the ends of what something may be.
const WORDS: [u32; 12] =
    [0, 1, 2, 7, 8, 16, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff_fff8, 0xff00, 0x1000];

/// Changes a few fields of headers, symbols, relocations, records or instructions, as `seed` says.
///
/// What is no object stays what it is.
pub fn damage_object(data: &mut [u8], seed: u32) {
    let mut rng = Rng(u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..=rng.below(3) {
        let parts = parts(data);
        if parts.is_empty() {
            return;
        }
        let (start, len) = parts[rng.below(parts.len())];
        if len < 4 {
            continue;
        }
        let at = start + rng.below(len / 4) * 4;
        let Some(word) = data.get(at..).and_then(|rest| rest.first_chunk()).copied() else { continue };
        let other = start + rng.below(len / 4) * 4;
        let other = data.get(other..).and_then(|rest| rest.first_chunk()).copied().unwrap_or(word);
        let value = u32::from_le_bytes(word);
        let word = match rng.below(7) {
            0 => WORDS[rng.below(WORDS.len())].to_le_bytes(),
            1 => other,
            2 => (value ^ 1 << rng.below(32)).to_le_bytes(),
            3 => value.wrapping_add(8).to_le_bytes(),
            4 => value.wrapping_sub(8).to_le_bytes(),
            5 => u32::from_be_bytes(word).wrapping_add(1).to_be_bytes(),
            _ => value.wrapping_add(1).to_le_bytes(),
        };
        data[at..at + 4].copy_from_slice(&word);
    }
}

/// Where the headers of the sections are, and what is in each section: start, length.
fn parts(data: &[u8]) -> Vec<(usize, usize)> {
    let is_big = data.get(5) == Some(&2);
    let number = |at: usize, len: usize| {
        let bytes = data.get(at..at.checked_add(len)?)?;
        let shift = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        let value = if is_big { bytes.iter().fold(0, shift) } else { bytes.iter().rev().fold(0, shift) };
        usize::try_from(value).ok()
    };
    let Some((table, count)) = number(40, 8).zip(number(60, 2)) else { return Vec::new() };
    let mut parts = Vec::new();
    for index in 0..count {
        let Some(header) = table.checked_add(index * 64) else { break };
        if data.len().checked_sub(64).is_none_or(|last| header > last) {
            break;
        }
        parts.push((header, 64));
        let part = number(header + 24, 8).zip(number(header + 32, 8));
        parts
            .extend(part.filter(|&(start, len)| start.checked_add(len).is_some_and(|end| end <= data.len())));
    }
    parts
}

/// Random numbers (xorshift64*).
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit as u64).unwrap_or(0)
    }
}
