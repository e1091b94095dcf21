// The element-wise parts of embedding_mlp, compiled by NVRTC for the device that is there.

// out[row] = the mean of the embeddings that the row's ids name. Ids outside the table, -1 for padding among them, count
// for nothing; a row of none is zeros. One block a row.
#define POOL(NAME, ID)                                                                            \
    extern "C" __global__ void NAME(const ID* ids, const float* table, float* out, int per_row,   \
                                    int width, long long vocabulary) {                            \
        const ID* mine = ids + (size_t)blockIdx.x * per_row;                                      \
        int named = 0;                                                                            \
        for (int at = 0; at < per_row; ++at)                                                      \
            named += mine[at] >= 0 && mine[at] < vocabulary;                                      \
        const float share = named > 0 ? 1.0f / named : 0.0f;                                      \
        for (int column = threadIdx.x; column < width; column += blockDim.x) {                    \
            float sum = 0.0f;                                                                     \
            for (int at = 0; at < per_row; ++at) {                                                \
                const ID id = mine[at];                                                           \
                if (id >= 0 && id < vocabulary) sum += table[(size_t)id * width + column];        \
            }                                                                                     \
            out[(size_t)blockIdx.x * width + column] = sum * share;                               \
        }                                                                                         \
    }

POOL(pool_i32, int)
POOL(pool_i64, long long)

// x += bias, row by row; below zero is zero if asked for.
extern "C" __global__ void bias_relu(float* x, const float* bias, int width, long long elements, int relu) {
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= elements) return;
    const float sum = x[at] + bias[at % width];
    x[at] = relu && sum < 0.0f ? 0.0f : sum;
}
