//! The search with 64 lanes in AVX-512 registers.
//!
//! A fingerprint has 53 bits; multiplied by x^3 it fills seven bytes. Register `i` holds byte `i` of all 64
//! fingerprints, so that a shift by eight bits only renames registers, and every multiplication by a constant is a
//! matrix of bits that GFNI multiplies with 64 bytes at once.

use std::arch::x86_64::*;

use super::{AVERAGE_SIZE, DEGREE, Tables, WINDOW, lane_starts};

const LANES: usize = 64;
/// Bytes of a fingerprint.
const PLANES: usize = 7;
/// Bits that pad a fingerprint to whole bytes.
const SHIFT: u32 = PLANES as u32 * 8 - DEGREE;
/// Bits that are zero at a cut.
const MASK: u64 = (AVERAGE_SIZE as u64 - 1) << SHIFT;
/// Bytes searched at once; a cut among the first makes the rest of the block wasted work.
pub(super) const BLOCK: usize = LANES * 960;
/// Below this number of bytes, the portable search is faster.
pub(super) const WORTHWHILE: usize = 2048;

/// 64 bytes of each lane: entry `i`, counted through, holds byte `i` of every lane.
type Columns = [[__m512i; 8]; 8];

/// Matrices of one polynomial, each as `gf2p8affineqb` expects it.
#[derive(Debug)]
pub(super) struct Search {
    /// From the topmost byte to what it adds to each byte after the shift.
    modulo: [i64; PLANES],
    /// From the outgoing byte to what it adds to each byte.
    out: [i64; PLANES],
    /// From the incoming byte to what it adds to the lowest bytes.
    incoming: [i64; 2],
}

impl Search {
    /// `None` if this processor lacks the instructions.
    pub(super) fn new(tables: &Tables) -> Option<Self> {
        let supported = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("gfni");
        let below = |value: u64| value & ((1 << DEGREE) - 1);
        supported.then(|| Self {
            modulo: std::array::from_fn(|plane| matrix(plane, |byte| below(tables.modulo[byte]))),
            out: std::array::from_fn(|plane| matrix(plane, |byte| tables.out[byte])),
            incoming: std::array::from_fn(|plane| matrix(plane, |byte| byte as u64)),
        })
    }

