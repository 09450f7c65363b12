//! Content-defined chunking with exactly restic's boundaries (Rabin fingerprints over the last 64 bytes).
//!
//! Restic advances byte by byte. Here the range in question is divided into lanes that advance side by side,
//! because whether a chunk may end at a position depends on nothing but the 64 bytes before it.

#[cfg(target_arch = "x86_64")]
mod simd;

use crate::error::{Error, Result};

/// Smallest chunk in bytes, except for the last one of a stream.
pub const MIN_SIZE: usize = 512 << 10;
/// Mean distance in bytes between possible cuts, counted from [`MIN_SIZE`] on; a power of two.
pub const AVERAGE_SIZE: usize = 1 << 20;
/// Largest chunk in bytes.
pub const MAX_SIZE: usize = 8 << 20;

/// Degree of the polynomials that restic and rustic generate.
const DEGREE: u32 = 53;
/// Bytes that a fingerprint covers.
const WINDOW: usize = 64;
/// Lanes of the portable search: enough to hide the latency of table lookups, few enough for registers.
const LANES: usize = 4;
/// Steps of a lane in one block of the portable search. A block is searched to its end even if it holds an
/// early cut, but each lane first has to process a window: this balances the two.
const LANE_STEPS: usize = 4096;

/// The result of [`Chunker::find_cut`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The length of the chunk.
    At(usize),
    /// No cut within the data: call again with more bytes and the present length as `scanned`. At the end of the
    /// stream, the remaining data is the last chunk.
    NeedMore,
}

/// Finds chunk boundaries for one polynomial. Immutable: build it once and share it.
#[derive(Debug)]
pub struct Chunker {
    tables: Box<Tables>,
    #[cfg(target_arch = "x86_64")]
    simd: Option<simd::Search>,
}

/// The contributions of the 256 values of a byte to the fingerprint.
#[derive(Debug)]
struct Tables {
    /// Brings a fingerprint that was shifted left by a byte below x^53 again; the index is its topmost byte.
    modulo: [u64; 256],
    /// Removes the byte that leaves the window, after the shift.
    out: [u64; 256],
}

impl Chunker {
    /// Prepares the search for the `chunker_polynomial` of a repository's configuration.
    ///
    /// # Errors
    /// If the degree is not 53; restic makes no others.
    pub fn new(polynomial: u64) -> Result<Self> {
        if polynomial.checked_ilog2() != Some(DEGREE) {
            return Err(Error::repository(format!(
                "the repository's configuration has an invalid chunker polynomial: {polynomial:x}"
            ))
            .hint("a polynomial of degree 53 is expected; create the repository with `restic init` or this program"));
        }
        let tables = Box::new(Tables::new(polynomial));
        Ok(Self {
            #[cfg(target_arch = "x86_64")]
            simd: simd::Search::new(&tables),
            tables,
        })
    }

    /// Looks for the next cut in `data`, which begins at the start of a chunk. `scanned` is the number of
    /// bytes that earlier calls have searched: 0 at first.
    pub fn find_cut(&self, data: &[u8], scanned: usize) -> Cut {
        let end = data.len().min(MAX_SIZE);
        let from = scanned.max(MIN_SIZE - 1);
        if from < end
            && let Some(at) = self.search(data, from, end)
        {
            return Cut::At(at);
        }
        if end == MAX_SIZE { Cut::At(MAX_SIZE) } else { Cut::NeedMore }
    }

    /// The first possible cut after `from` and not after `end`.
    fn search(&self, data: &[u8], from: usize, end: usize) -> Option<usize> {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = &self.simd
            && end - from >= simd::WORTHWHILE
        {
            return blocks(from, end, simd::BLOCK, |from, end| simd.search_block(data, from, end));
        }
        blocks(from, end, LANES * LANE_STEPS, |from, end| self.tables.search_block(data, from, end))
    }
}

