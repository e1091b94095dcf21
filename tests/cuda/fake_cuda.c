/* A CUDA driver, cuBLAS and NVRTC that compute on the CPU: what a container with a GPU does, tested without one.
 *
 * It is lazy on purpose: work runs when somebody waits for it, and not before. Who reads an answer without waiting, or
 * changes what a copy has yet to read, gets wrong numbers here as on a device. Accesses are checked against what was
 * allocated. One thread.
 *
 * FAKE_CUDA_FAIL   "call=code": this call fails.
 * FAKE_CUDA_LOST   a path: once there is a file, waiting for anything fails as after an Xid.
 * FAKE_CUDA_HANG   a path: once there is a file, nothing that is asked for gets done.
 * FAKE_CUDA_TRACE  a path: one line when the context is released, "live N", what was made in it and not given back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long long Address;
enum { SUCCESS = 0, INVALID = 1, BAD_IMAGE = 200, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719, NOT_READY = 600, NOT_SUPPORTED = 801 };
enum { ALLOCATIONS_MAX = 4096, QUEUE_MAX = 65536, STREAMS_MAX = 64 };

static const char UUID[16] = {0x0f, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
static int live;
static int sticky;

static int fails(const char *call) {
    const char *set = getenv("FAKE_CUDA_FAIL");
    size_t length = strlen(call);
    if (set && !strncmp(set, call, length) && set[length] == '=') return atoi(set + length + 1);
    return SUCCESS;
}
#define CALL(name)                                 \
    do {                                           \
        int code = fails(#name);                   \
        if (code) return code;                     \
        if (sticky) return sticky;                 \
    } while (0)

/* What was allocated or pinned. */
typedef struct { char *at; size_t bytes; int host; } Range;
static Range ranges[ALLOCATIONS_MAX];

static int keep(void *at, size_t bytes, int host) {
    for (int i = 0; i < ALLOCATIONS_MAX; ++i)
        if (!ranges[i].at) { ranges[i] = (Range){at, bytes, host}; live++; return 1; }
    return 0;
}
static int forget(const void *at, int host) {
    for (int i = 0; i < ALLOCATIONS_MAX; ++i)
        if (ranges[i].at == at && ranges[i].host == host) { ranges[i].at = NULL; live--; return 1; }
    return 0;
}
static int inside(const void *at, size_t bytes, int host) {
    for (int i = 0; i < ALLOCATIONS_MAX; ++i)
        if (ranges[i].at && ranges[i].host == host && (char *)at >= ranges[i].at &&
            (char *)at + bytes <= ranges[i].at + ranges[i].bytes) return 1;
    return 0;
}

/* Queued work. */
typedef struct Event Event;
typedef struct Graph Graph;
typedef struct Stream Stream;
typedef enum { COPY, FILL, POOL, BIAS, GEMM, RECORD, WAIT, LAUNCH } Kind;
typedef struct {
    Kind kind;
    char *to; const char *from; size_t bytes; int owned; int value;
    int id_bytes; Address a, b, c; int per_row, width, relu; long long vocabulary, elements; unsigned rows;
    int m, n, k;
    Event *event; long stamp; Graph *graph;
} Work;
struct Graph { Work *works; int count; };
struct Event { Stream *stream; long stamp; };
struct Stream { Work *works; long begun, ended; Graph *capturing; };
static Stream *streams[STREAMS_MAX];

static int push(Stream *stream, Work work) {
    if (stream->capturing) {
        Graph *graph = stream->capturing;
        graph->works = realloc(graph->works, (graph->count + 1) * sizeof work);
        graph->works[graph->count++] = work;
        return SUCCESS;
    }
    if (stream->ended - stream->begun >= QUEUE_MAX) return INVALID;
    stream->works[stream->ended++ % QUEUE_MAX] = work;
    return SUCCESS;
}

