//! Compact encoding of short series of numbers: each number is stored as its difference to the one before in the same
//! column, in groups of seven bits (LEB128 over zigzag).

/// Packs rows of `N` numbers.
pub(super) fn pack<const N: usize>(rows: &[[i64; N]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len() * N * 3);
    let mut last = [0_i64; N];
    for row in rows {
        for (value, last) in row.iter().zip(&mut last) {
            let delta = value.wrapping_sub(*last);
            let mut rest = ((delta << 1) ^ (delta >> 63)).cast_unsigned();
            while rest >= 0x80 {
                bytes.push((rest & 0x7f) as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            *last = *value;
        }
    }
    bytes
}

/// Decodes a series from [`pack`]. A truncated or overlong number ends the series.
pub(super) fn unpack<const N: usize>(bytes: &[u8]) -> Vec<[i64; N]> {
    let mut rows = Vec::new();
    let mut last = [0_i64; N];
    let mut rest = bytes.iter();
    while !rest.as_slice().is_empty() {
        for last in &mut last {
            let (mut value, mut shift) = (0_u64, 0);
            loop {
                let Some(byte) = rest.next().filter(|_| shift < 64) else { return rows };
                value |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
                shift += 7;
            }
            let delta = (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
            *last = last.wrapping_add(delta);
        }
        rows.push(last);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let rows = [[0, i64::MIN], [i64::MAX, -1], [5, 5], [1_700_000_000_000, 0]];
        assert_eq!(unpack::<2>(&pack(&rows)), rows);
        assert_eq!(unpack::<2>(&[]), Vec::<[i64; 2]>::new());
    }

    #[test]
    fn damage_is_no_panic() {
        assert!(unpack::<2>(&[0xff; 40]).is_empty());
        assert_eq!(unpack::<2>(&pack(&[[1, 2], [3, 4]])[..3]), [[1, 2]]);
    }

    #[test]
    fn a_series_is_small() {
        let daily: Vec<[i64; 2]> =
            (0..30).map(|day| [1_700_000_000 + day * 86_400, 1_000_000 + day * 1000]).collect();
        assert!(pack(&daily).len() < 200);
    }
}
