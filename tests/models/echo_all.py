"""Every datatype in and out unchanged."""

import hydrofoil as foil


@foil.model(max_batch=8)
class EchoAll:
    def predict(
        self,
        bool_: foil.bool["n", "k"],
        u8: foil.u8["n", "k"],
        u16: foil.u16["n", "k"],
        u32: foil.u32["n", "k"],
        u64: foil.u64["n", "k"],
        i8: foil.i8["n", "k"],
        i16: foil.i16["n", "k"],
        i32: foil.i32["n", "k"],
        i64: foil.i64["n", "k"],
        f16: foil.f16["n", "k"],
        f32: foil.f32["n", "k"],
        f64: foil.f64["n", "k"],
        raw: foil.bytes["n", "k"],
        text: foil.str["n", "k"],
    ) -> {
        "bool_": foil.bool["n", "k"],
        "u8": foil.u8["n", "k"],
        "u16": foil.u16["n", "k"],
        "u32": foil.u32["n", "k"],
        "u64": foil.u64["n", "k"],
        "i8": foil.i8["n", "k"],
        "i16": foil.i16["n", "k"],
        "i32": foil.i32["n", "k"],
        "i64": foil.i64["n", "k"],
        "f16": foil.f16["n", "k"],
        "f32": foil.f32["n", "k"],
        "f64": foil.f64["n", "k"],
        "raw": foil.bytes["n", "k"],
        "text": foil.str["n", "k"],
    }:
        return {
            "bool_": bool_, "u8": u8, "u16": u16, "u32": u32, "u64": u64,
            "i8": i8, "i16": i16, "i32": i32, "i64": i64,
            "f16": f16, "f32": f32, "f64": f64, "raw": raw, "text": text,
        }  # fmt: skip
