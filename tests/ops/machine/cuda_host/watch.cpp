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
    bool clashes(uint32_t now, uint32_t launch, uint32_t me, uint32_t my_block) const {
        return (round == now && (several_threads || thread != me)) ||
               (round >= launch && (several_blocks || block != my_block));
    }
};

struct Region {
    std::string name;
    uintptr_t begin, end;
    unsigned item;
    uint8_t* states;
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
    regions.push_back({name, start, start + count * item, item, states, untouched, untouched});
}
void watch_exempt(const void* begin, size_t bytes) { exempt.push_back({(uintptr_t)begin, (uintptr_t)begin + bytes}); }
void watch_launch() { launch_start = ++now; }
void watch_block(unsigned index, void* memory, size_t bytes, unsigned item) {
    block = index;
    shared_states.assign(bytes / item, UNWRITTEN);
    const uintptr_t start = (uintptr_t)memory;
    const std::vector<Touch> untouched(bytes / item);
    shared = {"shared memory", start, start + bytes, item, shared_states.data(), untouched, untouched};
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

static void touch(uintptr_t address, unsigned size, bool write) {
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
    const size_t offset = address - region->begin, index = offset / region->item;
    if (size != region->item || offset % size) return stop("touches part of", region, address);
    uint8_t& state = region->states[index];
    if (state == FORBIDDEN) return stop("strays between the elements of", region, address);
    if (write && state == INPUT) return stop("writes to the input", region, address);
    if (!write && state == UNWRITTEN) return stop("reads before anybody writes", region, address);
    Touch &reads = region->reads[index], &writes = region->writes[index];
    const bool race = writes.clashes(now, launch_start, thread, block) ||
                      (write && reads.clashes(now, launch_start, thread, block));
    if (race) return stop("races for", region, address);
    (write ? writes : reads).note(now, launch_start, thread, block);
    if (write) state = WRITTEN;
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
        if (watching) touch((uintptr_t)address, size, WRITE);                             \
    }
RANGE(read, false)
RANGE(write, true)
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
