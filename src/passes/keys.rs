//! [`Keys`]: random numbers that are the same for the same seed.

/// A stream of random numbers: `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom
/// number generators", 2014), of which each number is the high half.
pub(super) struct Keys(pub(super) u64);

impl Keys {
    pub(super) fn next(&mut self) -> i32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        ((word >> 32) as u32).cast_signed()
    }
}
