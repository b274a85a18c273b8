//! A small generator, so that every run and every machine measures the same works.

/// Splitmix64.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    #[expect(clippy::cast_possible_truncation, reason = "the high half of a product with a u32 fits in one")]
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next() as u32) * u64::from(bound)) >> 32) as u32
    }

    /// True with that chance.
    pub(crate) fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

/// Picks one of every `n`, each at random among its `n`: programs of all sizes get the same share.
pub(crate) struct OneIn {
    n: u32,
    at: u32,
    pick: u32,
}

impl OneIn {
    pub(crate) fn new(n: u32) -> Self {
        Self { n, at: 0, pick: u32::MAX }
    }

    pub(crate) fn pick(&mut self, rng: &mut Rng) -> bool {
        if self.at == 0 {
            self.pick = rng.below(self.n);
        }
        let picked = self.at == self.pick;
        self.at = (self.at + 1) % self.n;
        picked
    }
}

/// Numbers from 1 to eight times a step, as many from each eighth: programs of all sizes get the same share.
pub(crate) struct Eighths {
    step: u32,
    /// The eighths in the order in which they are dealt.
    deck: [u32; 8],
    dealt: usize,
}

impl Eighths {
    pub(crate) fn of(step: u32) -> Self {
        Self { step, deck: [0, 1, 2, 3, 4, 5, 6, 7], dealt: 0 }
    }

    pub(crate) fn next(&mut self, rng: &mut Rng) -> u32 {
        let last = 7 - self.dealt;
        self.deck.swap(last, rng.below(u32::try_from(last).expect("it is small") + 1) as usize);
        self.dealt = (self.dealt + 1) % 8;
        1 + self.deck[last] * self.step + rng.below(self.step)
    }
}
