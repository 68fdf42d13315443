// Spatial propagation on a GPU and its gradient: naive.py, written for blocks of threads.
//
// A block walks one plane (n, c) of the map along one direction, or along all of them in turn. In
// every direction the walk sees `lines` lines t of `length` pixels p, and the previous line stays on the chip.
//
//   Tiles.  A block holds a tile of `chunk` lines by `band` pixels in shared memory: K gates and x of every pixel. It
//   loads a tile in the order in which memory lies (along rows, for every direction), scans it line by line with a
//   thread per pixel and a barrier per line, h taking the place of x, and writes it out in the order of memory again.
//   Meanwhile the L2 cache fetches the next tile, so that a multiprocessor waits for memory once per band.
//
//   Skew.  With K = 3 a band depends on the bands on both its sides. Where a line is longer than a band, bands
//   therefore lean: line t of a band lies t pixels further back, and the neighbours of its pixel r are r-2, r-1 and r of
//   the line before. Now a band needs nothing but the last two pixels of each line of the band before it (`edges`),
//   and is walked from end to end on its own. So lines may have any length, and a tile spans 128 bytes of memory both
//   ways, where tiles of whole lines would have to be a few columns narrow and waste most of what memory delivers.
//
//   Merge.  "Fused": a block takes the directions in turn and merges each into the result as it writes it out. "Split",
//   for maps with too few planes to fill the GPU: a block per direction, whose results merge_maps then joins.
//
//   Backward.  dh of a line is the upstream gradient and gate * dh of the line after it: the
//   same walk, from the last pixel to the first, that passes on the products gate * dh instead of h. A block first walks
//   forward once more, for h, and then back. The gradient of a gate is dh * (its neighbour - x); that of x is
//   (1 - sum of gates) * dh, which is dh less the products. Where channels share gates, dh is kept and
//   sum_over_channels adds up. There are no atomics: the same input gives the same bits on every run.
//
//   Normalisation.  Raw gates are normalised in registers, on their way into the tile, and their gradients get the
//   derivative of that on their way out, for which the raw gates are read once more. No normalised copy ever exists.
//
// Bytes moved for float32, four directions, K = 3, per-channel gates, in maps of the size of x:
//   fused     gates 12, x 4, result 1 + 2 + 2 + 2                                              23  (floor 14)
//   split     gates 12, x 4, results 4 written and 4 read, merged 1                            25
//   backward  gates 12, x 4, h 4, and gates 12, grad 4, winner 1, h 4, x 4, gradient of gates 12,
//             gradient of x 7 (fused) or 9 (split)                                       64 or 66  (floor 27)
// Normalisation adds nothing forward and, backward, 12 for raw gates, which the L2 cache still holds.
// Edges add 4 / band forward and 16 / band backward for each direction, to memory that every second band uses again and
// that the L2 cache holds. Channels that share gates find them in that cache after the first; their backward pass also
// writes and reads h and dh once more.
//
// Why this should keep memory busy (counted in the machine code, not measured): a multiprocessor of an H200 is due 18
// bytes a cycle. A tile of 8192 pixels moves up to 192 KB if fused, 10,900 cycles' worth. Meanwhile its 16 or 32 lines
// take 1,500 or 3,000 cycles to scan, and moving its pixels between L2 and shared memory some 5,000, while memory
// delivers the next tile to L2. If split, blocks that share a multiprocessor cover for each other as well.

// cuda.py puts stored.cu before this and compiles both with -DCONNECTION=... -DINDEX=... -DNORMALIZE=... -DSHRINK=...
// besides the types.
using Index = INDEX;           // unsigned, or long long where 31 bits cannot count the elements that a plane spans
constexpr int K = CONNECTION;  // gates per pixel: 1 or 3
constexpr int MAX_THREADS = 512;
constexpr int RIGHT = 0, LEFT = 2, UP = 3;   // as in contract.DIRECTIONS
constexpr int MAX = 0, MEAN = 1, SUM = 3;    // as in contract.MERGES, where 2 is "none"; gradients of x are summed
// As in normalization.MODES; READY gates stay as they are.
constexpr int READY = -1, CLAMP = 0, UNIT = 1, STOCHASTIC = 2, TANH = 3, SIGMOID = 4;
constexpr bool DIVIDES = NORMALIZE == CLAMP || NORMALIZE == UNIT || NORMALIZE == STOCHASTIC;
constexpr bool SQUASHES = NORMALIZE == STOCHASTIC || NORMALIZE == SIGMOID;
constexpr State SMALLEST_NORMAL = sizeof(State) == 8 ? 2.2250738585072014e-308 : 1.17549435082228750797e-38;

