//! Arrays over slots in a model's hands: inputs viewed through every protocol, outputs written in place, both kept.

use std::collections::HashSet;

use harness::engine::{Engine, model};
use harness::tensors::rows;
use serde_json::json;

// What the model `in_place` is asked for.
const PLAIN: f32 = 0.0;
const KEEP: f32 = 1.0;
const HUGE: f32 = 2.0;
const UNKNOWN: f32 = 3.0;
const TWICE: f32 = 4.0;
const OTHER: f32 = 5.0;
const SWAP: f32 = 6.0;
const THREAD: f32 = 7.0;
const NEGATIVE: f32 = 8.0;
const TURNED: f32 = 9.0;
/// The most rows the model takes: its slot has room for each output once.
const FULL: usize = 16;

fn ask(engine: &Engine, how: f32, number: f32) -> harness::Response {
    engine.infer("in_place", &rows(&[[how, number]]))
}

#[test]
fn outputs_are_written_in_place_and_kept_ones_never_change() {
    for lane in ["memfd", "posix"] {
        let engine = Engine::start(&[&model("in_place.py"), "--lane", lane], 1);
        let mut places = HashSet::new();
        for number in 0..20_u8 {
            let answer = ask(&engine, PLAIN, number.into());
            assert_eq!(answer.output(0), json!([0.0, 2.0 * f32::from(number)]));
            places.insert(answer.output(1).to_string());
        }
        assert!(places.len() <= 2, "the same two slots over and over: {places:?}");
        for number in 0..20_u8 {
            let answer = ask(&engine, KEEP, number.into());
            assert_eq!(answer.output(0), json!([2.0, 2.0 * f32::from(number)]), "{lane}");
            assert_eq!(answer.output(2), json!([0]), "kept views are frozen");
        }
        assert_eq!(ask(&engine, PLAIN, 9.0).output(2), json!([0]));
        assert_eq!(ask(&engine, OTHER, 9.0).output(0), json!([11.0, 19.0]), "another array");
    }
}

#[test]
fn a_full_batch_may_return_other_arrays_than_it_was_shown() {
    let engine = Engine::start(&[&model("in_place.py")], 1);
    let answer = engine.infer("in_place", &rows(&[[OTHER, 3.0]; FULL]));
    assert_eq!(answer.output(0), json!([[11.0, 7.0]; FULL].concat()));
    let answer = engine.infer("in_place", &rows(&[[SWAP, 3.0]; FULL]));
    assert_eq!(answer.output(0), json!([[6.0, 3.0]; FULL].concat()), "y is what was written as z");
    assert_eq!(answer.output(3), json!([[12.0, 6.0]; FULL].concat()), "z is what was written as y");
}

#[test]
fn outputs_whose_rows_are_not_in_one_piece_are_brought_into_one() {
    let engine = Engine::start(&[&model("in_place.py")], 1);
    let answer = engine.infer("in_place", &rows(&[[TURNED, 3.0], [TURNED, 5.0]]));
    let turned = json!([18.0, 18.0, 6.0, 10.0]);
    assert_eq!(answer.output(0), turned, "of the very array that was shown");
    assert_eq!(answer.output(3), json!([9.0, 3.0, 9.0, 5.0]), "and of another one");
}

#[test]
fn room_that_cannot_be_is_refused_with_a_sentence_and_the_model_goes_on() {
    let engine = Engine::start(&[&model("in_place.py")], 1);
    for (how, says) in [
        (HUGE, "limits.slot_bytes_max"),
        (UNKNOWN, "there is no output 'unknown'"),
        (THREAD, "the thread that runs predict"),
        (NEGATIVE, "(1, -1) is no shape"),
        (TWICE, "has its array already"),
    ] {
        let answer = ask(&engine, how, 1.0);
        assert_eq!(answer.status, 500);
        assert!(answer.error().contains(says), "{}", answer.error());
    }
    assert_eq!(ask(&engine, PLAIN, 1.0).output(0), json!([0.0, 2.0]));
}

#[test]
fn inputs_kept_through_any_protocol_never_change() {
    let engine = Engine::start(&[&model("keeps.py")], 1);
    for number in 0..60 {
        let input = json!({
            "name": "x", "shape": [1, 64], "datatype": "FP32", "data": vec![f64::from(number); 64]
        });
        let answer = engine.infer("keeps", &json!({ "inputs": [input] }).to_string());
        assert_eq!(answer.output(0), json!([0]));
        if number == 0 {
            println!("views: {}; those not named were skipped, not installed", answer.output(1));
        }
    }
}
