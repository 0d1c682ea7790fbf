// What sample_loop.cu takes from CUDA, for one thread at a time of a processor: a block of a single thread.
#include <cmath>
#include <cstring>

struct float4 { float x, y, z, w; };
struct Index { unsigned x; };
static Index threadIdx{0}, blockIdx{0};
static const Index blockDim{1};
static const int warpSize = 1;
float4 memory[1 << 16];

#define __device__
#define __global__
#define __shared__
#define __launch_bounds__(threads)
#define __syncthreads()
#define __ldg(address) (*(address))
#define __shfl_xor_sync(mask, value, distance) (value)