// One launch. cuda.py packs the same fields in the same order, eight bytes each; what is not wanted is null.
struct Call {
    const Stored* x;        // (N, C, H, W), any strides
    const Stored* gates;    // (N, D, K, G, H, W), any strides
    const Stored* grad;     // shaped like the result of the forward pass, any strides
    unsigned char* winner;  // (N, C, H, W): which direction was the maximum
    Stored* out;            // (N, C, H, W), or (N, D, C, H, W) where nothing is merged; backward: the gradient of x
    State* maps;            // fused: (N, C, H, W), merged so far; split: (N, D, C, H, W), what merge_maps joins
    State* h;               // fused: (N, C, H, W), of the direction at hand; split: (N, D, C, H, W)
    State* dh;              // (N, D, C, H, W)
    Stored* grad_gates;     // (N, D, K, G, H, W)
    State* edges;           // per block, for two bands and each line: the last two pixels that the next band reads
    long long edges_per_block;
    long long x_strides[4], gate_strides[6], grad_strides[5];  // of (n, c, h, w), (n, d, k, g, h, w), (n, d, c, h, w)
    long long batch, channels, groups, height, width, directions, direction[4];
    long long merge, fused;
    long long log2_band[2], log2_chunk[2];  // of horizontal and of vertical directions
};

#ifndef HOST_CUDA  // the header that runs this text on a CPU has its own
// A pointer worked out once, not once per access as the compiler would have it.
template <class T> INLINE T* pinned(T* pointer) {
    asm volatile("" : "+l"(pointer));
    __builtin_assume(__isGlobal(pointer));
    return pointer;
}
INLINE void prefetch_l2(const void* address) { asm volatile("prefetch.global.L2 [%0];" ::"l"(address)); }
#endif

// The neighbour of gate k along the line: one pixel before, level with, or one after its own, in image coordinates.
INLINE int side(int k) { return K == 3 ? k - 1 : 0; }

// A direction in the image: its lines are columns or rows, and each reads the one before (-1) or after it (1).
struct Direction {
    const Call& call;
    const bool horizontal;
    const int back;

    INLINE Direction(const Call& call, bool horizontal, int direction)
        : call(call), horizontal(horizontal), back(direction == LEFT || direction == UP ? 1 : -1) {}

    // A gate that points outside the image counts as zero, whatever it holds.
    INLINE bool has_source(int row, int column, int k) const {
        const int source_row = row + (horizontal ? side(k) : back);
        const int source_column = column + (horizontal ? back : side(k));
        return (unsigned)source_row < (unsigned)call.height & (unsigned)source_column < (unsigned)call.width;
    }
    INLINE int source_offset(int k) const {  // as an offset in a contiguous plane
        return horizontal ? side(k) * (int)call.width + back : back * (int)call.width + side(k);
    }
};

INLINE bool is_horizontal(int direction) { return direction == RIGHT || direction == LEFT; }

// naive.first_maximum: a tie stays with the direction that came first, NaN wins over numbers.
INLINE bool beats(State value, State best) { return value > best || (value != value && best == best); }

// The raw gates of a pixel, their normalisation and its derivative: normalization.py, written out.
struct Gates {
    State raw[K];  // as they were loaded, or their sigmoid or tanh
    State total;   // of the absolute values
    bool divided;  // whether they are divided by it

    INLINE explicit Gates(const State (&given)[K]) : total(0) {
#pragma unroll
        for (int k = 0; k < K; ++k) {
            raw[k] = SQUASHES ? 1 / (1 + exp(-given[k])) : NORMALIZE == TANH ? tanh(given[k]) : given[k];
            total += fabs(raw[k]);
        }
        // A total that is NaN divides, and so spoils the whole pixel, as it should.
        const State least = NORMALIZE == UNIT ? SMALLEST_NORMAL : NORMALIZE == CLAMP ? State(1) : State(SHRINK);
        divided = NORMALIZE == UNIT ? !(total < least) : !(total <= least);
    }
    INLINE State scaled(State value) const {
        if (!DIVIDES) return value;
        return divided ? value / total * State(SHRINK) : NORMALIZE == UNIT ? value * State(SHRINK) : value;
    }
    INLINE State normalized(int k) const { return scaled(raw[k]); }

