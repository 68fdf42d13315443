// Spreading along dilated affinities on a GPU, and its gradient: naive_spread.py, one launch per step.
//
// A thread takes one pixel and eight channels, or eight neighbours where it adds up the gradient of their affinities. So
// an affinity is loaded once for eight channels; the other channels, and the pixels that a block of 32 x 8 has in common
// with its neighbours, find it in the caches. What a step writes only the next launch reads: no barriers, no atomics,
// and sums in a fixed order, so that the same input gives the same bits on every run.
//
//   Forward   h(p) <- s(p) (h(p) + sum_k a_k(p) h(p_k)),  with s(p) = 1 / (1 + sum_k a_k(p))
//   Backward  e(p) <- s(p) e(p) + sum_k a_k(q) s(q) e(q)   over the pixels q with p as a neighbour: q_k = p
//             da_k(p) += s(p) sum_c e_c(p) (h_c(p_k) - h'_c(p)),  where h' is the h that this step made, e its gradient
//
// Bytes moved by a step: the affinities and the map read, the map written. Backward makes the steps once more, keeping
// each h, and then per step reads e and two h, and reads and writes e and the sums da.

// cuda.py puts stored.cu before this.
constexpr int CHUNK = 8;            // channels, or neighbours, of a thread
constexpr int TILE = 32, ROWS = 8;  // pixels of a block
constexpr int MAX_NEIGHBOURS = 256;

struct Map {  // (N, C, H, W)
    long long strides[4];
    long long stored;  // whether its numbers are Stored or State
};

// One launch. cuda.py packs the same fields in the same order; what is not wanted is null.
struct Call {
    const void* source;       // forward: h; backward: e
    const void* before;       // backward: h before this step,
    const State* after;       // and after it
    const Stored* affinity;   // (N, P, H, W), any strides
    State* to;                // (N, C, H, W): the result of the step, or
    Stored* out;              // that of the last one
    State* scales;            // (N, H, W)
    State* sums;              // (N, P, H, W): the gradient of affinities so far
    Stored* grad_affinity;    // (N, P, H, W): where it goes in the last launch
    Map source_map, before_map, after_map;
    long long affinity_strides[4];
    long long batch, channels, height, width, neighbours;
    long long chunks;         // backward: how many blocks in y take channels; the others take neighbours
    long long fresh;          // backward: no sums yet
    int offsets[MAX_NEIGHBOURS][2];
};

// The pixel of a thread.
struct Pixel {
    const Call& call;
    int row, column;
    long long n;
    bool in_image;

    INLINE Pixel(const Call& call) : call(call) {
        const unsigned across = (call.width + TILE - 1) / TILE, down = (call.height + ROWS - 1) / ROWS;
        const unsigned tile = blockIdx.x;
        column = tile % across * TILE + threadIdx.x % TILE;
        row = tile / across % down * ROWS + threadIdx.x / TILE;
        n = tile / across / down;
        in_image = row < call.height && column < call.width;
    }
    INLINE bool inside(int down, int right) const {
        return (unsigned)(row + down) < (unsigned)call.height && (unsigned)(column + right) < (unsigned)call.width;
    }
    // An element of a contiguous (N, planes, H, W).
    INLINE long long at(long long plane, long long planes, int down = 0, int right = 0) const {
        return ((n * planes + plane) * call.height + row + down) * call.width + column + right;
    }
    INLINE long long offset(const long long (&strides)[4], long long plane, int down = 0, int right = 0) const {
        return n * strides[0] + plane * strides[1] + (row + down) * strides[2] + (column + right) * strides[3];
    }
    INLINE State affinity(int k, int down = 0, int right = 0) const {
        return widen(call.affinity[offset(call.affinity_strides, k, down, right)]);
    }
};

