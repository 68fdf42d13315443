// Spatial propagation on a GPU and its gradient: naive.py, written for blocks of threads.
//
// A walk goes over one plane (n, c) of the map along one direction. It sees `lines` lines t of `length` pixels p, and the
// line before stays on the chip.
//
//   Tiles.  A block holds a tile of `chunk` lines by `band` pixels in shared memory: K gates and x of every pixel. It
//   loads a tile in the order in which memory lies (along rows, for every direction), scans it line by line with a
//   thread per pixel and a barrier per line, h taking the place of x, and writes it out in the order of memory again.
//   Meanwhile the L2 cache fetches the next tile. Blocks are small (128 threads for bands of 128 pixels), so that a barrier
//   waits for few warps and three of them share a multiprocessor: one scans while others load and write.
//
//   Pieces.  A thread loads and writes PIECE pixels that lie next to each other in a row: 16 bytes, so eight halves. Where
//   a piece does not lie in the image as a whole, it takes its pixels one by one. Where rows are not aligned to 16 bytes,
//   PIECE is 1. The pieces of a warp lie in different banks of shared memory, in all directions.
//
//   Skew.  With K = 3 a band depends on the bands on both its sides. Where a line is longer than a band, bands
//   therefore lean: line t of a band lies t pixels further back, and the neighbours of its pixel r are r-2, r-1 and r of
//   the line before. Now a band needs nothing but the last two pixels of each line of the band before it (`edges`),
//   and is walked from end to end on its own. So lines may have any length, and a tile spans 128 bytes of memory both
//   ways, where tiles of whole lines would have to be a few columns narrow and waste most of what memory delivers.
//
//   Fused.  If there are planes enough to fill the GPU, a block takes all bands of all directions of a plane in turn, and
//   merges each direction into the result as it writes it out.
//
//   Split.  If not, every band of every direction has a block of its own, and merge_maps joins the directions. A block tells
//   how many lines it has finished (`progress`), and the block of the next band follows a tile behind. There is no barrier
//   among blocks, and none ever waits for one that has not started: blocks take their bands in the order in which they
//   start, by a ticket, so whoever waits, waits for a lower ticket, and the lowest waits for nobody. In the backward pass
//   h is made by a launch of its own.
//
//   Backward.  dh of a line is the upstream gradient and gate * dh of the line after it: the
//   same walk, from the last pixel to the first, that passes on the products gate * dh instead of h. The gradient of a
//   gate is dh * (its neighbour - x); that of x is (1 - sum of gates) * dh, which is dh less the products. Where channels
//   share gates, dh is kept and sum_over_channels adds up. Nothing is added up by atomics: the same input gives the
//   same bits on every run.
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
// Edges add 4 / band forward and 16 / band backward for each direction, which the L2 cache holds. Channels that share
// gates find them in that cache after the first; their backward pass also writes and reads h and dh once more.
// benchmarks/model.py counts all this, and says how long it should take.

// cuda.py puts stored.cu before this and compiles both with -DCONNECTION=... -DINDEX=... -DPIECE=... -DNORMALIZE=...
// -DSHRINK=... besides the types.
using Index = INDEX;           // unsigned, or long long where 31 bits cannot count the elements that a plane spans
constexpr int K = CONNECTION;  // gates per pixel: 1 or 3
constexpr int MAX_THREADS = 256;
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
    State* edges;           // per walk, for each band (fused: for two) and line: the last two pixels, for the next band
    unsigned* progress;     // split, where bands depend on each other: the next ticket, then per band the lines finished
    long long edges_per_walk;
    long long x_strides[4], gate_strides[6], grad_strides[5];  // of (n, c, h, w), (n, d, k, g, h, w), (n, d, c, h, w)
    long long batch, channels, groups, height, width, directions, direction[4];
    long long merge, fused, bands;          // bands of the directions that have most
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
INLINE unsigned take_ticket(unsigned* next) { return atomicAdd(next, 1); }
// What a block wrote before a barrier and `publish`, others may read after `wait_until`.
INLINE void publish(unsigned* lines, unsigned finished) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(lines), "r"(finished) : "memory");
}
INLINE void wait_until(const unsigned* lines, unsigned wanted) {
    unsigned finished;
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(finished) : "l"(lines) : "memory");
    while (finished < wanted);
}
#endif