    // Turns the gradient of the normalised gates into that of the raw ones.
    INLINE void differentiate(State (&gradient)[K]) const {
        State towards = 0;  // the gradient of the total
        for (int k = 0; k < K; ++k) towards += gradient[k] * (raw[k] / total);
        for (int k = 0; k < K; ++k) {
            if (DIVIDES) {
                const State sign = raw[k] > 0 ? 1 : raw[k] < 0 ? -1 : 0;
                gradient[k] = scaled(divided ? gradient[k] - sign * towards : gradient[k]);
            }
            if (SQUASHES) gradient[k] *= raw[k] * (1 - raw[k]);
            if (NORMALIZE == TANH) gradient[k] *= 1 - raw[k] * raw[k];
        }
    }
};

INLINE Gates gates_at(const Stored* first, Index step) {
    State given[K];
    for (int k = 0; k < K; ++k) given[k] = widen(first[k * step]);
    return Gates(given);
}

// One walk over a plane as lines t = 0, 1, ... of pixels p = 0, 1, ...: from the first line of a direction to the last
// or, BACKWARD, from the last pixel of the last line to the first. All threads of a block walk together.
template <bool BACKWARD, bool HORIZONTAL>
struct Walk {
    static constexpr int BATCH = (BACKWARD ? 8 : 16) / sizeof(State);  // pixels a thread moves at a time
    static constexpr int CARRIED = BACKWARD ? K : 1;  // arrays of the tile that the next line reads: products, or h
    static constexpr int FIRST_CARRIED = BACKWARD ? 0 : K;

    struct Slot { int s, r, row, column; bool in_image; };  // line and pixel of the tile, row and column of the image

    const Call& call;
    const int d, lines, length;
    const Direction direction;
    const int line_step, first_line;  // a walk starts at the first or the last column or row of the image
    const int log2_band, log2_chunk, band, chunk, skew, pitch;
    const int lane, group, step, groups;  // a group of threads moves a row of the image; how many rows there are
    const Index gate_step;  // from gate k to gate k + 1
    State* const tile;  // [K gates, then h or dh][line before, lines of the tile][2 pixels before, the band, 1 after]
    State* const edges;

    // The first element of this plane in every tensor, of use where the tensor is given.
    const Stored *x, *gates, *grad;
    unsigned char* winner;
    Stored *out, *grad_gates;
    State *maps, *h, *dh;

    INLINE Walk(const Call& call, int plane, int d, State* tile)
        : call(call), d(d), lines(HORIZONTAL ? call.width : call.height),
          length(HORIZONTAL ? call.height : call.width), direction(call, HORIZONTAL, call.direction[d]),
          line_step(BACKWARD ? direction.back : -direction.back), first_line(line_step > 0 ? 0 : lines - 1),
          log2_band(call.log2_band[!HORIZONTAL]), log2_chunk(call.log2_chunk[!HORIZONTAL]), band(1 << log2_band),
          chunk(1 << log2_chunk), skew(K == 3 && length > band),
          pitch(skew ? band + 4 : (band + 3) | 1),  // neighbours in a row of the image lie in different banks
          lane(threadIdx.x & ((HORIZONTAL ? chunk : band) - 1)),
          group(threadIdx.x >> (HORIZONTAL ? log2_chunk : log2_band)),
          step(blockDim.x >> (HORIZONTAL ? log2_chunk : log2_band)), groups(HORIZONTAL ? band : chunk),
          gate_step(call.gate_strides[2]), tile(tile),
          edges(call.edges + (blockIdx.y * (long long)gridDim.x + blockIdx.x) * call.edges_per_block) {
        const long long area = call.height * call.width, n = plane / call.channels, c = plane % call.channels;
        const long long map = (n * call.directions + d) * call.channels + c, merged = call.fused ? plane : map;
        x = pinned(call.x + n * call.x_strides[0] + c * call.x_strides[1]);
        gates = pinned(call.gates + n * call.gate_strides[0] + d * call.gate_strides[1] +
                       c / (call.channels / call.groups) * call.gate_strides[3]);
        grad = pinned(call.grad + n * call.grad_strides[0] + d * call.grad_strides[1] + c * call.grad_strides[2]);
        winner = pinned(call.winner + plane * area);
        out = pinned(call.out + merged * area);
        maps = pinned(call.maps + merged * area);
        h = pinned(call.h + merged * area);
        dh = pinned(call.dh + map * area);
        grad_gates = pinned(call.grad_gates + ((n * call.directions + d) * K * call.channels + c) * area);
    }

