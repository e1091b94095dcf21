use super::*;
use proptest::prelude::*;
use smallvec::smallvec;

fn placed() -> Placement {
    Placement { dtype: DType::F32, shape: smallvec![2, 3], offset: 4096, len: 24, offsets_at: 0 }
}

#[test]
fn every_dtype_has_its_names_and_wire_value() {
    for dtype in DType::ALL {
        assert_eq!(DType::from_wire(dtype.wire()), Some(dtype));
        assert_eq!(DType::from_name(dtype.name()), Some(dtype));
        let named = DType::from_oip(dtype.oip_name());
        assert_eq!(named.map(DType::oip_name), Some(dtype.oip_name()));
    }
    assert_eq!(DType::from_oip("BYTES"), Some(DType::Bytes));
    assert_eq!(DType::from_wire(0), None);
}

#[test]
fn a_tensor_must_lie_behind_the_header_and_inside_the_slot() {
    assert_eq!(placed().check(8192), Ok(()));
    assert_eq!(placed().check(4096 + 24), Ok(()));
    let outside = |slot_bytes| Err(SchemaError::OutsideSlot { slot_bytes });
    assert_eq!(placed().check(4096 + 23), outside(4096 + 23));
    assert_eq!(Placement { offset: 0, ..placed() }.check(8192), outside(8192));
    let far = u32::MAX - 63;
    assert_eq!(Placement { offset: far, ..placed() }.check(u32::MAX), Ok(()));
    assert_eq!(Placement { offset: far, ..placed() }.check(8192), outside(8192));
}

#[test]
fn a_tensor_is_as_long_as_its_shape_says() {
    let wrong = Placement { len: 20, ..placed() };
    assert_eq!(wrong.check(8192), Err(SchemaError::WrongLength { expected: 24, found: 20 }));
    let huge = Placement { shape: smallvec![u64::MAX, 2], ..placed() };
    assert_eq!(huge.check(8192), Err(SchemaError::ShapeTooLarge));
    let unaligned = Placement { offset: 4100, ..placed() };
    assert_eq!(unaligned.check(8192), Err(SchemaError::Misaligned));
    let deep = Placement { shape: smallvec![1; 9], len: 4, ..placed() };
    assert_eq!(deep.check(8192), Err(SchemaError::RankTooHigh { rank: 9 }));
}

#[test]
fn offsets_rise_from_zero_to_the_end_of_the_values() {
    let table = |offsets: &[u32]| -> Vec<u8> {
        offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect()
    };
    assert_eq!(check_offsets(&table(&[0, 1, 1, 5]), 3, 5), Ok(vec![0, 1, 1, 5]));
    let bad = Err(SchemaError::BadOffsets { values_bytes: 5 });
    assert_eq!(check_offsets(&table(&[0, 4, 1, 5]), 3, 5), bad, "falling");
    assert_eq!(check_offsets(&table(&[0, 1, 5]), 3, 5), bad, "too few");
    assert_eq!(check_offsets(&table(&[0, 1, 1, 6]), 3, 5), bad, "beyond the values");
    assert_eq!(check_offsets(&table(&[1, 1, 1, 5]), 3, 5), bad, "not from zero");
}

proptest! {
    #[test]
    fn what_a_layout_packs_passes_the_check(
        tensors in prop::collection::vec((0usize..15, prop::collection::vec(0u64..20, 0..4), 0u32..999), 1..10)
    ) {
        let mut layout = Layout::new();
        let mut placements = Vec::new();
        for (dtype, shape, values) in tensors {
            let dtype = DType::ALL[dtype];
            let shape = Shape::from_slice(&shape);
            placements.push(match dtype.size_bytes() {
                Some(_) => layout.fixed(dtype, shape),
                None => layout.variable(dtype, shape, values),
            }.unwrap());
        }
        for placement in placements {
            prop_assert_eq!(placement.check(layout.total_bytes()), Ok(()));
        }
    }

    #[test]
    fn no_placement_makes_the_check_panic(
        dtype in 0usize..15, shape in prop::collection::vec(any::<u64>(), 0..12),
        offset: u32, len: u32, offsets_at: u32, slot_bytes: u32
    ) {
        let shape = Shape::from_slice(&shape);
        let placement = Placement { dtype: DType::ALL[dtype], shape, offset, len, offsets_at };
        let checked = placement.check(slot_bytes);
        let inside = u64::from(offset) + u64::from(len) <= u64::from(slot_bytes);
        prop_assert!(checked.is_err() || inside);
    }
}

/// Every shape of up to three of these sizes, against arithmetic too wide to overflow.
#[test]
fn a_shape_product_is_right_or_refused_for_every_small_and_extreme_size() {
    let sizes = [0, 1, 2, 3, 1 << 31, 1 << 32, 1 << 33, 1 << 63, u64::MAX];
    let product = |shape: &[u64]| {
        let mut product = 1_u128;
        for &size in shape {
            // Three sizes below 2^64 need 192 bits: past 128 it is too large whatever follows but 0.
            product = product.saturating_mul(size.into());
        }
        u64::try_from(product).ok()
    };
    for a in sizes {
        assert_eq!(elements(&[a]), Some(a));
        for b in sizes {
            assert_eq!(elements(&[a, b]), product(&[a, b]), "{a} {b}");
            for c in sizes {
                let found = elements(&[a, b, c]);
                // An overflow before a zero may be refused: no such tensor exists either way.
                let overflows_first = c == 0 && product(&[a, b]).is_none();
                assert!(found == product(&[a, b, c]) || overflows_first, "{a} {b} {c}: {found:?}");
            }
        }
    }
}

#[test]
fn no_elements_are_none_however_large_the_other_sizes() {
    assert_eq!(elements(&[2, 1 << 63, 0]), Some(0));
    assert_eq!(elements(&[2, 1 << 63]), None);
    assert_eq!(elements(&[]), Some(1));
}