static int pool(const Work *w) {
    const float *table = (const float *)w->b;
    float *out = (float *)w->c;
    size_t ids_bytes = (size_t)w->rows * w->per_row * w->id_bytes;
    if (!inside((void *)w->a, ids_bytes, 0) || !inside(table, w->vocabulary * w->width * 4, 0) ||
        !inside(out, (size_t)w->rows * w->width * 4, 0)) return ILLEGAL_ADDRESS;
    for (unsigned row = 0; row < w->rows; ++row)
        for (int column = 0; column < w->width; ++column) {
            float sum = 0; int named = 0;
            for (int i = 0; i < w->per_row; ++i) {
                size_t at = (size_t)row * w->per_row + i;
                long long id = w->id_bytes == 4 ? ((int *)w->a)[at] : ((long long *)w->a)[at];
                if (id >= 0 && id < w->vocabulary) { named++; sum += table[id * w->width + column]; }
            }
            out[(size_t)row * w->width + column] = named ? sum / named : 0;
        }
    return SUCCESS;
}
static int bias(const Work *w) {
    float *x = (float *)w->a;
    const float *add = (const float *)w->b;
    if (!inside(x, w->elements * 4, 0) || !inside(add, w->width * 4, 0)) return ILLEGAL_ADDRESS;
    for (long long i = 0; i < w->elements; ++i) {
        float sum = x[i] + add[i % w->width];
        x[i] = w->relu && sum < 0 ? 0 : sum;
    }
    return SUCCESS;
}
/* Column-major, the first factor transposed: c[m×n] = aᵀ[m×k] · b[k×n]. */
static int gemm(const Work *w) {
    const float *a = (const float *)w->a, *b = (const float *)w->b;
    float *c = (float *)w->c;
    if (!inside(a, (size_t)w->m * w->k * 4, 0) || !inside(b, (size_t)w->k * w->n * 4, 0) ||
        !inside(c, (size_t)w->m * w->n * 4, 0)) return ILLEGAL_ADDRESS;
    for (int column = 0; column < w->n; ++column)
        for (int row = 0; row < w->m; ++row) {
            float sum = 0;
            for (int i = 0; i < w->k; ++i) sum += a[(size_t)row * w->k + i] * b[(size_t)column * w->k + i];
            c[(size_t)column * w->m + row] = sum;
        }
    return SUCCESS;
}

static int run(Stream *stream, long until);
static int execute(const Work *w) {
    int code = SUCCESS;
    switch (w->kind) {
    case COPY: memcpy(w->to, w->from, w->bytes); if (w->owned) free((void *)w->from); break;
    case FILL: memset(w->to, w->value, w->bytes); break;
    case POOL: code = pool(w); break;
    case BIAS: code = bias(w); break;
    case GEMM: code = gemm(w); break;
    case RECORD: break;
    case WAIT: if (w->event->stream) code = run(w->event->stream, w->stamp); break;
    case LAUNCH: for (int i = 0; i < w->graph->count && !code; ++i) code = execute(&w->graph->works[i]); break;
    }
    return code;
}
static int run(Stream *stream, long until) {
    while (stream->begun < until) {
        Work work = stream->works[stream->begun++ % QUEUE_MAX];
        int code = execute(&work);
        if (code) return sticky = code;
    }
    return SUCCESS;
}
static int is_there(const char *variable) {
    const char *path = getenv(variable);
    return path && !access(path, F_OK);
}
static int lost(void) { return is_there("FAKE_CUDA_LOST") ? (sticky = LAUNCH_FAILED) : SUCCESS; }
static int run_all(void) {
    int code = lost();
    for (int i = 0; i < STREAMS_MAX && !code; ++i)
        if (streams[i]) code = run(streams[i], streams[i]->ended);
    return code;
}

