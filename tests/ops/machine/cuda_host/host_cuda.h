// Gives the words of CUDA that our sources use a meaning on a CPU, so that the very same text runs there.
//
// The threads of a block are fibers. One runs until it meets a barrier or returns, then the next, in an order that the
// caller chooses: a result that depends on the order is a missing barrier. So are blocks, of which a few are on the host at
// a time: a block that waits for another lets it run.
#pragma once

#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define HOST_CUDA
using std::exp, std::fabs, std::tanh;
#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

struct Dim {
    unsigned x, y, z;
};
static Dim threadIdx, blockIdx, blockDim, gridDim;

static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
static inline float half_to_float(unsigned short bits) {
    _Float16 half;
    std::memcpy(&half, &bits, sizeof half);
    return half;
}
static inline unsigned short float_to_half(float value) {
    const _Float16 half = value;
    unsigned short bits;
    std::memcpy(&bits, &half, sizeof bits);
    return bits;
}
template <class T>
static inline T* pinned(T* pointer) {
    return pointer;
}
static inline void prefetch_l2(const void*) {}

// See watch.cpp: told what runs, it is asked about every access while `watching` is on.
#ifdef WATCH
extern "C" {
extern int watching;
void watch_exempt(const void* begin, size_t bytes);
void watch_launch();
void watch_block(unsigned index, void* shared, size_t bytes, unsigned item);
void watch_round();
void watch_thread(unsigned index, const void* stack, size_t bytes);
const char* watch_problem();
}
#else
static int watching;
static void watch_exempt(const void*, size_t) {}
static void watch_launch() {}
static void watch_block(unsigned, void*, size_t, unsigned) {}
static void watch_round() {}
static void watch_thread(unsigned, const void*, size_t) {}
static const char* watch_problem() { return ""; }
#endif

enum { POLLING = -1, RUNNING = 0 };  // else the line of the barrier at which a fiber waits

struct Fiber {
    ucontext_t start;
    jmp_buf here;
    bool started, done;
    int line;
    std::vector<char> stack;
};
struct Block {
    unsigned index;
    std::vector<Fiber> fibers;
    std::vector<char> shared;  // while another block runs
    bool stuck;                // nothing has happened since it last looked for what it waits for
};
static Block* current_block;
static jmp_buf scheduler;
static unsigned running;
static void (*body)();

static void leave(int line) {
    watching = 0;
    Fiber& fiber = current_block->fibers[running];
    fiber.line = line;
    if (_setjmp(fiber.here) == 0) _longjmp(scheduler, 1);
    watching = 1;
}
#define __syncthreads() leave(__LINE__)

static inline unsigned take_ticket(unsigned* next) {
    watching = 0;
    const unsigned ticket = (*next)++;
    watching = 1;
    return ticket;
}
static inline void publish(unsigned* lines, unsigned finished) {
    watching = 0;
    *lines = finished;
    watching = 1;
}
static inline void wait_until(const unsigned* lines, unsigned wanted) {
    watching = 0;
    while (*(volatile const unsigned*)lines < wanted) leave(POLLING), watching = 0;
    watching = 1;
}

extern "C" void abandon() { _longjmp(scheduler, 1); }

static void enter() {
    watching = 1;
    body();
    watching = 0;
    current_block->fibers[running].done = true;
    _longjmp(scheduler, 1);
}

static void resume(unsigned thread) {
    running = thread;
    threadIdx = {thread, 0, 0};
    Fiber& fiber = current_block->fibers[thread];
    fiber.line = RUNNING;
    watch_thread(thread, fiber.stack.data(), fiber.stack.size());
    if (_setjmp(scheduler) != 0) return;
    if (fiber.started) _longjmp(fiber.here, 1);
    fiber.started = true;
    setcontext(&fiber.start);
}

static uint64_t next_random(uint64_t& order) {
    order = order * 6364136223846793005ull + 1442695040888963407ull;
    return order >> 33;
}

// 0: ascending, 1: descending, otherwise shuffled with this number as the seed.
static void arrange(std::vector<unsigned>& indices, uint64_t& order) {
    const size_t count = indices.size();
    for (size_t i = 0; i < count; ++i) indices[i] = order == 1 ? count - 1 - i : i;
    if (order < 2) return;
    for (size_t i = count; i > 1; --i) std::swap(indices[i - 1], indices[next_random(order) % i]);
}

static void start_block(Block& block, unsigned index) {
    block.index = index;
    block.stuck = false;
    if (block.fibers.size() < blockDim.x) block.fibers.resize(blockDim.x);
    for (unsigned i = 0; i < blockDim.x; ++i) {
        Fiber& fiber = block.fibers[i];
        fiber.started = fiber.done = false;
        fiber.line = RUNNING;
        fiber.stack.resize(32 << 10);
        getcontext(&fiber.start);
        fiber.start.uc_stack = {fiber.stack.data(), 0, fiber.stack.size()};
        fiber.start.uc_link = nullptr;
        makecontext(&fiber.start, enter, 0);
    }
}

enum Outcome { AT_BARRIER, WAITS, RETURNED, FAILED };

// Runs the current block to its next barrier, to where it waits for another block, or to its end. It fails if its threads do
// not all meet at the same barrier, or all return.
static Outcome advance(uint64_t& order) {
    Block& block = *current_block;
    std::vector<unsigned> threads(blockDim.x);
    arrange(threads, order);
    unsigned returned = 0, polling = 0;
    bool moved = false;
    for (unsigned thread : threads) {
        Fiber& fiber = block.fibers[thread];
        if (!fiber.done && fiber.line <= RUNNING) {
            const bool looked_before = fiber.line == POLLING;
            resume(thread);
            if (*watch_problem()) return FAILED;
            moved |= fiber.done || fiber.line != POLLING || !looked_before;
        }
        returned += fiber.done;
        polling += !fiber.done && fiber.line == POLLING;
    }
    block.stuck = !moved;
    if (polling > 0) return WAITS;
    if (returned == blockDim.x) return RETURNED;
    if (returned > 0) return FAILED;
    for (unsigned thread : threads)
        if (block.fibers[thread].line != block.fibers[threads[0]].line) return FAILED;
    for (unsigned thread : threads) block.fibers[thread].line = RUNNING;
    watch_round();
    return AT_BARRIER;
}
