//! [`marks`]: what 64 slots are, by AVX2 where the processor has it, which is found out when it runs.
#![cfg(all(feature = "std", target_arch = "x86_64"))]

use core::arch::x86_64::{
    __m128i, __m256i, _mm_and_si128, _mm_cmpeq_epi8, _mm_cvtsi32_si128, _mm_movemask_epi8, _mm_or_si128,
    _mm_set1_epi8, _mm_setr_epi8, _mm_setzero_si128, _mm_shuffle_epi8, _mm_srli_epi16, _mm_unpackhi_epi16,
    _mm_unpackhi_epi64, _mm_unpacklo_epi8, _mm_unpacklo_epi16, _mm256_and_si256, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi64x, _mm256_setzero_si256,
    _mm256_sll_epi64,
};

use super::Insn;
use super::opcode::{CALL_CODE, LD_IMM64};

const _: () = assert!(size_of::<Insn>() == 8);

/// Which slots have a displacement, whatever their kind, and which are an `ld_imm64` or a call, a bit each, the first one
/// lowest; `None` if the processor has no AVX2.
#[inline]
pub(super) fn marks(slots: &[Insn; 64]) -> Option<(u64, u64)> {
    if !std::is_x86_feature_detected!("avx2") {
        return None;
    }
    #[expect(unsafe_code, reason = "the scan takes a third of the instructions")]
    // SAFETY: the processor has AVX2.
    Some(unsafe { marks_avx2(slots) })
}

#[target_feature(enable = "avx2")]
fn marks_avx2(slots: &[Insn; 64]) -> (u64, u64) {
    let (halves, _) = slots.as_chunks::<32>();
    let [low, high] = [&halves[0], &halves[1]].map(|half| marks_of_half(half));
    (u64::from(low.0) | u64::from(high.0) << 32, u64::from(low.1) | u64::from(high.1) << 32)
}

#[target_feature(enable = "avx2")]
fn marks_of_half(slots: &[Insn; 32]) -> (u32, u32) {
    // Lane `i` comes to hold the codes of slots `i`, `i + 4`, `i + 8` ...
    let mut lanes = _mm256_setzero_si256();
    for (four, shift) in slots.as_chunks::<4>().0.iter().zip((0..).step_by(8)) {
        #[expect(unsafe_code, reason = "four slots are loaded at once")]
        #[expect(clippy::cast_ptr_alignment, reason = "an unaligned load is asked for")]
        // SAFETY: the pointer is to four slots of eight bytes each, and an unaligned load is asked for.
        let four = unsafe { _mm256_loadu_si256(four.as_ptr().cast::<__m256i>()) };
        let codes = _mm256_and_si256(four, _mm256_set1_epi64x(0xff));
        lanes = _mm256_or_si256(lanes, _mm256_sll_epi64(codes, _mm_cvtsi32_si128(shift)));
    }
    let (zero_one, two_three) = (_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let zip = |pair: __m128i| _mm_unpacklo_epi8(pair, _mm_unpackhi_epi64(pair, pair));
    let (even, odd) = (zip(zero_one), zip(two_three));
    let (first, second) = (_mm_unpacklo_epi16(even, odd), _mm_unpackhi_epi16(even, odd));
    let (first, second) = (marks_of_codes(first), marks_of_codes(second));
    (first.0 | second.0 << 16, first.1 | second.1 << 16)
}

/// The marks of 16 codes in their order.
#[target_feature(enable = "avx2")]
fn marks_of_codes(codes: __m128i) -> (u32, u32) {
    // A code has a displacement if its halves have a bit in common: conditions have the first one, `goto` and `gotol`
    // the second one, `may_goto` the third one.
    let of_low = _mm_setr_epi8(0, 0, 0, 0, 0, 7, 3, 0, 0, 0, 0, 0, 0, 1, 1, 0);
    let of_high = _mm_setr_epi8(2, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 4, 0);
    let nibble = _mm_set1_epi8(0xf);
    let low = _mm_shuffle_epi8(of_low, _mm_and_si128(codes, nibble));
    let high = _mm_shuffle_epi8(of_high, _mm_and_si128(_mm_srli_epi16::<4>(codes), nibble));
    let none = _mm_cmpeq_epi8(_mm_and_si128(low, high), _mm_setzero_si128());
    let is = |code: u8| _mm_cmpeq_epi8(codes, _mm_set1_epi8(code.cast_signed()));
    let kinds = _mm_or_si128(is(LD_IMM64), is(CALL_CODE));
    let bits = |mask: __m128i| _mm_movemask_epi8(mask).cast_unsigned();
    (!bits(none) & 0xffff, bits(kinds))
}
