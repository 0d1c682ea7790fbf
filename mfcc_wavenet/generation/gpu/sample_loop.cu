// The loop over samples on a GPU: one block of threads per utterance, from its first sample to its last.
//
// A step is some twenty small products, each of which needs the one before. Launched one by one they would cost more
// time than a sample of real time has; here they are the steps of one kernel that runs until its codes are there. The
// weights, a few megabytes, stay in the GPU's second-level cache, and the activations in the block's shared memory.
// Blocks know nothing of each other, so the codes are batch-invariant.
//
// Letters are those of packed_weights.py: L layers, K taps, C residual, G gate, S skip, P post channels, Q codes; a
// matrix is (rows, inputs) in row-major order, its inputs padded with zeros to whole float4.

#define FULL 0xffffffffu
#define MAX_GROUP 16  // lanes that share a row

static __device__ int padded(int length) { return (length + 3) / 4 * 4; }

// out = matrix @ in + bias (where there is one) + out's former value (where add), then relu (where asked for). All
// threads take part; groups of lanes share a row, as many as there are threads for. in is read as float4.
static __device__ void product(float* out, const float* matrix, const float* bias, const float* in, int rows,
                               int inputs, bool add, bool relu) {
    int group = 1;
    while (group < MAX_GROUP && group < warpSize && rows * group * 2 <= blockDim.x) group *= 2;
    const int lane = threadIdx.x % group, at_once = blockDim.x / group, quads = padded(inputs) / 4;
    const float4* in4 = reinterpret_cast<const float4*>(in);
    for (int first = 0; first < rows; first += at_once) {
        const int row = first + threadIdx.x / group;
        float sum = 0, other = 0;  // of every other quad: two chains of additions
        if (row < rows) {
            const float4* row4 = reinterpret_cast<const float4*>(matrix) + static_cast<long long>(row) * quads;
#pragma unroll 4
            for (int quad = lane; quad < quads; quad += group) {
                const float4 w = __ldg(row4 + quad), x = in4[quad];
                sum = fmaf(w.x, x.x, sum);
                other = fmaf(w.y, x.y, other);
                sum = fmaf(w.z, x.z, sum);
                other = fmaf(w.w, x.w, other);
            }
        }
        sum += other;
        for (int distance = group / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(FULL, sum, distance);
        if (row < rows && lane == 0) {
            sum += (bias ? bias[row] : 0.0f) + (add ? out[row] : 0.0f);
            out[row] = relu ? fmaxf(sum, 0.0f) : sum;
        }
    }
}

// Of the first warp: the first of the largest, as numpy's argmax has it.
static __device__ int largest(const float* values, int count) {
    int best = threadIdx.x < count ? threadIdx.x : 0;
    for (int index = threadIdx.x + warpSize; index < count; index += warpSize)
        if (values[index] > values[best]) best = index;
    float value = values[best];
    for (int distance = warpSize / 2; distance > 0; distance /= 2) {
        const float value_there = __shfl_xor_sync(FULL, value, distance);
        const int best_there = __shfl_xor_sync(FULL, best, distance);
        if (value_there > value || (value_there == value && best_there < best)) {
            value = value_there;
            best = best_there;
        }
    }
    return best;
}

// The code at which the cumulative softmax of logits / temperature over the top_k largest passes the uniform number.
// All threads take part; the result is thread 0's. weights is workspace.
static __device__ int drawn(const float* logits, float* weights, int count, int most_likely, float temperature,
                            int top_k, double uniform) {
    for (int code = threadIdx.x; code < count; code += blockDim.x) {
        int larger = 0;
        if (top_k > 0 && top_k < count)
            for (int other = 0; other < count; ++other) larger += logits[other] > logits[code];
        const bool kept = top_k <= 0 || top_k >= count || larger < top_k;
        weights[code] = kept ? expf((logits[code] - logits[most_likely]) / temperature) : 0.0f;
    }
    __syncthreads();
    int code = 0;
    if (threadIdx.x == 0) {
        float sum = 0;
        for (int other = 0; other < count; ++other) sum += weights[other];
        const double target = uniform * sum;
        float cumulative = weights[0];
        while (code < count - 1 && cumulative <= target) cumulative += weights[++code];
    }
    return code;
}

// codes: (B, positions), filled in from time 0 on. last: (B,), the code before the first position, which positions at
// negative times read, too; afterwards that of the last one. projection: (B, positions, L, 2G), that of the conditioning
// with all gate biases, filters and gates in turns, as the rows of gate_weights are. uniforms: (B, positions).
// ring_buffers: (B, ring_starts[L], C).
extern "C" __global__ void __launch_bounds__(1024)
    sample_loop(const float* embedding, const float* gate_weights, const float* residual_weights,
                const float* residual_biases, const float* skip_weights, const float* skip_bias,
                const float* post_weights, const float* post_bias, const float* logit_weights, const float* logit_bias,
                const int* dilations, const int* ring_starts, const float* projection, const double* uniforms,
                float* ring_buffers, int* last, int* codes, int layers, int taps, int channels, int gates, int skip,
                int post, int quantization_channels, int positions, int first, double temperature, int top_k) {
    extern __shared__ float4 memory[];
    const int inputs = padded(taps * channels), residual_inputs = padded(gates), skip_inputs = padded(layers * gates);
    float* const tap_inputs = reinterpret_cast<float*>(memory);  // L, inputs: what each layer multiplies
    float* const activations = tap_inputs + layers * inputs;     // L, 2G
    float* const gated = activations + padded(layers * 2 * gates);  // L * G
    float* const gated_here = gated + skip_inputs;                  // G, of one layer, in whole float4
    float* const hidden = gated_here + residual_inputs;
    float* const hidden_post = hidden + padded(skip);
    float* const logits = hidden_post + padded(post);
    float* const weights = logits + padded(quantization_channels);
    __shared__ int code;

    const int utterance = blockIdx.x, latest = (taps - 1) * channels;
    codes += static_cast<long long>(utterance) * positions;
    uniforms += static_cast<long long>(utterance) * positions;
    projection += static_cast<long long>(utterance) * positions * layers * 2 * gates;
    ring_buffers += static_cast<long long>(utterance) * ring_starts[layers] * channels;
    const int workspace = static_cast<int>(weights - tap_inputs);
    for (int index = threadIdx.x; index < workspace; index += blockDim.x) tap_inputs[index] = 0;  // the padding, too
    if (threadIdx.x == 0) code = last[utterance];
    __syncthreads();

    for (int position = 0; position < positions; ++position) {
        // Ring buffers have a place for every time modulo their length; times before 0 count from its end.
        const int time = first + position;
        for (int index = threadIdx.x; index < layers * latest; index += blockDim.x) {
            const int layer = index / latest, tap = index % latest / channels, channel = index % channels;
            const int start = ring_starts[layer], length = ring_starts[layer + 1] - start;
            int place = (time - (taps - 1 - tap) * dilations[layer]) % length;
            place += place < 0 ? length : 0;
            tap_inputs[layer * inputs + index % latest] = ring_buffers[(start + place) * channels + channel];
        }
        for (int index = threadIdx.x; index < layers * 2 * gates; index += blockDim.x)
            activations[index] = projection[static_cast<long long>(position) * layers * 2 * gates + index];
        for (int channel = threadIdx.x; channel < channels; channel += blockDim.x)
            tap_inputs[latest + channel] = embedding[static_cast<long long>(code) * channels + channel];
        __syncthreads();
        for (int layer = 0; layer < layers; ++layer) {
            float* const layer_inputs = tap_inputs + layer * inputs;
            float* const both = activations + layer * 2 * gates;
            const float* matrix = gate_weights + static_cast<long long>(layer) * 2 * gates * inputs;
            product(both, matrix, nullptr, layer_inputs, 2 * gates, taps * channels, true, false);
            const int start = ring_starts[layer], length = ring_starts[layer + 1] - start;
            const int place = (time % length + length) % length;
            for (int channel = threadIdx.x; channel < channels; channel += blockDim.x)
                ring_buffers[(start + place) * channels + channel] = layer_inputs[latest + channel];
            __syncthreads();
            for (int gate = threadIdx.x; gate < gates; gate += blockDim.x) {
                const float z = tanhf(both[2 * gate]) / (1.0f + expf(-both[2 * gate + 1]));
                gated[layer * gates + gate] = gated_here[gate] = z;
            }
            __syncthreads();
            if (layer == layers - 1) break;
            float* const outputs = layer_inputs + inputs + latest;
            for (int channel = threadIdx.x; channel < channels; channel += blockDim.x)
                outputs[channel] = layer_inputs[latest + channel];
            __syncthreads();
            matrix = residual_weights + static_cast<long long>(layer) * channels * residual_inputs;
            product(outputs, matrix, residual_biases + layer * channels, gated_here, channels, gates, true, false);
            __syncthreads();
        }
        if (time < 0) continue;
        product(hidden, skip_weights, skip_bias, gated, skip, layers * gates, false, true);
        __syncthreads();
        product(hidden_post, post_weights, post_bias, hidden, post, skip, false, true);
        __syncthreads();
        product(logits, logit_weights, logit_bias, hidden_post, quantization_channels, post, false, false);
        __syncthreads();
        if (threadIdx.x < warpSize) {
            const int most_likely = largest(logits, quantization_channels);
            if (threadIdx.x == 0) code = most_likely;
        }
        __syncthreads();
        if (temperature > 0) {
            const int most_likely = code;
            __syncthreads();
            const int sampled =
                drawn(logits, weights, quantization_channels, most_likely, static_cast<float>(temperature), top_k,
                      uniforms[position]);
            if (threadIdx.x == 0) code = sampled;
            __syncthreads();
        }
        if (threadIdx.x == 0) codes[position] = code;
    }
    if (threadIdx.x == 0) last[utterance] = code;
}