// N numbers that lie next to each other, in words of up to 16 bytes.
template <int N, class T> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Word {
    static constexpr int COUNT = sizeof(T) * N < 16 ? N : 16 / sizeof(T);
    T number[COUNT];
};
template <int N, class T> INLINE void read(const T* from, T (&to)[N]) {
#pragma unroll
    for (int i = 0; i < N; i += Word<N, T>::COUNT) {
        const Word<N, T> word = *reinterpret_cast<const Word<N, T>*>(from + i);
#pragma unroll
        for (int j = 0; j < Word<N, T>::COUNT; ++j) to[i + j] = word.number[j];
    }
}
template <int N, class T> INLINE void write(T* to, const T (&from)[N]) {
#pragma unroll
    for (int i = 0; i < N; i += Word<N, T>::COUNT) {
        Word<N, T> word;
#pragma unroll
        for (int j = 0; j < Word<N, T>::COUNT; ++j) word.number[j] = from[i + j];
        *reinterpret_cast<Word<N, T>*>(to + i) = word;
    }
}

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
    // How many pieces a thread has on their way at a time.
    static constexpr int BATCH = PIECE == 1 ? (BACKWARD ? 8 : 16) / sizeof(State) : BACKWARD || PIECE == 8 ? 1 : 2;
    static constexpr int LOG2_PIECE = PIECE == 8 ? 3 : PIECE == 4 ? 2 : PIECE == 2 ? 1 : 0;
    static constexpr int CARRIED = BACKWARD ? K : 1;  // arrays of the tile that the next line reads: products, or h
    static constexpr int FIRST_CARRIED = BACKWARD ? 0 : K;

    struct Pixel { int s, r, row, column; bool in_image; };  // line and pixel of the tile, row and column of the image
    template <int N> struct Loaded { Stored gate[K][N], value[N]; unsigned char won[N]; };  // x, or the upstream gradient

    const Call& call;
    const int d, lines, length;
    const Direction direction;
    const int line_step, first_line;  // a walk starts at the first or the last column or row of the image
    const bool ascends;               // whether columns do, where the walk's lines or pixels do
    const int log2_band, log2_chunk, band, chunk, skew, pitch;
    const int log2_rows, log2_near, pieces;  // of a tile: rows of the image, pieces of a row that a warp takes, all pieces
    const Index gate_step;                   // from gate k to gate k + 1
    State* const tile;  // [K gates, then h or dh][line before, lines of the tile][2 pixels before, the band, 1 after]
    State* const edges;
    unsigned* const progress;  // of the bands of this walk

    // The first element of this plane in every tensor, of use where the tensor is given.
    const Stored *x, *gates, *grad;
    unsigned char* winner;
    Stored *out, *grad_gates;
    State *maps, *h, *dh;

    INLINE Walk(const Call& call, unsigned plane, int d, State* tile)
        : call(call), d(d), lines(HORIZONTAL ? call.width : call.height),
          length(HORIZONTAL ? call.height : call.width), direction(call, HORIZONTAL, call.direction[d]),
          line_step(BACKWARD ? direction.back : -direction.back), first_line(line_step > 0 ? 0 : lines - 1),
          ascends(HORIZONTAL ? line_step > 0 : !BACKWARD),
          log2_band(call.log2_band[!HORIZONTAL]), log2_chunk(call.log2_chunk[!HORIZONTAL]), band(1 << log2_band),
          chunk(1 << log2_chunk), skew(K == 3 && length > band),
          pitch(skew ? band + 4 : (band + 3) | 1),  // odd, or odd once lines lean: so pieces lie in different banks
          log2_rows(HORIZONTAL ? log2_band : log2_chunk),
          log2_near(((HORIZONTAL ? log2_chunk : log2_band) < 5 ? (HORIZONTAL ? log2_chunk : log2_band) : 5) - LOG2_PIECE),
          pieces(1 << (log2_band + log2_chunk - LOG2_PIECE)), gate_step(call.gate_strides[2]), tile(tile),
          edges(call.edges + walk_index(call, plane, d) * call.edges_per_walk),
          progress(call.progress + 1 + walk_index(call, plane, d) * call.bands) {
        const unsigned n = plane / (unsigned)call.channels, c = plane % (unsigned)call.channels;
        const unsigned group = c / ((unsigned)call.channels / (unsigned)call.groups);
        const long long area = call.height * call.width, map = (n * call.directions + d) * call.channels + c;
        const long long merged = call.fused ? plane : map;
        x = pinned(call.x + n * call.x_strides[0] + c * call.x_strides[1]);
        gates = pinned(call.gates + n * call.gate_strides[0] + d * call.gate_strides[1] + group * call.gate_strides[3]);
        grad = pinned(call.grad + n * call.grad_strides[0] + d * call.grad_strides[1] + c * call.grad_strides[2]);
        winner = pinned(call.winner + plane * area);
        out = pinned(call.out + merged * area);
        maps = pinned(call.maps + merged * area);
        h = pinned(call.h + merged * area);
        dh = pinned(call.dh + map * area);
        grad_gates = pinned(call.grad_gates + ((n * call.directions + d) * K * call.channels + c) * area);
    }

    INLINE static long long walk_index(const Call& call, unsigned plane, int d) {
        return call.fused ? plane : d * call.batch * call.channels + plane;
    }
    INLINE State& at(int array, int s, int r) const { return tile[(array * (chunk + 1) + s) * pitch + r + 2]; }

    // Pixel i of a piece. Pieces are numbered along rows of the image, 32 pixels of a row before the next row. Where bands
    // lean, a row of the tile wraps around at the end of the band, so that pieces stay aligned.
    INLINE Pixel pixel_of(int b, int t0, int piece, int i) const {
        const int across = piece >> log2_near & (1 << log2_rows) - 1;
        const int place = piece & (1 << log2_near) - 1 | piece >> (log2_near + log2_rows) << log2_near;
        const int along = place * PIECE + (ascends ? i : PIECE - 1 - i);
        Pixel pixel;
        pixel.s = HORIZONTAL ? along : across;
        pixel.r = (HORIZONTAL ? across : along) + skew * pixel.s & band - 1;
        const int t = t0 + pixel.s, p = b * band + pixel.r - skew * t;
        const int line = first_line + line_step * t, in_line = BACKWARD ? length - 1 - p : p;
        pixel.row = HORIZONTAL ? in_line : line;
        pixel.column = HORIZONTAL ? line : in_line;
        pixel.in_image = piece < pieces & t < lines & (unsigned)p < (unsigned)length;
        return pixel;
    }
    // Whether a piece that begins with this pixel lies in the image as a whole, and in one row.
    INLINE bool is_whole(int b, int t0, int piece, const Pixel& first) const {
        const Pixel last = pixel_of(b, t0, piece, PIECE - 1);
        return first.in_image & last.in_image & first.row == last.row & last.column - first.column == PIECE - 1;
    }
    // Whether N pixels from this one on have all their neighbours in the image.
    template <int N> INLINE bool is_inner(const Pixel& first) const {
        bool inner = first.in_image;
        for (int k = 0; k < K; ++k)
            inner = inner & direction.has_source(first.row, first.column, k) &
                    direction.has_source(first.row, first.column + N - 1, k);
        return inner;
    }
    // Pixel i of those that begin with this one, in the tile.
    INLINE State& at(int array, const Pixel& first, int i) const {
        const int apart = HORIZONTAL ? pitch + skew : 1;
        return (&at(array, first.s + 1, first.r))[ascends ? i * apart : -i * apart];
    }

    INLINE static Index offset(const Pixel& at, Index row_stride, Index column_stride) {
        return at.row * row_stride + at.column * column_stride;
    }
    INLINE Index pixel_at(const Pixel& at) const { return offset(at, call.width, 1); }
    INLINE Index x_at(const Pixel& at) const { return offset(at, call.x_strides[2], call.x_strides[3]); }
    INLINE Index gate_at(const Pixel& at) const { return offset(at, call.gate_strides[4], call.gate_strides[5]); }
    INLINE Index grad_at(const Pixel& at) const { return offset(at, call.grad_strides[3], call.grad_strides[4]); }
    INLINE State* edge(int b, int t, int array, int j) const {
        return edges + (((long long)(call.fused ? b & 1 : b) * lines + t) * CARRIED + array) * 2 + j;
    }

    template <int N> INLINE void fetch(const Pixel& first, Loaded<N>& to) const {
#pragma unroll
        for (int k = 0; k < K; ++k) read<N>(gates + gate_at(first) + k * gate_step, to.gate[k]);
        read<N>(BACKWARD ? grad + grad_at(first) : x + x_at(first), to.value);
        if (BACKWARD && call.merge == MAX) read<N>(winner + pixel_at(first), to.won);
    }
    template <int N> INLINE void put(const Pixel& first, const Loaded<N>& loaded) const {
        const bool inner = is_inner<N>(first);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            State given[K];
            for (int k = 0; k < K; ++k) given[k] = widen(loaded.gate[k][i]);
            const Gates ready(given);
            for (int k = 0; k < K; ++k) {
                const bool inside = inner || first.in_image & direction.has_source(first.row, first.column + i, k);
                at(k, first, i) = inside ? ready.normalized(k) : State(0);
            }
            State own = widen(loaded.value[i]);
            if (BACKWARD && call.merge == MEAN) own /= call.directions;
            at(K, first, i) = BACKWARD && call.merge == MAX && loaded.won[i] != d ? State(0) : own;
        }
    }
    INLINE void load(int b, int t0) const {
        for (int number = threadIdx.x; number < pieces; number += BATCH * blockDim.x) {
            Loaded<PIECE> loaded[BATCH];
            Pixel first[BATCH];
            bool whole[BATCH];
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                first[i] = pixel_of(b, t0, number + i * blockDim.x, 0);
                whole[i] = is_whole(b, t0, number + i * blockDim.x, first[i]);
                if (whole[i]) fetch(first[i], loaded[i]);
            }
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                if (whole[i]) {
                    put(first[i], loaded[i]);
                } else if (number + i * blockDim.x < pieces) {
#pragma unroll 1
                    for (int j = 0; j < PIECE; ++j) {
                        const Pixel pixel = pixel_of(b, t0, number + i * blockDim.x, j);
                        Loaded<1> one = {};
                        if (pixel.in_image) fetch(pixel, one);
                        put(pixel, one);
                    }
                }
            }
        }
    }

    // The last two pixels of each line of the band before, as soon as they are there.
    INLINE void load_edges(int b, int t0, int count) const {
        if (!skew) return;
        if (call.progress && b > 0) wait_until(progress + b - 1, t0 + count < end(b - 1) ? t0 + count : end(b - 1));
        for (int i = threadIdx.x; i < 2 * chunk; i += blockDim.x) {
            const int s = i / 2, j = i % 2, t = t0 + s, p = b * band - 2 + j - t;
            for (int a = 0; a < CARRIED; ++a)
                at(FIRST_CARRIED + a, s + 1, j - 2) =
                    t < lines && p >= 0 && p < length ? *edge(b - 1, t, a, j) : State(0);
        }
    }

    // Asks the L2 cache for what a tile will need, in pieces of 128 bytes.
    INLINE void prefetch(int b, int t0) const {
        const int apart = 128 / (PIECE * sizeof(Stored));  // pieces
        for (int number = threadIdx.x; number < pieces; number += blockDim.x) {
            if ((number & (1 << log2_near) - 1) % apart != 0) continue;
            const Pixel from = pixel_of(b, t0, number, 0);
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
        if (!skew) return;
        for (int i = threadIdx.x; i < 2 * count; i += blockDim.x)
            for (int a = 0; a < CARRIED; ++a)
                *edge(b, t0 + i / 2, a, i % 2) = at(FIRST_CARRIED + a, i / 2 + 1, band - 2 + i % 2);
    }

    // Merges this direction's result into that of the directions before it (fused), or leaves it to merge_maps (split).
    template <int N> INLINE void hand_on(int merge, const Pixel& first, State (&value)[N]) const {
        const bool keep_winner = call.fused && merge == MAX && call.winner, last = d + 1 == call.directions;
        const Index pixel = pixel_at(first);
        if (call.fused && d > 0) {
            State before[N];
            read<N>(maps + pixel, before);
#pragma unroll
            for (int i = 0; i < N; ++i) {
                const bool wins = merge == MAX && beats(value[i], before[i]);
                if (keep_winner && wins) winner[pixel + i] = d;
                value[i] = merge != MAX ? before[i] + value[i] : wins ? value[i] : before[i];
            }
        } else if (keep_winner) {
            const unsigned char none[N] = {};
            write<N>(winner + pixel, none);
        }
        if (call.fused ? !last : call.maps != nullptr) return write<N>(maps + pixel, value);
        Stored narrow[N];
#pragma unroll
        for (int i = 0; i < N; ++i) store(narrow + i, call.fused && merge == MEAN ? value[i] / call.directions : value[i]);
        write<N>(out + pixel, narrow);
    }

    template <int N> INLINE void write_h(const Pixel& first) const {
        State value[N];
#pragma unroll
        for (int i = 0; i < N; ++i) value[i] = at(K, first, i);
        if (call.h) write<N>(h + pixel_at(first), value);  // the first half of a backward pass
        else hand_on<N>(call.merge, first, value);
    }

    // h of the neighbours to which gate k points; anything where that is outside.
    template <int N> INLINE void read_sources(const Pixel& first, int k, State (&to)[N]) const {
        const int row = first.row + (HORIZONTAL ? side(k) : direction.back);
        const int shift = HORIZONTAL ? direction.back : side(k);
        State level[N] = {}, next = 0;  // what lies level with the pixels in that row, aligned, and one pixel beside it
        if ((unsigned)row < (unsigned)call.height) {
            const int beside = shift < 0 ? first.column - 1 : first.column + N;
            const State* from = h + (Index)row * (Index)call.width;
            if (N > 1 || shift == 0) read<N>(from + first.column, level);
            if (shift != 0 && (unsigned)beside < (unsigned)call.width) next = from[beside];
        }
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const State left = i > 0 ? level[i > 0 ? i - 1 : 0] : next;
            const State right = i + 1 < N ? level[i + 1 < N ? i + 1 : 0] : next;
            to[i] = shift == 0 ? level[i] : shift < 0 ? left : right;
        }
    }

    template <int N> INLINE void write_gradients(const Pixel& first) const {
        State here[N], own_share[N];  // dh, and what goes on to x
#pragma unroll
        for (int i = 0; i < N; ++i) {
            here[i] = own_share[i] = at(K, first, i);
            for (int k = 0; k < K; ++k) own_share[i] -= at(k, first, i);
        }
        if (call.grad_gates) {
            Stored own[N], raw[K][N];
            State gradient[K][N];
            read<N>(x + x_at(first), own);
            for (int k = 0; k < K; ++k) read_sources<N>(first, k, gradient[k]);
            if (NORMALIZE != READY)
                for (int k = 0; k < K; ++k) read<N>(gates + gate_at(first) + k * gate_step, raw[k]);
            const bool inner = is_inner<N>(first);
#pragma unroll
            for (int i = 0; i < N; ++i) {
                State one[K], given[K];
                for (int k = 0; k < K; ++k) {
                    const bool inside = inner || direction.has_source(first.row, first.column + i, k);
                    one[k] = inside ? here[i] * (gradient[k][i] - widen(own[i])) : State(0);
                    if (NORMALIZE != READY) given[k] = widen(raw[k][i]);
                }
                if (NORMALIZE != READY) Gates(given).differentiate(one);
                for (int k = 0; k < K; ++k) gradient[k][i] = one[k];
            }
            for (int k = 0; k < K; ++k) {
                Stored narrow[N];
#pragma unroll
                for (int i = 0; i < N; ++i) store(narrow + i, gradient[k][i]);
                write<N>(grad_gates + k * (Index)(call.channels * call.height * call.width) + pixel_at(first), narrow);
            }
        }
        if (call.dh) write<N>(dh + pixel_at(first), here);
        if (call.out) hand_on<N>(SUM, first, own_share);
    }

    template <int N> INLINE void write_pixels(const Pixel& first) const {
        if (BACKWARD) write_gradients<N>(first);
        else write_h<N>(first);
    }
    INLINE void write_tile(int b, int t0) const {
        for (int number = threadIdx.x; number < pieces; number += blockDim.x) {
            const Pixel first = pixel_of(b, t0, number, 0);
            if (is_whole(b, t0, number, first)) {
                write_pixels<PIECE>(first);
            } else if (PIECE > 1) {
#pragma unroll 1
                for (int j = 0; j < PIECE; ++j) {
                    const Pixel pixel = pixel_of(b, t0, number, j);
                    if (pixel.in_image) write_pixels<1>(pixel);
                }
            }
        }
    }

    // The lines on which a leaning band meets the image, from the one before, which is all zeros; chunks start aligned.
    INLINE int begin(int b) const { return (skew && b * band > length ? b * band - length : 0) & -chunk; }
    INLINE int end(int b) const { return skew && (b + 1) * band < lines ? (b + 1) * band : lines; }
    INLINE int bands() const { return (length + skew * (lines - 1) + band - 1) / band; }

    INLINE void run(int b) const {
        for (int j = threadIdx.x; j < CARRIED * (chunk + 1) * pitch; j += blockDim.x) (&at(FIRST_CARRIED, 0, -2))[j] = 0;
        __syncthreads();
        for (int t0 = begin(b); t0 < end(b); t0 += chunk) {
            const int count = end(b) - t0 < chunk ? end(b) - t0 : chunk;
            load(b, t0);
            load_edges(b, t0, count);
            __syncthreads();
            if (t0 + chunk < end(b)) prefetch(b, t0 + chunk);
            else if (call.fused) prefetch(b + 1, begin(b + 1));
            scan_lines(b, t0, count);
            write_tile(b, t0);
            carry(b, t0, count);
            __syncthreads();
            if (call.progress && threadIdx.x == 0) publish(progress + b, t0 + count);
        }
    }
};

