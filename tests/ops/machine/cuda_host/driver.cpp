// Carries out a launch of a CUDA source on the host. Compiled with -DSOURCE="...", the definitions that the source asks
// for, and -DKERNELS="KERNEL(its first kernel) KERNEL(its second) ...".
#include "host_cuda.h"

#include SOURCE

constexpr size_t SHARED = 1 << 18;  // bytes
State shared[SHARED / sizeof(State)];

static const Call* current;

// Returns 0; 1: unknown kernel, 2: diverging barrier, 3: shared memory written beyond what was asked for, 4: sizes,
// 5: see watch_problem.
extern "C" int launch(const char* kernel, const Call* call, unsigned grid_x, unsigned grid_y, unsigned threads,
                      unsigned shared_bytes, uint64_t order) {
#define KERNEL(NAME) {#NAME, [] { NAME(*current); }},
    static const struct {
        const char* name;
        void (*body)();
    } kernels[] = {KERNELS};
    body = nullptr;
    for (const auto& known : kernels)
        if (!std::strcmp(known.name, kernel)) body = known.body;
    if (!body) return 1;
    if (shared_bytes > SHARED - 4096) return 4;
    current = call;
    gridDim = {grid_x, grid_y, 1};
    blockDim = {threads, 1, 1};
    std::vector<unsigned> blocks(size_t(grid_x) * grid_y);
    arrange(blocks, order);
    for (const Dim* dim : {&threadIdx, &blockIdx, &blockDim, &gridDim}) watch_exempt(dim, sizeof *dim);
    watch_exempt(&current, sizeof current);
    watch_exempt(&body, sizeof body);
    watch_exempt(call, sizeof *call);
    watch_launch();
    const unsigned char poison = 0xff;  // NaN in every floating-point type
    for (unsigned block : blocks) {
        blockIdx = {block % grid_x, block / grid_x, 0};
        std::memset(shared, poison, SHARED);
        watch_block(block, shared, shared_bytes, sizeof(State));
        if (!run_block(order)) return *watch_problem() ? 5 : 2;
        for (size_t i = shared_bytes; i < SHARED; ++i)
            if (reinterpret_cast<unsigned char*>(shared)[i] != poison) return 3;
    }
    return 0;
}

extern "C" unsigned call_bytes() { return sizeof(Call); }