/* The driver. */
int cuInit(unsigned flags) { (void)flags; CALL(cuInit); return SUCCESS; }
int cuDriverGetVersion(int *version) { *version = 12040; return SUCCESS; }
int cuDeviceGetCount(int *count) { CALL(cuDeviceGetCount); *count = 1; return SUCCESS; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? INVALID : SUCCESS; }
int cuDeviceGetName(char *name, int bytes, int device) { (void)device; snprintf(name, bytes, "Fake GPU"); return SUCCESS; }
int cuDeviceGetUuid_v2(char *uuid, int device) { (void)device; memcpy(uuid, UUID, 16); return SUCCESS; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = 1 << 30; return SUCCESS; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 75 ? 9 : attribute == 99;
    return SUCCESS;
}
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) { (void)device; (void)flags; return SUCCESS; }
int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    CALL(cuDevicePrimaryCtxRetain);
    *context = (void *)&live;
    return SUCCESS;
}
int cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    const char *path = getenv("FAKE_CUDA_TRACE");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) { fprintf(file, "live %d\n", live); fclose(file); }
    return SUCCESS;
}
int cuCtxSetCurrent(void *context) { return context ? SUCCESS : INVALID; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { *total = 1 << 30; *free_bytes = 1 << 29; return SUCCESS; }
int cuGetErrorName(int code, const char **name) {
    switch (code) {
    case INVALID: *name = "CUDA_ERROR_INVALID_VALUE"; return SUCCESS;
    case 2: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return SUCCESS;
    case ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; return SUCCESS;
    case LAUNCH_FAILED: *name = "CUDA_ERROR_LAUNCH_FAILED"; return SUCCESS;
    case NOT_SUPPORTED: *name = "CUDA_ERROR_NOT_SUPPORTED"; return SUCCESS;
    default: *name = NULL; return INVALID;
    }
}

int cuMemAlloc_v2(Address *at, size_t bytes) {
    CALL(cuMemAlloc_v2);
    char *memory = malloc(bytes);
    memset(memory, 0xa5, bytes);
    *at = (Address)memory;
    return keep(memory, bytes, 0) ? SUCCESS : INVALID;
}
int cuMemFree_v2(Address at) {
    run_all();
    if (!forget((void *)at, 0)) return INVALID;
    free((void *)at);
    return SUCCESS;
}
int cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
    CALL(cuMemHostAlloc);
    (void)flags;
    *at = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    return keep(*at, bytes, 1) ? SUCCESS : INVALID;
}
int cuMemFreeHost(void *at) {
    if (!forget(at, 1)) return INVALID;
    free(at);
    return SUCCESS;
}
int cuMemHostRegister_v2(void *at, size_t bytes, unsigned flags) {
    CALL(cuMemHostRegister_v2);
    if (flags & 8) return NOT_SUPPORTED;
    if (!bytes || (size_t)at % 4096 || bytes % 4096) return INVALID;
    return keep(at, bytes, 1) ? SUCCESS : INVALID;
}
int cuMemHostUnregister(void *at) { return forget(at, 1) ? SUCCESS : INVALID; }

int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, Stream *stream) {
    CALL(cuMemcpyHtoDAsync_v2);
    if (!inside((void *)to, bytes, 0)) return INVALID;
    Work work = {.kind = COPY, .to = (char *)to, .from = from, .bytes = bytes};
    if (!inside(from, bytes, 1)) {
        /* What isn't pinned is read at once. */
        work.from = memcpy(malloc(bytes), from, bytes);
        work.owned = 1;
    }
    return push(stream, work);
}
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, Stream *stream) {
    CALL(cuMemcpyDtoHAsync_v2);
    if (!inside((void *)from, bytes, 0)) return INVALID;
    return push(stream, (Work){.kind = COPY, .to = to, .from = (char *)from, .bytes = bytes});
}
int cuMemsetD8Async(Address to, unsigned char value, size_t bytes, Stream *stream) {
    if (!inside((void *)to, bytes, 0)) return INVALID;
    return push(stream, (Work){.kind = FILL, .to = (char *)to, .bytes = bytes, .value = value});
}