    INLINE State& at(int array, int s, int r) const { return tile[(array * (chunk + 1) + s) * pitch + r + 2]; }

    // The pixels of a tile as threads move them. A group of threads takes neighbours in a row of the image.
    template <bool WHOLE>
    INLINE Slot slot(int b, int t0, int group) const {
        Slot slot;
        slot.s = HORIZONTAL ? lane : group;
        slot.r = HORIZONTAL ? (group + skew * lane) & (band - 1) : lane;
        const int t = t0 + slot.s, p = b * band + slot.r - skew * t;
        const int line = first_line + line_step * t, pixel = BACKWARD ? length - 1 - p : p;
        slot.row = HORIZONTAL ? pixel : line;
        slot.column = HORIZONTAL ? line : pixel;
        slot.in_image = WHOLE || (group < groups & t < lines & (unsigned)p < (unsigned)length);
        return slot;
    }

    INLINE static Index offset(const Slot& at, Index row_stride, Index column_stride) {
        return at.row * row_stride + at.column * column_stride;
    }
    INLINE Index pixel_at(const Slot& at) const { return offset(at, call.width, 1); }
    INLINE Index x_at(const Slot& at) const { return offset(at, call.x_strides[2], call.x_strides[3]); }
    INLINE Index gate_at(const Slot& at) const { return offset(at, call.gate_strides[4], call.gate_strides[5]); }
    INLINE Index grad_at(const Slot& at) const { return offset(at, call.grad_strides[3], call.grad_strides[4]); }
    INLINE State* edge(int b, int t, int array, int j) const {  // of this band and the one before, in turns
        return edges + (((long long)(b & 1) * lines + t) * CARRIED + array) * 2 + j;
    }