template <bool BACKWARD, class From>
INLINE void step(const Call& call, const Pixel& pixel) {
    const From* source = (const From*)call.source;
    const long long first = (long long)blockIdx.y * CHUNK, next = call.source_map.strides[1];
    const int channels = call.channels - first < CHUNK ? call.channels - first : CHUNK;
    const long long own = pixel.offset(call.source_map.strides, first);
    const State own_weight = BACKWARD ? call.scales[pixel.at(0, 1)] : State(1);
    State total = 1, sum[CHUNK];
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) sum[i] = i < channels ? own_weight * widen(source[own + i * next]) : State(0);
    for (int k = 0; k < call.neighbours; ++k) {
        const int down = BACKWARD ? -call.offsets[k][0] : call.offsets[k][0];
        const int right = BACKWARD ? -call.offsets[k][1] : call.offsets[k][1];
        if (!pixel.inside(down, right)) continue;  // whatever its affinity holds
        State weight;
        if (BACKWARD) {
            weight = pixel.affinity(k, down, right) * call.scales[pixel.at(0, 1, down, right)];
        } else {
            weight = pixel.affinity(k);
            total += weight;
        }
        const long long neighbour = pixel.offset(call.source_map.strides, first, down, right);
#pragma unroll
        for (int i = 0; i < CHUNK; ++i)
            if (i < channels) sum[i] += weight * widen(source[neighbour + i * next]);
    }
    const State scale = BACKWARD ? State(1) : 1 / total;
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) {
        if (i >= channels) continue;
        const long long to = pixel.at(first + i, call.channels);
        if (call.out) store(call.out + to, scale * sum[i]);
        else call.to[to] = scale * sum[i];
    }
}

template <class From, class Before>
INLINE void add_gradients(const Call& call, const Pixel& pixel) {
    const From* grad = (const From*)call.source;
    const Before* before = (const Before*)call.before;
    const State* after = call.after;
    const int first = (blockIdx.y - call.chunks) * CHUNK;
    State sum[CHUNK] = {};
    for (long long c = 0; c < call.channels; ++c) {
        const State upstream = widen(grad[pixel.offset(call.source_map.strides, c)]);
        const State own = after[pixel.at(c, call.channels)];
#pragma unroll
        for (int i = 0; i < CHUNK; ++i) {
            const int down = call.offsets[first + i][0], right = call.offsets[first + i][1];
            if (pixel.inside(down, right))
                sum[i] += upstream * (widen(before[pixel.offset(call.before_map.strides, c, down, right)]) - own);
        }
    }
    const State scale = call.scales[pixel.at(0, 1)];
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) {
        const bool inside = pixel.inside(call.offsets[first + i][0], call.offsets[first + i][1]);
        const long long to = pixel.at(first + i, call.neighbours);
        const State gradient = inside ? scale * sum[i] : State(0);
        const State total = call.fresh ? gradient : call.sums[to] + gradient;
        if (call.grad_affinity) store(call.grad_affinity + to, total);
        else call.sums[to] = total;
    }
}

// Grid: tiles of all images by chunks of channels.
extern "C" __global__ void __launch_bounds__(TILE * ROWS, 1) spread_step(const __grid_constant__ Call call) {
    const Pixel pixel(call);
    if (!pixel.in_image) return;
    if (call.source_map.stored) step<false, Stored>(call, pixel);
    else step<false, State>(call, pixel);
}

// Grid: tiles of all images by chunks of channels, if that gradient is wanted, and then of neighbours, if that one is.
extern "C" __global__ void __launch_bounds__(TILE * ROWS, 1) spread_back(const __grid_constant__ Call call) {
    const Pixel pixel(call);
    if (!pixel.in_image) return;
    const bool stored = call.source_map.stored;
    if (blockIdx.y < call.chunks) {
        if (stored) step<true, Stored>(call, pixel);
        else step<true, State>(call, pixel);
    } else if (call.before_map.stored) {
        if (stored) add_gradients<Stored, Stored>(call, pixel);
        else add_gradients<State, Stored>(call, pixel);
    } else {
        if (stored) add_gradients<Stored, State>(call, pixel);
        else add_gradients<State, State>(call, pixel);
    }
}

// Grid: tiles of all images.
extern "C" __global__ void __launch_bounds__(TILE * ROWS, 1) find_scales(const __grid_constant__ Call call) {
    const Pixel pixel(call);
    if (!pixel.in_image) return;
    State total = 1;
    for (int k = 0; k < call.neighbours; ++k)
        if (pixel.inside(call.offsets[k][0], call.offsets[k][1])) total += pixel.affinity(k);
    call.scales[pixel.at(0, 1)] = 1 / total;
}
