//! Rows of unlike sizes, laid into one tensor: each goes to the start of its place, zeros to the rest. Pure.

use schemas::tensor::Shape;

use crate::query::types::TaskInputs;

/// What comes next in the padded tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'d> {
    Data(&'d [u8]),
    Zeros { bytes: usize },
}

/// The shape that holds every task's tensor for this input; its first size means nothing.
pub(super) fn longest(tasks: &[&TaskInputs], input: usize) -> Shape {
    let mut shape = tasks[0].tensors[input].shape.clone();
    for task in &tasks[1..] {
        for (most, &size) in shape.iter_mut().zip(&task.tensors[input].shape) {
            *most = size.max(*most);
        }
    }
    shape
}

/// Pieces, in order, of a tensor of `sizes` inside one of `padded`, which is nowhere smaller and fits a slot.
pub(super) fn lay<'d, E>(
    data: &'d [u8],
    sizes: &[u64],
    padded: &[u64],
    put: &mut impl FnMut(Piece<'d>) -> Result<(), E>,
    element_bytes: usize,
) -> Result<(), E> {
    let (Some((&size, inner)), Some((&room, inner_padded))) =
        (sizes.split_first(), padded.split_first())
    else {
        return put(Piece::Data(data));
    };
    let inner_room = bytes(inner_padded, element_bytes);
    // Sizes beside a zero are bounded by nothing.
    if inner_room == 0 {
        return Ok(());
    }
    if inner == inner_padded {
        put(Piece::Data(data))?;
    } else {
        let inner_bytes = bytes(inner, element_bytes);
        for nth in 0..size as usize {
            let part = &data[nth * inner_bytes..][..inner_bytes];
            lay(part, inner, inner_padded, put, element_bytes)?;
        }
    }
    put(Piece::Zeros { bytes: (room - size) as usize * inner_room })
}

fn bytes(sizes: &[u64], element_bytes: usize) -> usize {
    sizes.iter().fold(element_bytes, |bytes, &size| bytes.saturating_mul(size as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(data: &[u8], sizes: &[u64], padded: &[u64]) -> Vec<u8> {
        let mut into = Vec::new();
        let mut put = |piece: Piece<'_>| -> Result<(), ()> {
            match piece {
                Piece::Data(data) => into.extend_from_slice(data),
                Piece::Zeros { bytes } => into.resize(into.len() + bytes, 0),
            }
            Ok(())
        };
        assert_eq!(lay(data, sizes, padded, &mut put, 1), Ok(()));
        into
    }

    #[test]
    fn each_row_is_followed_by_zeros() {
        assert_eq!(laid(&[1, 2, 3, 4], &[2, 2], &[2, 3]), [1, 2, 0, 3, 4, 0]);
        assert_eq!(laid(&[1, 2, 3, 4], &[1, 2, 2], &[1, 3, 2]), [1, 2, 3, 4, 0, 0]);
    }

    #[test]
    fn a_rectangle_lies_in_the_corner_of_a_larger_one() {
        let padded = [1, 2, 0, 3, 4, 0, 0, 0, 0];
        assert_eq!(laid(&[1, 2, 3, 4], &[1, 2, 2], &[1, 3, 3]), padded);
    }

    #[test]
    fn what_holds_nothing_is_all_zeros_and_sizes_beside_a_zero_cost_no_time() {
        assert_eq!(laid(&[], &[2, 0], &[2, 2]), [0; 4]);
        assert_eq!(laid(&[], &[1, u64::MAX, 0, 1], &[1, u64::MAX, 0, 2]), [0; 0]);
    }

    #[test]
    fn what_is_as_large_already_is_one_piece() {
        let mut pieces = Vec::new();
        let mut put = |piece| -> Result<(), ()> {
            pieces.push(piece);
            Ok(())
        };
        assert_eq!(lay(&[1, 2, 3, 4], &[2, 2], &[2, 2], &mut put, 1), Ok(()));
        assert_eq!(pieces, [Piece::Data(&[1, 2, 3, 4]), Piece::Zeros { bytes: 0 }]);
    }
}
