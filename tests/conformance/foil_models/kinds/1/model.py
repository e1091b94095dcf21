"""One tensor of several kinds of numbers, in and out unchanged."""

import hydrofoil as foil


@foil.model(max_batch=8)
class Kinds:
    def predict(
        self,
        BOOL: foil.bool["n", "k"],
        UINT8: foil.u8["n", "k"],
        INT64: foil.i64["n", "k"],
        FP16: foil.f16["n", "k"],
        FP64: foil.f64["n", "k"],
    ) -> {
        "OUT_BOOL": foil.bool["n", "k"],
        "OUT_UINT8": foil.u8["n", "k"],
        "OUT_INT64": foil.i64["n", "k"],
        "OUT_FP16": foil.f16["n", "k"],
        "OUT_FP64": foil.f64["n", "k"],
    }:
        return {
            "OUT_BOOL": BOOL,
            "OUT_UINT8": UINT8,
            "OUT_INT64": INT64,
            "OUT_FP16": FP16,
            "OUT_FP64": FP64,
        }
