/* Serve a model from any language that can call C. Made by xtask codegen; do not edit. */

#ifndef HYDROFOIL_H
#define HYDROFOIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/*
 Raised when a function or a field changes its meaning. Added ones do not raise it.
 */
#define FOIL_ABI_VERSION 1

/*
 A dimension whose size is not declared. First among the dimensions of a batched model it is the
 batch itself.
 */
#define FOIL_ANY -1

/*
 What a call gives back.
 */
enum foil_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Done; from `foil_next`: there is a batch.
   */
  FOIL_OK = 0,
  /*
   Nothing came within the wait; ask again.
   */
  FOIL_IDLE = 1,
  /*
   The engine is done or gone: leave.
   */
  FOIL_SHUT = 2,
  /*
   An argument is null, out of range or not UTF-8.
   */
  FOIL_ERROR_ARGUMENT = -1,
  /*
   A struct's `struct_size` is not one this library knows.
   */
  FOIL_ERROR_STRUCT_SIZE = -2,
  /*
   The call does not belong here in the order of calls.
   */
  FOIL_ERROR_ORDER = -3,
  /*
   The outputs do not fit the reply slot.
   */
  FOIL_ERROR_TOO_LARGE = -4,
  /*
   The program was not started by the engine.
   */
  FOIL_ERROR_ENVIRONMENT = -5,
  /*
   The engine refused the model, left, or broke the protocol.
   */
  FOIL_ERROR_ENGINE = -6,
  /*
   A bug of this library.
   */
  FOIL_ERROR_INTERNAL = -7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum foil_status foil_status;
#else
typedef int32_t foil_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 What a tensor's elements are.
 */
enum foil_dtype
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  FOIL_BOOL = 1,
  FOIL_U8 = 2,
  FOIL_U16 = 3,
  FOIL_U32 = 4,
  FOIL_U64 = 5,
  FOIL_I8 = 6,
  FOIL_I16 = 7,
  FOIL_I32 = 8,
  FOIL_I64 = 9,
  FOIL_F16 = 10,
  FOIL_BF16 = 11,
  FOIL_F32 = 12,
  FOIL_F64 = 13,
  /*
   Elements of any bytes, of their own length each.
   */
  FOIL_BYTES = 14,
  /*
   Elements of UTF-8, of their own length each.
   */
  FOIL_STR = 15,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum foil_dtype foil_dtype;
#else
typedef uint32_t foil_dtype;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Whose fault a failure is.
 */
enum foil_failure
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   The model's: answered with 500.
   */
  FOIL_RAISED = 1,
  /*
   The caller's: answered with 400.
   */
  FOIL_INPUT_REFUSED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum foil_failure foil_failure;
#else
typedef uint32_t foil_failure;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 One model in this process. Opaque.
 */
typedef struct foil_container foil_container;

/*
 An input or output as it is declared.
 */
typedef struct foil_tensor_spec {
  /*
   `sizeof(foil_tensor_spec)`.
   */
  uintptr_t struct_size;
  /*
   UTF-8, ending in 0.
   */
  const char *name;
  /*
   A `foil_dtype`.
   */
  uint32_t dtype;
  /*
   How many dimensions.
   */
  uint32_t rank;
  /*
   Their sizes; FOIL_ANY where it is not declared.
   */
  const int64_t *dims;
} foil_tensor_spec;

/*
 A model as it is declared.
 */
typedef struct foil_model {
  /*
   `sizeof(foil_model)`.
   */
  uintptr_t struct_size;
  /*
   UTF-8, ending in 0.
   */
  const char *name;
  const struct foil_tensor_spec *inputs;
  uintptr_t input_count;
  const struct foil_tensor_spec *outputs;
  uintptr_t output_count;
  /*
   Rows of the largest batch; 0: the model takes no batches, and dims have no batch in front.
   */
  uint32_t max_batch;
  /*
   Microseconds after which a batch counts as lost; 0: 30 seconds.
   */
  uint64_t batch_timeout_us;
  /*
   Microseconds of the p99 promised; 0: none.
   */
  uint64_t slo_us;
} foil_model;

/*
 The batch in hand.
 */
