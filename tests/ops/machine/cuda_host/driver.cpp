// Carries out a launch of a CUDA source on the host. Compiled with -DSOURCE="...", the definitions that the source asks
// for, and -DKERNELS="KERNEL(its first kernel) KERNEL(its second) ...".
#include "host_cuda.h"

#include SOURCE

constexpr size_t SHARED = 1 << 18;  // bytes
State shared[SHARED / sizeof(State)];

static const Call* current;
static std::vector<Block> blocks(8);

// Returns 0; 1: unknown kernel, 2: diverging barrier, 3: shared memory written beyond what was asked for, 4: sizes,
// 5: see watch_problem, 6: blocks wait for each other, or for one that cannot start before they end.
//
// In ascending order every block runs to its end before the next one starts. In others eight are there: in descending order
// the one that started last runs as long as it can, in shuffled ones they take turns at random.
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
    std::vector<unsigned> waiting(size_t(grid_x) * grid_y);
    arrange(waiting, order);
    for (const Dim* dim : {&threadIdx, &blockIdx, &blockDim, &gridDim}) watch_exempt(dim, sizeof *dim);
    watch_exempt(&current, sizeof current);
    watch_exempt(&body, sizeof body);
    watch_exempt(call, sizeof *call);
    watch_launch();
    const unsigned char poison = 0xff;  // NaN in every floating-point type
    unsigned char* const memory = reinterpret_cast<unsigned char*>(shared);
    std::memset(memory, poison, SHARED);
    const size_t most = order == 0 ? 1 : blocks.size();
    std::vector<Block*> idle, there;
    for (Block& block : blocks) idle.push_back(&block);
    current_block = nullptr;
    const auto turn_to = [&](Block* block) {
        if (current_block != block) {
            if (current_block) current_block->shared.assign(memory, memory + shared_bytes);
            current_block = block;
            std::memcpy(memory, block->shared.data(), shared_bytes);
            watch_block(block->index, shared, shared_bytes, sizeof(State));
        }
        blockIdx = {block->index % grid_x, block->index / grid_x, 0};
    };
    for (size_t started = 0; started < waiting.size() || !there.empty();) {
        bool fresh = false;
        if (there.size() < most && started < waiting.size()) {
            there.push_back(idle.back());
            idle.pop_back();
            start_block(*there.back(), waiting[started++]);
            there.back()->shared.assign(shared_bytes, poison);
            fresh = true;
        }
        // In descending order those that have just come go on to their first barrier, where they have their tickets.
        size_t chosen = order < 2 || fresh ? there.size() - 1 : next_random(order) % there.size();
        for (size_t tried = 0; there[chosen]->stuck; ++tried) {
            if (tried == there.size()) return 6;
            chosen = (chosen + there.size() - 1) % there.size();
        }
        turn_to(there[chosen]);
        Outcome outcome;
        do outcome = advance(order);
        while (outcome == AT_BARRIER && !(fresh && order > 0) && (order < 2 || next_random(order) % 16 > 0));
        for (size_t i = shared_bytes; i < SHARED; ++i)
            if (memory[i] != poison) return 3;
        if (outcome == FAILED) return *watch_problem() ? 5 : 2;
        if (!current_block->stuck)
            for (Block* block : there) block->stuck = false;
        if (outcome == RETURNED) {
            idle.push_back(current_block);
            there.erase(there.begin() + chosen);
            current_block = nullptr;
        }
    }
    return 0;
}

extern "C" unsigned call_bytes() { return sizeof(Call); }