// What a block walks: of one plane, directions and bands.
struct Part {
    unsigned plane;
    int first_direction, last_direction, first_band, last_band;  // up to these two

    // Fused: all. Split: one band of one direction, those that others wait for, earlier.
    INLINE Part(const Call& call, State* shared)
        : plane(blockIdx.x), first_direction(0), last_direction(call.directions), first_band(0), last_band(call.bands) {
        if (call.fused) return;
        unsigned turn = blockIdx.x;
        if (call.progress) {
            if (threadIdx.x == 0) shared[0] = take_ticket(call.progress);  // cuda.py sees to it that State can count them
            __syncthreads();
            turn = shared[0];
            __syncthreads();
        }
        const unsigned planes = call.batch * call.channels, walks = planes * (unsigned)call.directions;
        plane = turn % walks % planes;
        first_direction = turn % walks / planes, last_direction = first_direction + 1;
        first_band = turn / walks, last_band = first_band + 1;
    }
};

template <bool BACKWARD, bool HORIZONTAL>
INLINE void walk_bands(const Call& call, const Part& part, int d, State* shared) {
    const Walk<BACKWARD, HORIZONTAL> walk(call, part.plane, d, shared);
    for (int b = part.first_band; b < part.last_band && b < walk.bands(); ++b) walk.run(b);
}
template <bool BACKWARD>
INLINE void walk(const Call& call, const Part& part, int d, State* shared) {
    if (is_horizontal(call.direction[d])) walk_bands<BACKWARD, true>(call, part, d, shared);
    else walk_bands<BACKWARD, false>(call, part, d, shared);
}

