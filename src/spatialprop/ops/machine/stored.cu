// How numbers lie in memory and what is computed with: the first part of every kernel's source.
//
// cuda_launch.py compiles for one type: -DSTORED=... -DSTATE=...
#define INLINE __device__ __forceinline__

struct Bfloat16 { unsigned short bits; };
struct Float16 { unsigned short bits; };
using Stored = STORED;         // how the operator's inputs and results lie in memory
using State = STATE;           // what is computed with

INLINE double widen(double value) { return value; }
INLINE float widen(float value) { return value; }
INLINE void store(double* to, double value) { *to = value; }
INLINE void store(float* to, float value) { *to = value; }

INLINE float widen(Bfloat16 value) { return __uint_as_float((unsigned)value.bits << 16); }
INLINE void store(Bfloat16* to, float value) {
    const unsigned bits = __float_as_uint(value);
    const unsigned rounded = bits + 0x7fff + (bits >> 16 & 1);  // to nearest, ties to even
    to->bits = (value != value ? bits | 0x400000 : rounded) >> 16;
}

#ifndef HOST_CUDA  // the header that runs this text on a CPU has its own
INLINE float half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
INLINE unsigned short float_to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif
INLINE float widen(Float16 value) { return half_to_float(value.bits); }
INLINE void store(Float16* to, float value) { to->bits = float_to_half(value); }

