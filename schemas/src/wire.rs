//! Between flatbuffers and plain values: the one place that knows the generated accessors' quirks.

use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, VerifierOptions, WIPOffset};

use crate::error::SchemaError;
use crate::generated as fb;
use crate::tensor::{DType, Dim, Placement, RANK_MAX, Shape, TENSORS_MAX, TensorSpec};

/// Tight bounds for the verifier: our messages are flat and small, a hostile one may be neither.
pub(crate) fn options(apparent_bytes_max: usize) -> VerifierOptions {
    VerifierOptions {
        max_depth: 8,
        max_tables: 2 * TENSORS_MAX * (RANK_MAX + 2) + 16,
        max_apparent_size: apparent_bytes_max,
        ignore_missing_null_terminator: false,
    }
}

type Tables<'a, T> = Vector<'a, ForwardsUOffset<T>>;

pub(crate) fn count(tables: usize) -> Result<usize, SchemaError> {
    if tables > TENSORS_MAX {
        Err(SchemaError::TooManyTensors { count: tables })
    } else {
        Ok(tables)
    }
}

pub(crate) fn dtype(value: fb::DType) -> Result<DType, SchemaError> {
    let unknown = SchemaError::UnknownValue { field: "dtype", value: u64::from(value.0) };
    DType::from_wire(value.0).ok_or(unknown)
}

pub(crate) fn read_placements(
    from: Option<Tables<'_, fb::Placement<'_>>>,
    into: &mut Vec<Placement>,
) -> Result<(), SchemaError> {
    into.clear();
    let Some(tables) = from else { return Ok(()) };
    count(tables.len())?;
    for table in tables {
        into.push(read_placement(table)?);
    }
    Ok(())
}

fn read_placement(table: fb::Placement<'_>) -> Result<Placement, SchemaError> {
    if table.location() != fb::Location::Host {
        let value = u64::from(table.location().0);
        return Err(SchemaError::UnknownValue { field: "location", value });
    }
    let rank = table.shape().map_or(0, |shape| shape.len());
    if rank > RANK_MAX {
        return Err(SchemaError::RankTooHigh { rank });
    }
    Ok(Placement {
        dtype: dtype(table.dtype())?,
        shape: table.shape().into_iter().flatten().collect::<Shape>(),
        offset: table.offset(),
        len: table.len(),
        offsets_at: table.offsets_at(),
    })
}

pub(crate) fn write_placement<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    placement: &Placement,
) -> WIPOffset<fb::Placement<'a>> {
    let shape = builder.create_vector(&placement.shape);
    fb::Placement::create(
        builder,
        &fb::PlacementArgs {
            dtype: fb::DType(placement.dtype.wire()),
            shape: Some(shape),
            offset: placement.offset,
            len: placement.len,
            offsets_at: placement.offsets_at,
            location: fb::Location::Host,
        },
    )
}

pub(crate) fn read_specs(
    from: Option<Tables<'_, fb::TensorSpec<'_>>>,
) -> Result<Vec<TensorSpec>, SchemaError> {
    let Some(tables) = from else { return Ok(Vec::new()) };
    count(tables.len())?;
    tables.iter().map(read_spec).collect()
}

fn read_spec(table: fb::TensorSpec<'_>) -> Result<TensorSpec, SchemaError> {
    let rank = table.dims().map_or(0, |dims| dims.len());
    if rank > RANK_MAX {
        return Err(SchemaError::RankTooHigh { rank });
    }
    Ok(TensorSpec {
        name: table.name().ok_or(SchemaError::Missing("name"))?.to_owned(),
        dtype: dtype(table.dtype())?,
        dims: table.dims().into_iter().flatten().map(read_dim).collect::<Result<_, _>>()?,
    })
}

fn read_dim(dim: fb::Dim<'_>) -> Result<Dim, SchemaError> {
    match dim.kind() {
        fb::DimKind::Fixed => Ok(Dim::Fixed(dim.size())),
        fb::DimKind::Batch => Ok(Dim::Batch),
        fb::DimKind::Variable => Ok(Dim::Variable),
        fb::DimKind(value) => {
            Err(SchemaError::UnknownValue { field: "dim", value: u64::from(value) })
        }
    }
}

pub(crate) fn write_spec<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    spec: &TensorSpec,
) -> WIPOffset<fb::TensorSpec<'a>> {
    let dims: Vec<_> = spec.dims.iter().map(|dim| write_dim(builder, *dim)).collect();
    let dims = builder.create_vector(&dims);
    let name = builder.create_string(&spec.name);
    let dtype = fb::DType(spec.dtype.wire());
    let args = fb::TensorSpecArgs { name: Some(name), dtype, dims: Some(dims) };
    fb::TensorSpec::create(builder, &args)
}

fn write_dim<'a>(builder: &mut FlatBufferBuilder<'a>, dim: Dim) -> WIPOffset<fb::Dim<'a>> {
    let (kind, size) = match dim {
        Dim::Fixed(size) => (fb::DimKind::Fixed, size),
        Dim::Batch => (fb::DimKind::Batch, 0),
        Dim::Variable => (fb::DimKind::Variable, 0),
    };
    fb::Dim::create(builder, &fb::DimArgs { kind, size })
}