typedef struct foil_batch {
  /*
   `sizeof(foil_batch)`.
   */
  uintptr_t struct_size;
  /*
   Rows of every batched input.
   */
  uint32_t rows;
  /*
   The engine's name for it, for logs.
   */
  uint64_t id;
} foil_batch;

/*
 A tensor in shared memory, valid until the batch is answered.
 */
typedef struct foil_tensor {
  /*
   `sizeof(foil_tensor)`.
   */
  uintptr_t struct_size;
  /*
   A `foil_dtype`.
   */
  uint32_t dtype;
  /*
   How many dimensions.
   */
  uint32_t rank;
  /*
   Their sizes.
   */
  const uint64_t *shape;
  /*
   The elements, row by row, at a multiple of 64 bytes; inputs may be written in place.
   */
  void *data;
  /*
   How many bytes `data` has.
   */
  uintptr_t bytes;
  /*
   FOIL_BYTES and FOIL_STR: element i is data[offsets[i]..offsets[i+1]]; else null.
   */
  const uint32_t *offsets;
  /*
   How many elements.
   */
  uintptr_t elements;
} foil_tensor;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 FOIL_ABI_VERSION of the library that is linked.
 */
uint32_t foil_abi_version(void);

/*
 Why the last call on this thread failed. Valid until the next call on this thread.
 */
const char *foil_last_error(void);

/*
 Declares the model to the engine that started this program, and joins its lane.

 # Safety
 `model` and what it points to are readable; `container` is writable.
 */
foil_status foil_open(const struct foil_model *model, struct foil_container **container);

/*
 Tells the engine that the model is loaded: batches may come.

 # Safety
 `container` came from `foil_open` and is not closed, as for every function below.
 */
foil_status foil_ready(struct foil_container *container);

/*
 Tells the engine why the model can't be served. Close and exit afterwards.

 # Safety
 As for `foil_ready`; `message` is a string ending in 0.
 */
foil_status foil_load_failed(struct foil_container *container, const char *message);

/*
 Waits for a batch, at most `wait_ms` and never more than 100 ms.

 # Safety
 As for `foil_ready`; `batch` is null or readable and writable.
 */
foil_status foil_next(struct foil_container *container, uint32_t wait_ms, struct foil_batch *batch);

/*
 Shows an input of the batch in hand, in declared order.

 # Safety
 As for `foil_ready`; `tensor` is null or readable and writable.
 */
foil_status foil_input(struct foil_container *container,
                       uintptr_t index,
                       struct foil_tensor *tensor);

/*
 Makes room for an output of numbers in the reply; write its elements to `tensor->data`.

 # Safety
 As for `foil_ready`; `shape` has `rank` sizes, `tensor` is null or readable and writable.
 */
foil_status foil_output(struct foil_container *container,
                        uintptr_t index,
                        const uint64_t *shape,
                        uint32_t rank,
                        struct foil_tensor *tensor);

/*
 Gives an output of texts or bytes: element i is values[offsets[i]..offsets[i+1]], and offsets
 has one entry more than the shape has elements. The values are copied.

 # Safety
 As for `foil_ready`; `shape` has `rank` sizes, `offsets` as many entries as said, `values` as
 many bytes as the last of them.
 */
foil_status foil_output_texts(struct foil_container *container,
                              uintptr_t index,
                              const uint64_t *shape,
                              uint32_t rank,
                              const uint32_t *offsets,
                              const void *values);

/*
 Answers the batch with the outputs given.

 # Safety
 As for `foil_ready`.
 */
foil_status foil_reply(struct foil_container *container);

/*
 Answers the batch with a failure: `kind` is a `foil_failure`, `row` the row at fault or -1.

 # Safety
 As for `foil_ready`; `message` is a string ending in 0.
 */
foil_status foil_fail(struct foil_container *container,
                      uint32_t kind,
                      const char *message,
                      int64_t row);

/*
 Leaves the lane and frees the handle; null is fine.

 # Safety
 As for `foil_ready`; the handle and every pointer got from it are dead afterwards.
 */
void foil_close(struct foil_container *container);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HYDROFOIL_H */