int cuStreamCreate(Stream **stream, unsigned flags) {
    (void)flags;
    CALL(cuStreamCreate);
    for (int i = 0; i < STREAMS_MAX; ++i)
        if (!streams[i]) {
            *stream = streams[i] = calloc(1, sizeof(Stream));
            (*stream)->works = calloc(QUEUE_MAX, sizeof(Work));
            live++;
            return SUCCESS;
        }
    return INVALID;
}
int cuStreamDestroy_v2(Stream *stream) {
    run_all();
    for (int i = 0; i < STREAMS_MAX; ++i)
        if (streams[i] == stream) { streams[i] = NULL; live--; free(stream->works); free(stream); return SUCCESS; }
    return INVALID;
}
int cuStreamSynchronize(Stream *stream) {
    CALL(cuStreamSynchronize);
    int code = lost();
    return code ? code : run(stream, stream->ended);
}
int cuStreamWaitEvent(Stream *stream, Event *event, unsigned flags) {
    (void)flags;
    CALL(cuStreamWaitEvent);
    return push(stream, (Work){.kind = WAIT, .event = event, .stamp = event->stamp});
}
int cuStreamBeginCapture_v2(Stream *stream, int mode) {
    (void)mode;
    CALL(cuStreamBeginCapture_v2);
    stream->capturing = calloc(1, sizeof(Graph));
    return SUCCESS;
}
int cuStreamEndCapture(Stream *stream, Graph **graph) {
    *graph = stream->capturing;
    stream->capturing = NULL;
    live++;
    return SUCCESS;
}
int cuGraphInstantiateWithFlags(Graph **exec, const Graph *graph, unsigned long long flags) {
    (void)flags;
    CALL(cuGraphInstantiateWithFlags);
    *exec = calloc(1, sizeof(Graph));
    (*exec)->count = graph->count;
    (*exec)->works = memcpy(malloc(graph->count * sizeof(Work)), graph->works, graph->count * sizeof(Work));
    live++;
    return SUCCESS;
}
int cuGraphLaunch(Graph *exec, Stream *stream) {
    CALL(cuGraphLaunch);
    return push(stream, (Work){.kind = LAUNCH, .graph = exec});
}
static int destroy(Graph *graph) {
    run_all();
    free(graph->works);
    free(graph);
    live--;
    return SUCCESS;
}
int cuGraphDestroy(Graph *graph) { return destroy(graph); }
int cuGraphExecDestroy(Graph *exec) { return destroy(exec); }

int cuEventCreate(Event **event, unsigned flags) {
    (void)flags;
    *event = calloc(1, sizeof(Event));
    live++;
    return SUCCESS;
}
int cuEventDestroy_v2(Event *event) { run_all(); free(event); live--; return SUCCESS; }
int cuEventRecord(Event *event, Stream *stream) {
    CALL(cuEventRecord);
    int code = push(stream, (Work){.kind = RECORD});
    *event = (Event){stream, stream->ended};
    return code;
}
int cuEventSynchronize(Event *event) {
    CALL(cuEventSynchronize);
    int code = lost();
    return code || !event->stream ? code : run(event->stream, event->stamp);
}

int cuEventQuery(Event *event) {
    CALL(cuEventQuery);
    if (is_there("FAKE_CUDA_HANG")) return NOT_READY;
    return cuEventSynchronize(event);
}

