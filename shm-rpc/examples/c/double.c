/* A model in C: doubles every number of a row.
 *
 *     cc -O2 -I shm-rpc/include double.c -L target/release -lshm_rpc -o double
 */
#include <stdio.h>
#include <stdlib.h>

#include "hydrofoil.h"

static int give_up(const char *doing) {
  fprintf(stderr, "%s: %s\n", doing, foil_last_error());
  return EXIT_FAILURE;
}

/* The outputs of one batch; a row that is not finite is the caller's mistake. */
static foil_status predict(foil_container *container) {
  foil_tensor x = {.struct_size = sizeof x};
  foil_tensor y = {.struct_size = sizeof y};
  foil_status status = foil_input(container, 0, &x);
  if (status < 0) return status;
  status = foil_output(container, 0, x.shape, x.rank, &y);
  if (status < 0) return status;

  const float *from = x.data;
  float *to = y.data;
  size_t columns = x.elements / (x.shape[0] ? x.shape[0] : 1);
  for (size_t i = 0; i < x.elements; i++) {
    if (from[i] != from[i]) {
      return foil_fail(container, FOIL_INPUT_REFUSED, "NaN has no double", (int64_t)(i / columns));
    }
    to[i] = 2 * from[i];
  }
  return foil_reply(container);
}

int main(void) {
  const int64_t dims[] = {FOIL_ANY, 4};
  const foil_tensor_spec x = {sizeof x, "x", FOIL_F32, 2, dims};
  const foil_tensor_spec y = {sizeof y, "y", FOIL_F32, 2, dims};
  const foil_model model = {.struct_size = sizeof model,
                            .name = "double",
                            .inputs = &x,
                            .input_count = 1,
                            .outputs = &y,
                            .output_count = 1,
                            .max_batch = 32};
  foil_container *container = NULL;
  if (foil_open(&model, &container) < 0) return give_up("open");
  if (foil_ready(container) < 0) return give_up("ready");

  for (;;) {
    foil_batch batch = {.struct_size = sizeof batch};
    foil_status status = foil_next(container, 100, &batch);
    if (status == FOIL_SHUT) break;
    if (status == FOIL_IDLE) continue;
    if (status < 0 || predict(container) < 0) return give_up("serve");
  }
  foil_close(container);
  return EXIT_SUCCESS;
}