// Grid: planes (fused), or bands times directions times planes (split).
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) propagate_forward(const __grid_constant__ Call call) {
    extern __shared__ State shared[];
    const Part part(call, shared);
    for (int d = part.first_direction; d < part.last_direction; ++d) walk<false>(call, part, d, shared);
}

// As above; h is there already if split.
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) propagate_backward(const __grid_constant__ Call call) {
    extern __shared__ State shared[];
    const Part part(call, shared);
    for (int d = part.first_direction; d < part.last_direction; ++d) {
        if (call.fused && call.h) walk<false>(call, part, d, shared);
        walk<true>(call, part, d, shared);
    }
}

// Joins what a split launch left in `maps`. Grid: planes, and threads for some pixels of each.
extern "C" __global__ void merge_maps(const __grid_constant__ Call call) {
    const unsigned n = blockIdx.x / (unsigned)call.channels, c = blockIdx.x % (unsigned)call.channels;
    const long long area = call.height * call.width, step = call.channels * area;  // from direction to direction
    const State* maps = call.maps + (n * call.directions * call.channels + c) * area;
    for (Index pixel = blockIdx.y * blockDim.x + threadIdx.x; pixel < area; pixel += gridDim.y * blockDim.x) {
        State merged = maps[pixel];
        unsigned char winner = 0;
        for (int d = 1; d < call.directions; ++d) {
            const State value = maps[d * step + pixel];
            const bool wins = call.merge == MAX && beats(value, merged);
            if (wins) winner = d;
            merged = call.merge != MAX ? merged + value : wins ? value : merged;
        }
        store(call.out + blockIdx.x * area + pixel, call.merge == MEAN ? merged / call.directions : merged);
        if (call.winner) call.winner[blockIdx.x * area + pixel] = winner;
    }
}