typedef struct { char *source; } Module;
int cuModuleLoadData(Module **module, const char *image) {
    if (memcmp(image, "FAKE", 4)) return BAD_IMAGE;
    *module = malloc(sizeof(Module));
    (*module)->source = strdup(image + 4);
    live++;
    return SUCCESS;
}
int cuModuleUnload(Module *module) { free(module->source); free(module); live--; return SUCCESS; }
int cuModuleGetFunction(const char **function, const Module *module, const char *name) {
    static const char *known[] = {"pool_i32", "pool_i64", "bias_relu"};
    for (int i = 0; i < 3; ++i)
        if (!strcmp(name, known[i]) && strstr(module->source, name)) { *function = known[i]; return SUCCESS; }
    return 500;
}
int cuLaunchKernel(const char *function, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz,
                   unsigned shared, Stream *stream, void **p, void **extra) {
    CALL(cuLaunchKernel);
    if (!x || y != 1 || z != 1 || !tx || tx > 1024 || ty != 1 || tz != 1 || shared || extra) return INVALID;
    if (!strncmp(function, "pool", 4))
        return push(stream, (Work){.kind = POOL, .rows = x, .id_bytes = strcmp(function, "pool_i32") ? 8 : 4,
                                   .a = *(Address *)p[0], .b = *(Address *)p[1], .c = *(Address *)p[2],
                                   .per_row = *(int *)p[3], .width = *(int *)p[4], .vocabulary = *(long long *)p[5]});
    long long elements = *(long long *)p[3];
    if ((long long)x * tx < elements) return INVALID;
    return push(stream, (Work){.kind = BIAS, .a = *(Address *)p[0], .b = *(Address *)p[1], .width = *(int *)p[2],
                               .elements = elements, .relu = *(int *)p[4]});
}

/* cuBLAS. */
typedef struct { Stream *stream; void *workspace; } Blas;
int cublasCreate_v2(Blas **handle) { CALL(cublasCreate_v2); *handle = calloc(1, sizeof(Blas)); live++; return SUCCESS; }
int cublasDestroy_v2(Blas *handle) { free(handle); live--; return SUCCESS; }
int cublasSetStream_v2(Blas *handle, Stream *stream) { *handle = (Blas){stream, NULL}; return SUCCESS; }
int cublasSetWorkspace_v2(Blas *handle, void *at, size_t bytes) {
    handle->workspace = at;
    return inside(at, bytes, 0) ? SUCCESS : 7;
}
int cublasSgemm_v2(Blas *handle, int ta, int tb, int m, int n, int k, const float *alpha, const float *a, int lda,
                   const float *b, int ldb, const float *beta, float *c, int ldc) {
    CALL(cublasSgemm_v2);
    if (ta != 1 || tb != 0 || *alpha != 1 || *beta != 0 || lda != k || ldb != k || ldc != m) return 7;
    if (!handle->workspace) return 14;
    return push(handle->stream, (Work){.kind = GEMM, .a = (Address)a, .b = (Address)b, .c = (Address)c,
                                       .m = m, .n = n, .k = k});
}

/* NVRTC. */
typedef struct { char *source; } Program;
int nvrtcCreateProgram(Program **program, const char *source, const char *name, int count, const char **headers,
                       const char **names) {
    (void)name; (void)headers; (void)names;
    *program = malloc(sizeof(Program));
    (*program)->source = strdup(source);
    return count ? 3 : SUCCESS;
}
int nvrtcCompileProgram(Program *program, int count, const char **options) {
    (void)program;
    CALL(nvrtcCompileProgram);
    return count == 1 && !strcmp(options[0], "--gpu-architecture=sm_90") ? SUCCESS : 5;
}
int nvrtcGetCUBINSize(Program *program, size_t *bytes) { *bytes = strlen(program->source) + 5; return SUCCESS; }
int nvrtcGetCUBIN(Program *program, char *cubin) { sprintf(cubin, "FAKE%s", program->source); return SUCCESS; }
int nvrtcGetProgramLogSize(Program *program, size_t *bytes) { (void)program; *bytes = 12; return SUCCESS; }
int nvrtcGetProgramLog(Program *program, char *log) { (void)program; strcpy(log, "fake refuse"); return SUCCESS; }
int nvrtcDestroyProgram(Program **program) { free((*program)->source); free(*program); *program = NULL; return SUCCESS; }