    template <bool WHOLE>
    INLINE void load(int b, int t0) const {
        for (int first = group; first < groups; first += BATCH * step) {
            Stored gate[K][BATCH], value[BATCH];
            unsigned char won[BATCH];
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                const Slot to = slot<WHOLE>(b, t0, first + i * step);
                const Index gate_offset = gate_at(to), value_offset = BACKWARD ? grad_at(to) : x_at(to);
#pragma unroll
                for (int k = 0; k < K; ++k) {
                    // A gate that points outside counts in the sum by which raw gates are divided.
                    const bool counts = NORMALIZE != READY || direction.has_source(to.row, to.column, k);
                    gate[k][i] = to.in_image & counts ? gates[gate_offset + k * gate_step] : Stored{};
                }
                value[i] = to.in_image ? (BACKWARD ? grad : x)[value_offset] : Stored{};
                won[i] = BACKWARD && call.merge == MAX && to.in_image ? winner[pixel_at(to)] : d;
            }
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                if (!WHOLE && first + i * step >= groups) continue;
                const Slot to = slot<WHOLE>(b, t0, first + i * step);
#pragma unroll
                for (int k = 0; k < K; ++k) at(k, to.s + 1, to.r) = widen(gate[k][i]);
                if (NORMALIZE != READY) normalize(to);
                State own = widen(value[i]);
                if (BACKWARD && call.merge == MEAN) own /= call.directions;
                at(K, to.s + 1, to.r) = BACKWARD && won[i] != d ? State(0) : own;
            }
        }
        const int s = threadIdx.x / 2, j = threadIdx.x % 2, t = t0 + s, p = b * band - 2 + j - t;
        if (skew && s < chunk)
            for (int a = 0; a < CARRIED; ++a)
                at(FIRST_CARRIED + a, s + 1, j - 2) =
                    t < lines && p >= 0 && p < length ? *edge(b - 1, t, a, j) : State(0);
    }

    INLINE void normalize(const Slot& to) const {
        State given[K];
        for (int k = 0; k < K; ++k) given[k] = at(k, to.s + 1, to.r);
        const Gates pixel(given);
        for (int k = 0; k < K; ++k) {
            const bool inside = to.in_image & direction.has_source(to.row, to.column, k);
            at(k, to.s + 1, to.r) = inside ? pixel.normalized(k) : State(0);
        }
    }

    // Asks the L2 cache for what a tile will need, in pieces of 128 bytes.
    INLINE void prefetch(int b, int t0) const {
        const int piece = 128 / sizeof(Stored);
        if (lane % piece != 0) return;
        for (int i = group; i < groups; i += step) {
            const Slot from = slot<false>(b, t0, i);
            if (!from.in_image) continue;
            for (int k = 0; k < K; ++k) prefetch_l2(gates + gate_at(from) + k * gate_step);
            prefetch_l2(BACKWARD ? grad + grad_at(from) : x + x_at(from));
            if (BACKWARD && call.merge == MAX) prefetch_l2(winner + pixel_at(from));
            if (call.fused && d > 0) prefetch_l2(maps + pixel_at(from));
            if (BACKWARD && call.grad_gates) {
                prefetch_l2(x + x_at(from));
                prefetch_l2(h + pixel_at(from));
            }
        }
    }

    // The recurrence: thread r takes pixel r of every line, and line s reads line s - 1. What lies outside the image stays
    // zero, as it was loaded: a border gate of zero must not meet an infinity there.
    INLINE void scan_lines(int b, int t0, int count) const {
        const int r = threadIdx.x, p_before = b * band + r - skew * (t0 - 1);
        State gate[K], value = 0;
        if (r < band) {
            for (int k = 0; k < K; ++k) gate[k] = at(k, 1, r);
            value = at(K, 1, r);
        }
        for (int s = 1; s <= count; ++s) {
            if (r < band && (unsigned)(p_before - skew * s) < (unsigned)length) {
                if (BACKWARD) {
                    for (int k = 0; k < K; ++k) value += at(k, s - 1, r + side(k) - skew);
                    for (int k = 0; k < K; ++k) at(k, s, r) = gate[k] * value;
                } else if (t0 + s > 1) {  // the first line has no neighbours
                    const State own = value;
                    for (int k = 0; k < K; ++k) value += gate[k] * (at(K, s - 1, r + side(k) - skew) - own);
                }
                at(K, s, r) = value;
            }
            if (r < band && s < count) {  // before the barrier, so that the next line waits for its neighbours alone
                for (int k = 0; k < K; ++k) gate[k] = at(k, s + 1, r);
                value = at(K, s + 1, r);
            }
            __syncthreads();
        }
    }

    // Keeps what the next tile of this band and the tiles of the next band will read.
    INLINE void carry(int b, int t0, int count) const {
        for (int j = threadIdx.x; j < CARRIED * pitch; j += blockDim.x) {
            State* line = &at(FIRST_CARRIED + j / pitch, 0, j % pitch - 2);
            *line = line[count * pitch];
        }
        const int s = threadIdx.x / 2, j = threadIdx.x % 2;
        if (skew && s < count)
            for (int a = 0; a < CARRIED; ++a) *edge(b, t0 + s, a, j) = at(FIRST_CARRIED + a, s + 1, band - 2 + j);
    }

    // Merges this direction's result into that of the directions before it (fused), or leaves it to merge_maps (split).
    template <bool WHOLE>
    INLINE void hand_on(int merge, int b, int t0, int first, State (&value)[BATCH]) const {
        const bool keep_winner = call.fused && merge == MAX && call.winner, last = d + 1 == call.directions;
        Index pixel[BATCH];
        bool in_image[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; ++i) {
            const Slot to = slot<WHOLE>(b, t0, first + i * step);
            pixel[i] = pixel_at(to);
            in_image[i] = to.in_image;
        }
        if (call.fused && d > 0) {
            State before[BATCH];
#pragma unroll
            for (int i = 0; i < BATCH; ++i) before[i] = in_image[i] ? maps[pixel[i]] : State(0);
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                const bool wins = merge == MAX && beats(value[i], before[i]);
                if (keep_winner && wins && in_image[i]) winner[pixel[i]] = d;
                value[i] = merge != MAX ? before[i] + value[i] : wins ? value[i] : before[i];
            }
        } else if (keep_winner) {
#pragma unroll
            for (int i = 0; i < BATCH; ++i)
                if (in_image[i]) winner[pixel[i]] = 0;
        }
        if (call.fused ? !last : call.maps != nullptr) {
#pragma unroll
            for (int i = 0; i < BATCH; ++i)
                if (in_image[i]) maps[pixel[i]] = value[i];
        } else {
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                if (call.fused && merge == MEAN) value[i] /= call.directions;
                if (in_image[i]) store(out + pixel[i], value[i]);
            }
        }
    }

    template <bool WHOLE>
    INLINE void write_h(int b, int t0) const {
        for (int first = group; first < groups; first += BATCH * step) {
            State value[BATCH];
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                const Slot from = slot<WHOLE>(b, t0, first + i * step);
                value[i] = from.in_image ? at(K, from.s + 1, from.r) : State(0);
                if (call.h && from.in_image) h[pixel_at(from)] = value[i];  // the first half of a backward pass
            }
            if (!call.h) hand_on<WHOLE>(call.merge, b, t0, first, value);
        }
    }

    template <bool WHOLE>
    INLINE void write_gradients(int b, int t0) const {
        const Index grad_gate_step = call.channels * call.height * call.width;
        for (int first = group; first < groups; first += BATCH * step) {
            State own_share[BATCH], difference[K][BATCH];  // a gate's neighbour, less x
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                const Slot from = slot<WHOLE>(b, t0, first + i * step);
                const bool wanted = call.grad_gates && from.in_image;
                const State own = wanted ? widen(x[x_at(from)]) : State(0);
#pragma unroll
                for (int k = 0; k < K; ++k) {
                    const Index source = pixel_at(from) + direction.source_offset(k);
                    difference[k][i] = wanted & direction.has_source(from.row, from.column, k) ? h[source] - own : State(0);
                }
            }
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                const Slot from = slot<WHOLE>(b, t0, first + i * step);
                if (!from.in_image) continue;
                const State dh_here = at(K, from.s + 1, from.r);
                own_share[i] = dh_here;
                State gradient[K];
#pragma unroll
                for (int k = 0; k < K; ++k) {
                    own_share[i] -= at(k, from.s + 1, from.r);
                    const bool inside = direction.has_source(from.row, from.column, k);
                    gradient[k] = inside ? dh_here * difference[k][i] : State(0);
                }
                if (call.grad_gates) {
                    if (NORMALIZE != READY) gates_at(gates + gate_at(from), gate_step).differentiate(gradient);
#pragma unroll
                    for (int k = 0; k < K; ++k) store(grad_gates + k * grad_gate_step + pixel_at(from), gradient[k]);
                }
                if (call.dh) dh[pixel_at(from)] = dh_here;
            }
            if (call.out) hand_on<WHOLE>(SUM, b, t0, first, own_share);
        }
    }

    template <bool WHOLE>
    INLINE void write(int b, int t0) const {
        if (BACKWARD) write_gradients<WHOLE>(b, t0);
        else write_h<WHOLE>(b, t0);
    }

    // The lines on which a leaning band meets the image, from the one before, which is all zeros; chunks start aligned.
    INLINE int begin(int b) const { return (skew && b * band > length ? b * band - length : 0) & -chunk; }
    INLINE int end(int b) const { return skew && (b + 1) * band < lines ? (b + 1) * band : lines; }

    // Whether all pixels of a tile are pixels of the image, so that nothing but gates needs a test.
    INLINE bool lies_in_image(int b, int t0) const {
        const int p = b * band - skew * t0;  // the first pixel of the first line
        return groups % (BATCH * step) == 0 && t0 + chunk <= lines && p - skew * (chunk - 1) >= 0 && p + band <= length;
    }

    INLINE void run() const {
        const int bands = (length + skew * (lines - 1) + band - 1) / band;
        for (int b = 0; b < bands; ++b) {
            for (int j = threadIdx.x; j < (K + 1) * (chunk + 1) * pitch; j += blockDim.x) tile[j] = 0;
            __syncthreads();
            for (int t0 = begin(b); t0 < end(b); t0 += chunk) {
                const int count = end(b) - t0 < chunk ? end(b) - t0 : chunk;
                const bool whole = lies_in_image(b, t0);
                if (whole) load<true>(b, t0);
                else load<false>(b, t0);
                __syncthreads();
                const bool ends_band = t0 + chunk >= end(b);
                prefetch(ends_band ? b + 1 : b, ends_band ? begin(b + 1) : t0 + chunk);
                scan_lines(b, t0, count);
                if (whole) write<true>(b, t0);
                else write<false>(b, t0);
                carry(b, t0, count);
                __syncthreads();
            }
        }
    }
};