    /// The first possible cut after `from` and not after `end`, which lie at most [`BLOCK`] and at least 64 bytes
    /// apart.
    pub(super) fn search_block(&self, data: &[u8], from: usize, end: usize) -> Option<usize> {
        // SAFETY: a `Search` exists only where `new` has found all the features that the function enables.
        unsafe { self.search_lanes(data, from, end) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
    fn search_lanes(&self, data: &[u8], from: usize, end: usize) -> Option<usize> {
        let steps = (end - from).div_ceil(LANES).next_multiple_of(WINDOW);
        let starts = lane_starts::<LANES>(from, end, steps);
        let multiply = |byte, matrix| _mm512_gf2p8affine_epi64_epi8::<0>(byte, _mm512_set1_epi64(matrix));
        let mask = [0, 1, 2].map(|plane| _mm512_set1_epi8((MASK >> (8 * plane)) as i8));

        let mut fingerprint = [_mm512_setzero_si512(); PLANES];
        let mut append = |incoming, outgoing: Option<__m512i>| {
            let [low @ .., top] = fingerprint;
            let mut next = self.modulo.map(|matrix| multiply(top, matrix));
            for plane in 1..PLANES {
                next[plane] = _mm512_xor_si512(next[plane], low[plane - 1]);
            }
            for (next, &matrix) in next.iter_mut().zip(&self.incoming) {
                *next = _mm512_xor_si512(*next, multiply(incoming, matrix));
            }
            if let Some(outgoing) = outgoing {
                for (next, &matrix) in next.iter_mut().zip(&self.out) {
                    *next = _mm512_xor_si512(*next, multiply(outgoing, matrix));
                }
            }
            fingerprint = next;
            let [a, b, c] = [0, 1, 2].map(|plane| _mm512_and_si512(next[plane], mask[plane]));
            let any = _mm512_or_si512(_mm512_or_si512(a, b), c);
            _mm512_testn_epi8_mask(any, any)
        };

        let windows = starts.map(|start| start - WINDOW);
        let mut old = columns(data, &windows, 0);
        for &byte in old.as_flattened() {
            append(byte, None);
        }
        let mut first = None;
        for offset in (WINDOW..WINDOW + steps).step_by(WINDOW) {
            let new = columns(data, &windows, offset);
            for (step, (&incoming, &outgoing)) in
                new.as_flattened().iter().zip(old.as_flattened()).enumerate()
            {
                let cuts = append(incoming, Some(outgoing));
                if cuts != 0 {
                    let cut = windows[cuts.trailing_zeros() as usize] + offset + step + 1;
                    first = Some(first.map_or(cut, |first: usize| first.min(cut)));
                }
            }
            old = new;
        }
        first
    }
}

/// The matrix from a byte to one byte of its (linear) contribution to the fingerprint times x^3.
fn matrix(plane: usize, contribution: impl Fn(usize) -> u64) -> i64 {
    let mut matrix = [0u8; 8];
    for bit in 0..8 {
        let image = contribution(1 << bit) << SHIFT >> (8 * plane);
        for row in 0..8 {
            matrix[7 - row] |= ((image >> row & 1) as u8) << bit;
        }
    }
    i64::from_le_bytes(matrix)
}

/// The 64 bytes from `start` on.
#[target_feature(enable = "avx512f")]
fn load(data: &[u8], start: usize) -> __m512i {
    let bytes = &data[start..start + 64];
    // SAFETY: the slice has the 64 bytes that are read, and the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Loads 64 bytes of each lane, `offset` bytes after its start, and transposes them: first words of eight bytes
/// among eight lanes, then the bytes of such words, then words again among the eight groups of lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn columns(data: &[u8], starts: &[usize; LANES], offset: usize) -> Columns {
    let order = load(&std::array::from_fn::<u8, 64, _>(|i| (i % 8 * 8 + i / 8) as u8), 0);
    let groups: Columns = std::array::from_fn(|group| {
        let lanes = std::array::from_fn(|lane| load(data, starts[8 * group + lane] + offset));
        transpose_words(lanes).map(|words| _mm512_permutexvar_epi8(order, words))
    });
    std::array::from_fn(|word| transpose_words(groups.map(|group| group[word])))
}

/// Transposes eight times eight words of eight bytes.
#[target_feature(enable = "avx512f")]
fn transpose_words(rows: [__m512i; 8]) -> [__m512i; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let pairs = [(a, b), (c, d), (e, f), (g, h)];
    let even = pairs.map(|(x, y)| _mm512_unpacklo_epi64(x, y));
    let odd = pairs.map(|(x, y)| _mm512_unpackhi_epi64(x, y));
    let [r0, r2, r4, r6] = transpose_pairs(even);
    let [r1, r3, r5, r7] = transpose_pairs(odd);
    [r0, r1, r2, r3, r4, r5, r6, r7]
}

/// Transposes four times four pairs of words.
#[target_feature(enable = "avx512f")]
fn transpose_pairs([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let low = [_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0x88>(c, d)];
    let high = [_mm512_shuffle_i64x2::<0xdd>(a, b), _mm512_shuffle_i64x2::<0xdd>(c, d)];
    [
        _mm512_shuffle_i64x2::<0x88>(low[0], low[1]),
        _mm512_shuffle_i64x2::<0x88>(high[0], high[1]),
        _mm512_shuffle_i64x2::<0xdd>(low[0], low[1]),
        _mm512_shuffle_i64x2::<0xdd>(high[0], high[1]),
    ]
}