/// Calls `search` for consecutive blocks of at most `limit` bytes until it finds a cut. The blocks are
/// about equally long, so that none is too short for the lanes.
fn blocks(
    from: usize,
    end: usize,
    limit: usize,
    search: impl Fn(usize, usize) -> Option<usize>,
) -> Option<usize> {
    let size = (end - from).div_ceil((end - from).div_ceil(limit));
    (from..end).step_by(size).find_map(|from| search(from, end.min(from + size)))
}

/// Where each of `N` lanes of the given length starts, so that together they cover `from..end`. Neighbours overlap
/// unless the range is exactly as long as the lanes together.
fn lane_starts<const N: usize>(from: usize, end: usize, steps: usize) -> [usize; N] {
    std::array::from_fn(|lane| from + lane * (end - from - steps) / (N - 1))
}

impl Tables {
    fn new(polynomial: u64) -> Self {
        let modulo = std::array::from_fn(|top| {
            let shifted = (top as u64) << DEGREE;
            let rest = (DEGREE..DEGREE + 8).rev().fold(shifted, |rest, bit| match rest >> bit & 1 {
                1 => rest ^ polynomial << (bit - DEGREE),
                _ => rest,
            });
            shifted ^ rest
        });
        let mut tables = Self { modulo, out: std::array::from_fn(|byte| byte as u64) };
        for _ in 0..WINDOW {
            tables.out = tables.out.map(|value| tables.append(value, 0));
        }
        tables
    }

    /// The fingerprint of the bytes of `fingerprint` followed by `byte`.
    #[inline(always)]
    fn append(&self, fingerprint: u64, byte: u8) -> u64 {
        fingerprint << 8 ^ u64::from(byte) ^ self.modulo[usize::from((fingerprint >> (DEGREE - 8)) as u8)]
    }

