//! The batch sizes that graphs are captured for: powers of two, and the largest batch. Pure.

/// 1, 2, 4, … and `max_batch` itself. A batch runs in the smallest that holds it, at most twice its rows of work.
pub fn buckets(max_batch: u32) -> Vec<u32> {
    let powers = (0..u32::BITS).map(|bit| 1_u32 << bit).take_while(|&size| size < max_batch);
    powers.chain([max_batch]).collect()
}

/// Which of the buckets holds so many rows; None: none does.
pub fn bucket_of(buckets: &[u32], rows: u32) -> Option<usize> {
    let at = buckets.partition_point(|&size| size < rows);
    (at < buckets.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two_up_to_the_largest_batch_which_is_one_itself() {
        assert_eq!(buckets(1), [1]);
        assert_eq!(buckets(2), [1, 2]);
        assert_eq!(buckets(48), [1, 2, 4, 8, 16, 32, 48]);
        assert_eq!(buckets(64), [1, 2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn a_batch_goes_into_the_smallest_bucket_that_holds_it() {
        let sizes = buckets(48);
        for rows in 1..=48 {
            let at = bucket_of(&sizes, rows).expect("it fits the largest");
            assert!(sizes[at] >= rows && (at == 0 || sizes[at - 1] < rows), "{rows}");
            assert!(sizes[at] < 2 * rows, "{rows} rows are padded to {}", sizes[at]);
        }
        assert_eq!(bucket_of(&sizes, 49), None);
    }
}
