// A model in C++: counts the words of each text, and gives the texts back in capitals.
//
//     c++ -std=c++17 -O2 -I shm-rpc/include words.cpp -L target/release -lshm_rpc -o words
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil.h"

namespace {

foil_status check(foil_status status) {
  if (status < 0) throw std::runtime_error(foil_last_error());
  return status;
}

using Container = std::unique_ptr<foil_container, decltype(&foil_close)>;

Container open_container(const foil_model &model) {
  foil_container *container = nullptr;
  check(foil_open(&model, &container));
  return Container(container, &foil_close);
}

int64_t count_words(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  for (unsigned char c : text) {
    const bool letter = !std::isspace(c);
    words += letter && !inside;
    inside = letter;
  }
  return words;
}

void predict(foil_container *container) {
  foil_tensor texts{};
  texts.struct_size = sizeof texts;
  check(foil_input(container, 0, &texts));
  foil_tensor counts{};
  counts.struct_size = sizeof counts;
  check(foil_output(container, 0, texts.shape, texts.rank, &counts));

  const auto *values = static_cast<const char *>(texts.data);
  auto *words = static_cast<int64_t *>(counts.data);
  std::string capitals(values, texts.bytes);
  for (char &c : capitals) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (size_t i = 0; i < texts.elements; i++) {
    const size_t begin = texts.offsets[i], end = texts.offsets[i + 1];
    words[i] = count_words({values + begin, end - begin});
  }
  check(foil_output_texts(container, 1, texts.shape, texts.rank, texts.offsets, capitals.data()));
  check(foil_reply(container));
}

void serve() {
  const int64_t dims[] = {FOIL_ANY};
  const foil_tensor_spec text{sizeof text, "text", FOIL_STR, 1, dims};
  const foil_tensor_spec outputs[] = {{sizeof text, "words", FOIL_I64, 1, dims},
                                      {sizeof text, "capitals", FOIL_STR, 1, dims}};
  foil_model model{};
  model.struct_size = sizeof model;
  model.name = "words";
  model.inputs = &text;
  model.input_count = 1;
  model.outputs = outputs;
  model.output_count = 2;
  model.max_batch = 16;

  const Container container = open_container(model);
  check(foil_ready(container.get()));
  for (;;) {
    foil_batch batch{};
    batch.struct_size = sizeof batch;
    const foil_status status = check(foil_next(container.get(), 100, &batch));
    if (status == FOIL_SHUT) return;
    if (status == FOIL_OK) predict(container.get());
  }
}

}  // namespace

int main() try {
  serve();
  return EXIT_SUCCESS;
} catch (const std::exception &error) {
  std::fprintf(stderr, "%s\n", error.what());
  return EXIT_FAILURE;
}