    /// The first possible cut after `from` and not after `end`, with [`LANES`] lanes side by side.
    fn search_block(&self, data: &[u8], from: usize, end: usize) -> Option<usize> {
        let steps = (end - from).div_ceil(LANES);
        let starts = lane_starts::<LANES>(from, end, steps);
        let incoming = starts.map(|start| &data[start..start + steps]);
        let outgoing = starts.map(|start| &data[start - WINDOW..start - WINDOW + steps]);
        let mut fingerprints =
            starts.map(|start| data[start - WINDOW..start].iter().fold(0, |f, &byte| self.append(f, byte)));
        let mut first = None;
        for step in 0..steps {
            for lane in 0..LANES {
                let without_old = self.out[usize::from(outgoing[lane][step])];
                fingerprints[lane] = self.append(fingerprints[lane], incoming[lane][step]) ^ without_old;
            }
            for lane in 0..LANES {
                if fingerprints[lane] & (AVERAGE_SIZE as u64 - 1) == 0 {
                    let cut = starts[lane] + step + 1;
                    first = Some(first.map_or(cut, |first: usize| first.min(cut)));
                }
            }
        }
        first
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustic_cdc::{Rabin64, RollingHash64};

    use super::*;

    /// The one in the examples of restic's documentation, three random irreducible ones, and the extremes.
    const POLYNOMIALS: [u64; 6] = [
        0x3d_a335_8b4d_c173,
        0x33_5a90_f27b_aaf9,
        0x37_1070_7a8e_fdeb,
        0x28_cd22_9190_2797,
        0x20_0000_0000_0047,
        0x3f_ffff_ffff_ffff,
    ];

    /// Fast and slow search of each polynomial; the same twice on processors without the instructions.
    fn chunkers(polynomial: u64) -> [Chunker; 2] {
        let fast = Chunker::new(polynomial).unwrap();
        #[allow(unused_mut)] // changed on x86_64 only
        let mut portable = Chunker::new(polynomial).unwrap();
        #[cfg(target_arch = "x86_64")]
        {
            portable.simd = None;
        }
        [fast, portable]
    }

    /// Restic's loop, byte by byte: the lengths of the chunks.
    fn serial(polynomial: u64, data: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        let mut rest = data;
        let mut rabin = Rabin64::new_with_polynom(6, &polynomial);
        while !rest.is_empty() {
            rabin.reset();
            rabin.slide(1);
            let skipped = rest.len().min(MIN_SIZE - WINDOW);
            let mut length = skipped;
            for &byte in &rest[skipped..] {
                rabin.slide(byte);
                length += 1;
                let possible = rabin.hash & (AVERAGE_SIZE as u64 - 1) == 0;
                if possible && length >= MIN_SIZE || length == MAX_SIZE {
                    break;
                }
            }
            lengths.push(length);
            rest = &rest[length..];
        }
        lengths
    }

    /// The lengths of the chunks if the data arrives in pieces of the sizes in `pieces`, over and over.
    fn chunked(chunker: &Chunker, data: &[u8], pieces: &[usize]) -> Vec<usize> {
        let mut pieces = pieces.iter().cycle();
        let (mut lengths, mut start, mut end, mut scanned) = (Vec::new(), 0, 0, 0);
        while start < data.len() {
            match chunker.find_cut(&data[start..end], scanned) {
                Cut::At(length) => {
                    lengths.push(length);
                    (start, scanned) = (start + length, 0);
                }
                Cut::NeedMore if end == data.len() => {
                    lengths.push(end - start);
                    start = end;
                }
                Cut::NeedMore => {
                    scanned = end - start;
                    end = data.len().min(end + pieces.next().unwrap());
                }
            }
        }
        lengths
    }

    /// Reproducible noise (xorshift64*).
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn assert_same(polynomial: u64, data: &[u8], pieces: &[usize]) {
        let expected = serial(polynomial, data);
        for chunker in chunkers(polynomial) {
            let simd = cfg!(target_arch = "x86_64") && format!("{chunker:?}").contains("simd: Some");
            assert_eq!(chunked(&chunker, data, pieces), expected, "{polynomial:x}, {pieces:?}, SIMD: {simd}");
        }
    }

    /// A fingerprint by definition: the remainder of a long division, bit by bit.
    fn remainder(polynomial: u64, bytes: &[u8]) -> u64 {
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u64::from(byte >> bit & 1))).fold(
            0,
            |rest, bit| {
                let rest = rest << 1 | bit;
                if rest >> DEGREE == 1 { rest ^ polynomial } else { rest }
            },
        )
    }

    #[test]
    fn fingerprints_follow_the_definition() {
        let data = noise(9, 200);
        for polynomial in POLYNOMIALS {
            let tables = Tables::new(polynomial);
            let mut fingerprint = data[..WINDOW].iter().fold(0, |f, &byte| tables.append(f, byte));
            for (at, window) in data.windows(WINDOW).enumerate() {
                assert_eq!(fingerprint, remainder(polynomial, window), "{polynomial:x} at {at}");
                if let Some(&byte) = data.get(at + WINDOW) {
                    fingerprint = tables.append(fingerprint, byte) ^ tables.out[usize::from(data[at])];
                }
            }
        }
    }

    #[test]
    fn cuts_are_those_of_restic() {
        for (seed, polynomial) in (1..).zip(POLYNOMIALS) {
            assert_same(polynomial, &noise(seed, 5 << 20), &[1 << 20]);
        }
        let text: Vec<u8> =
            (0..400_000).flat_map(|i| format!("{i}\tname {}\n", i * 7919_u64 % 1000).into_bytes()).collect();
        assert_same(POLYNOMIALS[0], &text, &[65_536]);
    }

    #[test]
    fn pieces_of_any_size_give_the_same_cuts() {
        let data = noise(5, 5 << 20);
        for pieces in [
            &[4096][..],
            &[1, 63, 64, 65],
            &[2047, 2048, 2049],
            &[100_003],
            &[61_440, 61_441, 65_536],
            &[usize::MAX / 2],
        ] {
            assert_same(POLYNOMIALS[1], &data, pieces);
        }
    }

    #[test]
    fn repetitive_data_is_cut_at_the_limits() {
        // The fingerprint of zeros is zero, which is a cut as soon as one is allowed.
        assert_same(POLYNOMIALS[0], &vec![0; 2 * MIN_SIZE + 1], &[65_536]);
        // Without any cut the largest size ends the chunk.
        let ones = vec![1; MAX_SIZE + MIN_SIZE];
        assert_eq!(serial(POLYNOMIALS[0], &ones), [MAX_SIZE, MIN_SIZE]);
        assert_same(POLYNOMIALS[0], &ones, &[1 << 20]);
        for period in [3, 64, 1000] {
            let repeated: Vec<u8> =
                noise(period, period as usize).into_iter().cycle().take(3 << 20).collect();
            assert_same(POLYNOMIALS[2], &repeated, &[300_000]);
        }
    }

    #[test]
    fn a_cut_is_found_wherever_it_lies() {
        // A window of zeros in noise is a cut at its end: around the smallest size, blocks and lanes.
        let original = noise(3, 600 << 10);
        for at in [
            MIN_SIZE - 1,
            MIN_SIZE,
            MIN_SIZE + 1,
            MIN_SIZE + 63,
            MIN_SIZE + 64,
            MIN_SIZE + 959,
            MIN_SIZE + 960,
            MIN_SIZE + 16_383,
            MIN_SIZE + 61_439,
            MIN_SIZE + 61_440,
            MIN_SIZE + 61_441,
            600 << 10,
        ] {
            let mut data = original.clone();
            data[at - WINDOW..at].fill(0);
            if let Some(byte) = data.get_mut(at) {
                *byte |= 1;
            }
            for end in [at, at + 1, at + 100, data.len()] {
                assert_same(POLYNOMIALS[3], &data[..end.min(original.len())], &[usize::MAX / 2]);
            }
            let expected = if at < MIN_SIZE { original.len() } else { at };
            assert_eq!(serial(POLYNOMIALS[3], &data)[0], expected);
        }
    }

    #[test]
    fn the_first_of_several_cuts_counts() {
        // In both searches a later lane comes to the second cut before the first lane comes to the first.
        let mut data = noise(7, 600 << 10);
        for at in [MIN_SIZE + 3000, MIN_SIZE + 5000] {
            data[at - WINDOW..at].fill(0);
        }
        assert_eq!(serial(POLYNOMIALS[0], &data)[0], MIN_SIZE + 3000);
        assert_same(POLYNOMIALS[0], &data, &[usize::MAX / 2]);
    }

    #[test]
    fn sizes_around_the_limits() {
        let data = noise(11, MIN_SIZE + 4200);
        for length in [
            0,
            1,
            64,
            MIN_SIZE - 1,
            MIN_SIZE,
            MIN_SIZE + 1,
            MIN_SIZE + 2047,
            MIN_SIZE + 2048,
            MIN_SIZE + 4096,
            MIN_SIZE + 4097,
        ] {
            assert_same(POLYNOMIALS[0], &data[..length], &[usize::MAX / 2]);
        }
        let chunker = Chunker::new(POLYNOMIALS[0]).unwrap();
        assert_eq!(chunker.find_cut(&[], 0), Cut::NeedMore);
        let long = vec![1; MAX_SIZE + 5];
        assert_eq!(chunker.find_cut(&long[..MAX_SIZE - 1], 0), Cut::NeedMore);
        assert_eq!(chunker.find_cut(&long, MAX_SIZE - 1), Cut::At(MAX_SIZE));
    }

    #[test]
    fn polynomials_of_another_degree_are_refused() {
        for polynomial in [0, 1, 0x1f_ffff_ffff_ffff, 0x40_0000_0000_0001, u64::MAX] {
            assert!(Chunker::new(polynomial).is_err(), "{polynomial:x}");
        }
    }
}
