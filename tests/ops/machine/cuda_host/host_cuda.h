// Gives the words of CUDA that our sources use a meaning on a CPU, so that the very same text runs there.
//
// The threads of a block are fibers. One runs until it meets a barrier or returns, then the next, in an order that the
// caller chooses: a result that depends on the order is a missing barrier.
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

struct Fiber {
    ucontext_t start;
    jmp_buf here;
    bool started, done;
    int line;  // of the barrier it waits at
    std::vector<char> stack;
};
static std::vector<Fiber> fibers;
static jmp_buf scheduler;
static unsigned running;
static void (*body)();

static void meet(int line) {
    watching = 0;
    fibers[running].line = line;
    if (_setjmp(fibers[running].here) == 0) _longjmp(scheduler, 1);
    watching = 1;
}
#define __syncthreads() meet(__LINE__)

extern "C" void abandon() { _longjmp(scheduler, 1); }

static void enter() {
    watching = 1;
    body();
    watching = 0;
    fibers[running].done = true;
    _longjmp(scheduler, 1);
}

static void resume(unsigned thread) {
    running = thread;
    threadIdx = {thread, 0, 0};
    Fiber& fiber = fibers[thread];
    watch_thread(thread, fiber.stack.data(), fiber.stack.size());
    if (_setjmp(scheduler) != 0) return;
    if (fiber.started) _longjmp(fiber.here, 1);
    fiber.started = true;
    setcontext(&fiber.start);
}

// 0: ascending, 1: descending, otherwise shuffled with this number as the seed.
static void arrange(std::vector<unsigned>& indices, uint64_t& order) {
    const size_t count = indices.size();
    for (size_t i = 0; i < count; ++i) indices[i] = order == 1 ? count - 1 - i : i;
    if (order < 2) return;
    for (size_t i = count; i > 1; --i) {
        order = order * 6364136223846793005ull + 1442695040888963407ull;
        std::swap(indices[i - 1], indices[(order >> 33) % i]);
    }
}

// Runs one block to its end; false if its threads do not all meet at the same barrier, or all return.
static bool run_block(uint64_t& order) {
    if (fibers.size() < blockDim.x) fibers.resize(blockDim.x);
    for (unsigned i = 0; i < blockDim.x; ++i) {
        Fiber& fiber = fibers[i];
        fiber.started = fiber.done = false;
        fiber.stack.resize(64 << 10);
        getcontext(&fiber.start);
        fiber.start.uc_stack = {fiber.stack.data(), 0, fiber.stack.size()};
        fiber.start.uc_link = nullptr;
        makecontext(&fiber.start, enter, 0);
    }
    std::vector<unsigned> threads(blockDim.x);
    for (;;) {
        unsigned returned = 0;
        arrange(threads, order);
        watch_round();
        for (unsigned thread : threads) {
            resume(thread);
            if (*watch_problem()) return false;
            returned += fibers[thread].done;
        }
        if (returned == blockDim.x) return true;
        if (returned > 0) return false;
        for (unsigned thread : threads)
            if (fibers[thread].line != fibers[threads[0]].line) return false;
    }
}
