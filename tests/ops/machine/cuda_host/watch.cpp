// Watches every access to memory that a CUDA source makes on the host, and stops at the first that a GPU would not
// forgive: outside of every tensor or of the shared memory asked for, of an element never written, to an input, or of
// one that another thread touches between the same two barriers, or another block in the same launch.
//
// The compiler's race detector does the work of telling: driver.cpp is compiled with -fsanitize=thread, which calls a
// function at every access, and the functions it calls are these instead of its own.
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

enum State : uint8_t { FORBIDDEN, INPUT, UNWRITTEN, WRITTEN };  // as in host.py

struct Touch {
    uint32_t round = 0, thread = 0, block = 0;
    bool several_threads = false, several_blocks = false;

    void note(uint32_t now, uint32_t launch, uint32_t me, uint32_t my_block) {
        several_threads = round == now && (several_threads || thread != me);
        several_blocks = round >= launch && (several_blocks || block != my_block);
        round = now, thread = me, block = my_block;
    }
    // Whether somebody else was here since the last barrier, or in another block of this launch.
    bool clashes(uint32_t now, uint32_t launch, uint32_t me, uint32_t my_block, bool handed) const {
        return (round == now && (several_threads || thread != me)) ||
               (!handed && round >= launch && (several_blocks || block != my_block));
    }
};

struct Region {
    std::string name;
    uintptr_t begin, end;
    unsigned item;
    uint8_t* states;
    bool handed;  // blocks hand it to each other: that nobody reads before another writes is all that is asked
    std::vector<Touch> reads, writes;
};

static std::vector<Region> regions;
static Region shared;
static std::vector<uint8_t> shared_states;
static std::vector<std::pair<uintptr_t, uintptr_t>> exempt;
static uintptr_t stack_begin, stack_end;
static uint32_t now, launch_start, thread, block;
static char problem[256];

extern "C" {
int watching = 0;
void abandon();  // leaves the kernel; see host_cuda.h

void watch_tensor(const char* name, void* begin, size_t count, unsigned item, uint8_t* states) {
    const uintptr_t start = (uintptr_t)begin;
    const std::vector<Touch> untouched(count);
    const bool handed = std::string(name).rfind("edges", 0) == 0;
    regions.push_back({name, start, start + count * item, item, states, handed, untouched, untouched});
}
void watch_exempt(const void* begin, size_t bytes) { exempt.push_back({(uintptr_t)begin, (uintptr_t)begin + bytes}); }
void watch_launch() { launch_start = ++now; }
void watch_block(unsigned index, void* memory, size_t bytes, unsigned item) {
    block = index;
    shared_states.assign(bytes / item, UNWRITTEN);
    const uintptr_t start = (uintptr_t)memory;
    const std::vector<Touch> untouched(bytes / item);
    shared = {"shared memory", start, start + bytes, item, shared_states.data(), false, untouched, untouched};
}
void watch_round() { ++now; }
void watch_thread(unsigned index, const void* stack, size_t bytes) {
    thread = index, stack_begin = (uintptr_t)stack, stack_end = stack_begin + bytes;
}
const char* watch_problem() { return problem; }
void watch_forget() { regions.clear(), exempt.clear(), problem[0] = 0; }
}

static void stop(const char* what, const Region* region, uintptr_t address) {
    watching = 0;
    std::snprintf(problem, sizeof problem, "block %u, thread %u: %s %s[%lld]", block, thread, what,
                  region ? region->name.c_str() : "memory", region ? (long long)(address - region->begin) / region->item : -1ll);
    abandon();
}

static void touch_one(Region* region, uintptr_t address, bool write) {
    const size_t index = (address - region->begin) / region->item;
    uint8_t& state = region->states[index];
    if (state == FORBIDDEN) return stop("strays between the elements of", region, address);
    if (write && state == INPUT) return stop("writes to the input", region, address);
    if (!write && state == UNWRITTEN) return stop("reads before anybody writes", region, address);
    Touch &reads = region->reads[index], &writes = region->writes[index];
    const bool race = writes.clashes(now, launch_start, thread, block, region->handed) ||
                      (write && reads.clashes(now, launch_start, thread, block, region->handed));
    if (race) return stop("races for", region, address);
    (write ? writes : reads).note(now, launch_start, thread, block);
    if (write) state = WRITTEN;
}

static void touch(uintptr_t address, size_t size, bool write, bool aligned = true) {
    if ((address >= stack_begin && address + size <= stack_end) || address == (uintptr_t)&watching) return;
    Region* region = nullptr;
    if (address >= shared.begin && address < shared.end) region = &shared;
    for (size_t i = 0; !region && i < regions.size(); ++i)
        if (address >= regions[i].begin && address < regions[i].end) region = &regions[i];
    if (!region) {
        for (const auto& range : exempt)
            if (address >= range.first && address + size <= range.second && !write) return;
        return stop(write ? "writes outside of" : "reads outside of", nullptr, address);
    }
    if (size % region->item || (address - region->begin) % region->item) return stop("touches part of", region, address);
    if (aligned && address % size) return stop("misses the alignment of a word of", region, address);
    if (address + size > region->end) return stop("runs past the end of", region, address);
    for (size_t i = 0; i < size; i += region->item) touch_one(region, address + i, write);
}

#define ACCESS(SIZE)                                                                      \
    extern "C" void __tsan_read##SIZE(void* address) {                                    \
        if (watching) touch((uintptr_t)address, SIZE, false);                             \
    }                                                                                     \
    extern "C" void __tsan_write##SIZE(void* address) {                                   \
        if (watching) touch((uintptr_t)address, SIZE, true);                              \
    }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
#define RANGE(KIND, WRITE)                                                                \
    extern "C" void __tsan_##KIND##_range(void* address, size_t size) {                   \
        if (watching) touch((uintptr_t)address, size, WRITE, false);                      \
    }
RANGE(read, false)
RANGE(write, true)
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