template <bool BACKWARD>
INLINE void walk(const Call& call, int d) {
    extern __shared__ State shared[];
    if (is_horizontal(call.direction[d])) Walk<BACKWARD, true>(call, blockIdx.x, d, shared).run();
    else Walk<BACKWARD, false>(call, blockIdx.x, d, shared).run();
}

// Grid: planes by 1 (fused) or planes by directions (split).
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) propagate_forward(const __grid_constant__ Call call) {
    const int first = call.fused ? 0 : blockIdx.y, last = call.fused ? call.directions : first + 1;
    for (int d = first; d < last; ++d) walk<false>(call, d);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) propagate_backward(const __grid_constant__ Call call) {
    const int first = call.fused ? 0 : blockIdx.y, last = call.fused ? call.directions : first + 1;
    for (int d = first; d < last; ++d) {
        if (call.h) walk<false>(call, d);
        walk<true>(call, d);
    }
}

// Joins what a split launch left in `maps`. A thread per pixel of the result.
extern "C" __global__ void merge_maps(const __grid_constant__ Call call) {
    const long long area = call.height * call.width, index = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (index >= call.batch * call.channels * area) return;
    const long long plane = index / area, n = plane / call.channels, c = plane % call.channels;
    const State* map = call.maps + (n * call.directions * call.channels + c) * area + index % area;
    State merged = *map;
    unsigned char winner = 0;
    for (int d = 1; d < call.directions; ++d) {
        const State value = map[d * call.channels * area];
        const bool wins = call.merge == MAX && beats(value, merged);
        if (wins) winner = d;
        merged = call.merge != MAX ? merged + value : wins ? value : merged;
    }
    store(call.out + index, call.merge == MEAN ? merged / call.directions : merged);
    if (call.winner) call.winner[index] = winner;
}