// The gradient of gates that channels share, added up in the order of the channels. Grid: (n, d, group), and threads for
// some pixels of each.
extern "C" __global__ void sum_over_channels(const __grid_constant__ Call call) {
    const unsigned groups = call.groups, group = blockIdx.x % groups, channels = (unsigned)call.channels / groups;
    const unsigned d = blockIdx.x / groups % (unsigned)call.directions, n = blockIdx.x / groups / (unsigned)call.directions;
    const long long area = call.height * call.width, first = (n * call.directions + d) * call.channels + group * channels;
    const Direction direction(call, is_horizontal(call.direction[d]), call.direction[d]);
    const Stored* x = call.x + n * call.x_strides[0] + group * channels * call.x_strides[1];
    for (Index pixel = blockIdx.y * blockDim.x + threadIdx.x; pixel < area; pixel += gridDim.y * blockDim.x) {
        const int row = pixel / (Index)call.width, column = pixel % (Index)call.width;
        const Index x_at = row * (Index)call.x_strides[2] + column * (Index)call.x_strides[3];
        State sum[K] = {};
        for (unsigned c = 0; c < channels; ++c) {
            const State own = widen(x[c * call.x_strides[1] + x_at]);
            const State dh = call.dh[(first + c) * area + pixel];
            const State* h = call.h + (first + c) * area + pixel;
            for (int k = 0; k < K; ++k)
                if (direction.has_source(row, column, k)) sum[k] += dh * (h[direction.source_offset(k)] - own);
        }
        if (NORMALIZE != READY) {
            const Stored* raw = call.gates + n * call.gate_strides[0] + d * call.gate_strides[1] +
                                group * call.gate_strides[3] + row * call.gate_strides[4] + column * call.gate_strides[5];
            gates_at(raw, call.gate_strides[2]).differentiate(sum);
        }
        for (int k = 0; k < K; ++k)
            store(call.grad_gates + (((n * call.directions + d) * K + k) * groups + group) * area + pixel, sum[k]);
    }
}
