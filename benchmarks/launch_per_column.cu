// Propagation as the old implementations ran it: one launch for each row or column, one thread for each (n, c, pixel
// of that line), float32 only, every line written to memory and read back from there by the next launch. A rival for
// benchmarks/propagation.py, not part of the package.
//
// Maps are (N, C, H, W), the gates of one direction (N, K, G, H, W), all contiguous.
// `along` is the distance between neighbours on a line, `back` the distance to the line scanned before.

typedef long long index_t;

__device__ inline float gate_at(const float* gates, index_t image, index_t channel, index_t k, index_t pixel,
                                index_t channels, index_t groups, index_t connection, index_t pixels) {
    index_t group = (unsigned)channel / ((unsigned)channels / (unsigned)groups);
    return gates[((image * connection + k) * groups + group) * pixels + pixel];
}

extern "C" __global__ void forward_line(const float* x, const float* gates, float* h, index_t images, index_t channels,
                                        index_t groups, index_t connection, index_t pixels,
                                        index_t length, index_t along, index_t start, index_t back, index_t first) {
    unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= images * channels * length) return;
    index_t p = thread % (unsigned)length, line = thread / (unsigned)length;
    index_t channel = (unsigned)line % (unsigned)channels, image = (unsigned)line / (unsigned)channels;
    index_t plane = (image * channels + channel) * pixels, pixel = start + p * along;
    if (first) {
        h[plane + pixel] = x[plane + pixel];
        return;
    }
    float kept = 1.0f, heard = 0.0f;
    for (index_t k = 0; k < connection; ++k) {
        index_t side = connection == 3 ? k - 1 : 0;
        if (p + side < 0 || p + side >= length) continue;
        float gate = gate_at(gates, image, channel, k, pixel, channels, groups, connection, pixels);
        kept -= gate;
        heard += gate * h[plane + pixel + back + side * along];
    }
    h[plane + pixel] = kept * x[plane + pixel] + heard;
}

// Lines come in reverse order. `flow` keeps the whole gradient of each h; `grad_gates` is (N, K, C, H, W).
extern "C" __global__ void backward_line(const float* grad, const float* x, const float* gates, const float* h,
                                         float* flow, float* grad_x, float* grad_gates, index_t images,
                                         index_t channels, index_t groups, index_t connection, index_t pixels,
                                         index_t length, index_t along, index_t start, index_t back,
                                         index_t first, index_t last) {
    unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= images * channels * length) return;
    index_t p = thread % (unsigned)length, line = thread / (unsigned)length;
    index_t channel = (unsigned)line % (unsigned)channels, image = (unsigned)line / (unsigned)channels;
    index_t plane = (image * channels + channel) * pixels, pixel = start + p * along;
    float whole = grad[plane + pixel];
    for (index_t k = 0; k < connection && !last; ++k) {
        index_t side = connection == 3 ? k - 1 : 0;
        if (p - side < 0 || p - side >= length) continue;  // the pixel of the next line that hears this one through k
        index_t listener = pixel - back - side * along;
        whole += flow[plane + listener] *
                 gate_at(gates, image, channel, k, listener, channels, groups, connection, pixels);
    }
    flow[plane + pixel] = whole;
    float kept = 1.0f;
    for (index_t k = 0; k < connection; ++k) {
        index_t side = connection == 3 ? k - 1 : 0;
        bool inside = !first && p + side >= 0 && p + side < length;
        index_t gate = ((image * connection + k) * channels + channel) * pixels + pixel;
        grad_gates[gate] = inside ? whole * (h[plane + pixel + back + side * along] - x[plane + pixel]) : 0.0f;
        if (inside) kept -= gate_at(gates, image, channel, k, pixel, channels, groups, connection, pixels);
    }
    grad_x[plane + pixel] = kept * whole;
}