// The gradient of gates that channels share, added up in the order of the channels. A thread per n, d, group and pixel.
extern "C" __global__ void sum_over_channels(const __grid_constant__ Call call) {
    const long long area = call.height * call.width, index = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (index >= call.batch * call.directions * call.groups * area) return;
    const long long pixel = index % area, group = index / area % call.groups;
    const long long d = index / area / call.groups % call.directions, n = index / area / call.groups / call.directions;
    const int row = pixel / call.width, column = pixel % call.width;
    const Direction direction(call, is_horizontal(call.direction[d]), call.direction[d]);
    const long long channels = call.channels / call.groups;
    State sum[K] = {};
    for (long long c = group * channels; c < (group + 1) * channels; ++c) {
        const long long at = ((n * call.directions + d) * call.channels + c) * area + pixel;
        const State own = widen(call.x[n * call.x_strides[0] + c * call.x_strides[1] + row * call.x_strides[2] +
                                       column * call.x_strides[3]]);
        for (int k = 0; k < K; ++k)
            if (direction.has_source(row, column, k)) sum[k] += call.dh[at] * (call.h[at + direction.source_offset(k)] - own);
    }
    if (NORMALIZE != READY) {
        const long long to_n = call.gate_strides[0], to_d = call.gate_strides[1], to_g = call.gate_strides[3];
        const Stored* first = call.gates + n * to_n + d * to_d + group * to_g + row * call.gate_strides[4] +
                              column * call.gate_strides[5];
        gates_at(first, call.gate_strides[2]).differentiate(sum);
    }
    for (int k = 0; k < K; ++k)
        store(call.grad_gates + (((n * call.directions + d) * K + k) * call.groups + group) * area + pixel, sum[k]);
}
