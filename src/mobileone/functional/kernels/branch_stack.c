/* The small tensors of a unit trained as one convolution: from the moments of patches to each branch's mean and
   variance, from those to one kernel and bias, and back. docs/online.md has the derivation;
   functional/online/branch_statistics.py and branch_sum.py have the same in torch.

   Shapes: B convolution branches, and N = B or, with an identity branch (the last), B + 1 of all. A patch has
   `patch` values. `weight` is (B, channels, patch). Statistics, gains and shifts are (N, channels).
   REAL is float or double. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_PATCH = 25 };

typedef struct {
    int64_t convolutions, branches, channels, patch;
    int64_t taps; /* values a patch has of one input channel */
} Sizes;

/* Where the identity sits in the patch of output channel c: the centre tap of the channel it copies. */
static inline int64_t centre(const Sizes *f, int64_t c) {
    int64_t inputs = f->patch / f->taps;
    return c % inputs * f->taps + f->taps / 2;
}

static inline int has_identity(const Sizes *f) { return f->branches > f->convolutions; }

/* ---- depthwise: every channel has a patch of its own, whose moments are in double ---- */

/* From sums over `count` outputs of taps and of products of two (`groups` parts, as depthwise_moments leaves
   them) to moments, and to each branch's statistics. mean: (channels, taps); cov: (channels, taps, taps).
   The sums are of x less a shift near its mean, so the products lose little where the squared mean is taken off
   them; the covariance does not see the shift, and the mean gets it back. In double throughout: a BatchNorm of
   small variance divides by what rounding leaves of it. */
int stack_depthwise_statistics(const Sizes *f, const double *sums, int64_t groups, double count, const REAL *shift,
                              const REAL *weight, double *mean, double *cov, REAL *means, REAL *vars) {
    const int64_t taps = f->patch, channels = f->channels, size = taps + taps * (taps + 1) / 2;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < channels; c++) {
        double total[MAX_PATCH + MAX_PATCH * (MAX_PATCH + 1) / 2];
        double *m = mean + c * taps, *s = cov + c * taps * taps;
        for (int64_t k = 0; k < size; k++) {
            total[k] = 0;
            for (int64_t g = 0; g < groups; g++) total[k] += sums[(g * size + k) * channels + c];
            total[k] /= count;
        }
        for (int64_t t = 0, k = taps; t < taps; t++) {
            m[t] = total[t] + shift[c];
            for (int64_t u = t; u < taps; u++, k++) s[t * taps + u] = s[u * taps + t] = total[k] - total[t] * total[u];
        }
        for (int64_t b = 0; b < f->branches; b++) {
            double of_mean = m[taps / 2], of_var = s[taps / 2 * taps + taps / 2];
            if (b < f->convolutions) {
                const REAL *w = weight + (b * channels + c) * taps;
                of_mean = of_var = 0;
                for (int64_t t = 0; t < taps; t++) {
                    double row = 0;
                    for (int64_t u = 0; u < taps; u++) row += w[u] * s[t * taps + u];
                    of_var += w[t] * row;
                    of_mean += w[t] * m[t];
                }
            }
            means[b * channels + c] = of_mean;
            vars[b * channels + c] = of_var < 0 ? 0 : of_var; /* rounding, where x is constant */
        }
    }
    return 0;
}

/* Gradients of weight, and of the moments: as slopes (taps, taps, channels) of the pixels less shift and offsets
   (taps, channels), which depthwise_backward adds to the gradient of x.
   grad_kernel: (channels, taps), of the merged kernel; scale: (N, channels).

   W is used twice. The merged kernel is Σ s W, which gives s dK. E[z] = W m gives dE m, and Var[z] = W S Wᵀ gives
   2 dV S W: `row` is S W again, cheaper to compute than to keep. The moments' gradients are summed over
   branches, dm = Σ dE W and dS = Σ dV W Wᵀ, and reach a patch p as (dm + 2 dS (p − m)) / count. */
int stack_depthwise_backward(const Sizes *f, const REAL *weight, const double *mean, const double *cov,
                            const REAL *shift, double count, const double *grad_kernel, const REAL *scale,
                            const REAL *grad_means, const REAL *grad_vars, REAL *grad_weight, REAL *slopes,
                            REAL *offsets) {
    const int64_t taps = f->patch, channels = f->channels;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < channels; c++) {
        double of_mean[MAX_PATCH] = {0}, of_cov[MAX_PATCH][MAX_PATCH] = {{0}};
        const double *m = mean + c * taps, *s = cov + c * taps * taps;
        for (int64_t b = 0; b < f->branches; b++) {
            const double dm = grad_means[b * channels + c], dv = grad_vars[b * channels + c];
            if (b >= f->convolutions) {
                of_mean[taps / 2] += dm;
                of_cov[taps / 2][taps / 2] += dv;
                continue;
            }
            const REAL *w = weight + (b * channels + c) * taps;
            REAL *dw = grad_weight + (b * channels + c) * taps;
            for (int64_t t = 0; t < taps; t++) {
                double row = 0;
                for (int64_t u = 0; u < taps; u++) {
                    row += w[u] * s[t * taps + u];
                    of_cov[t][u] += dv * w[t] * w[u];
                }
                dw[t] = scale[b * channels + c] * grad_kernel[c * taps + t] + dm * m[t] + 2 * dv * row;
                of_mean[t] += dm * w[t];
            }
        }
        for (int64_t t = 0; t < taps; t++) {
            /* slope · (p − m) + offset is slope · (p − shift) + another offset: pixels less shift are what
               depthwise_backward has in its ring. */
            double offset = of_mean[t] / count;
            for (int64_t u = 0; u < taps; u++) {
                double slope = 2 * of_cov[t][u] / count;
                slopes[(t * taps + u) * channels + c] = slope;
                offset -= slope * (m[u] - shift[c]);
            }
            offsets[t * channels + c] = offset;
        }
    }
    return 0;
}

/* Total of depthwise_kernel_gradient's parts: kernel (channels, taps), bias (channels,). The parts are of taps less
   shift; what the shift has taken off is shift times the gradient of the bias. */
int stack_depthwise_gradient(const Sizes *f, const double *sums, int64_t groups, const REAL *shift, double *kernel,
                            double *bias) {
    const int64_t taps = f->patch, channels = f->channels;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < channels; c++) {
        bias[c] = 0;
        for (int64_t g = 0; g < groups; g++) bias[c] += sums[(g * (taps + 1) + taps) * channels + c];
        for (int64_t t = 0; t < taps; t++) {
            double total = shift[c] * bias[c];
            for (int64_t g = 0; g < groups; g++) total += sums[(g * (taps + 1) + t) * channels + c];
            kernel[c * taps + t] = total;
        }
    }
    return 0;
}

/* ---- one patch for all channels: pointwise convolutions, and the stem ---- */

/* product: weight · cov, (B, channels, patch), a matrix product that torch does best; mean: (patch,); variances: the
   diagonal of cov, (patch,), which is all that an identity needs of it. */
int stack_dense_statistics(const Sizes *f, const REAL *weight, const REAL *product, const REAL *mean,
                          const REAL *variances, REAL *means, REAL *vars) {
    const int64_t patch = f->patch;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < f->branches * f->channels; k++) {
        if (k >= f->convolutions * f->channels) {
            int64_t at = centre(f, k % f->channels);
            means[k] = mean[at];
            vars[k] = variances[at] < 0 ? 0 : variances[at];
            continue;
        }
        const REAL *w = weight + k * patch, *p = product + k * patch;
        REAL of_mean = 0, of_var = 0;
#pragma omp simd reduction(+ : of_mean, of_var)
        for (int64_t i = 0; i < patch; i++) {
            of_mean += w[i] * mean[i];
            of_var += w[i] * p[i];
        }
        means[k] = of_mean;
        vars[k] = of_var < 0 ? 0 : of_var; /* rounding, where x is constant */
    }
    return 0;
}

/* weight's gradient, and weighted = grad_vars · weight, whose product with weightᵀ is the gradient of cov. The three
   terms are those of stack_depthwise_backward. */
int stack_dense_backward(const Sizes *f, const REAL *weight, const REAL *product, const REAL *mean,
                        const REAL *grad_kernel, const REAL *scale, const REAL *grad_means, const REAL *grad_vars,
                        REAL *grad_weight, REAL *weighted) {
    const int64_t patch = f->patch;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < f->convolutions * f->channels; k++) {
        const REAL *restrict w = weight + k * patch, *restrict p = product + k * patch;
        const REAL *restrict g = grad_kernel + k % f->channels * patch;
        REAL *restrict dw = grad_weight + k * patch, *restrict to = weighted + k * patch;
        const REAL dm = grad_means[k], dv = grad_vars[k], by = scale[k];
        for (int64_t i = 0; i < patch; i++) {
            dw[i] = by * g[i] + dm * mean[i] + 2 * dv * p[i];
            to[i] = dv * w[i];
        }
    }
    return 0;
}

/* ---- both ---- */

/* kernel = Σ s W and bias = Σ β − s μ with s = γ / √(σ² + ε). eps: (N,). `transposed` asks for the kernel as
   (patch, channels). An identity adds s to the one element that copies its channel. */
int stack_merge(const Sizes *f, const REAL *weight, const REAL *means, const REAL *vars, const REAL *gamma,
               const REAL *beta, const double *eps, int64_t transposed, REAL *scale, REAL *kernel, REAL *bias) {
    const int64_t channels = f->channels, patch = f->patch;
    const int64_t next = transposed ? channels : 1;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < channels; c++) {
        REAL *to = transposed ? kernel + c : kernel + c * patch;
        double constant = 0;
        for (int64_t i = 0; i < patch; i++) to[i * next] = 0;
        for (int64_t b = 0; b < f->branches; b++) {
            const int64_t k = b * channels + c;
            const double s = gamma[k] / sqrt(vars[k] + eps[b]);
            scale[k] = s;
            constant += beta[k] - s * means[k];
            if (b < f->convolutions)
                for (int64_t i = 0; i < patch; i++) to[i * next] += scale[k] * weight[k * patch + i];
            else
                to[centre(f, c) * next] += scale[k];
        }
        bias[c] = constant;
    }
    return 0;
}

/* Gradients of gains, means and variances, (N, channels), from those of kernel and bias. GRAD is the type these are
   held in. ds = dK · W − μ db; then dγ = ds / σ, dμ = −s db and dσ² = −½ ds γ / σ³.
   Where μ is large the two terms of ds cancel, and single precision would leave noise. So depthwise kernels, whose
   gradients are summed in double, keep them there; dense ones come out of a matrix product in REAL. */
#define MERGE_BACKWARD(NAME, GRAD)                                                                                 \
    int NAME(const Sizes *f, const REAL *weight, const REAL *means, const REAL *vars, const REAL *gamma,           \
             const double *eps, const GRAD *grad_kernel, const GRAD *grad_bias, REAL *grad_gamma,                 \
             REAL *grad_means, REAL *grad_vars) {                                                                  \
        const int64_t channels = f->channels, patch = f->patch;                                                    \
        _Pragma("omp parallel for schedule(static)") for (int64_t k = 0; k < f->branches * channels; k++) {        \
            const int64_t b = k / channels, c = k % channels;                                                      \
            const GRAD *g = grad_kernel + c * patch;                                                               \
            const double inverse = 1 / sqrt(vars[k] + eps[b]), mean = means[k];                                    \
            GRAD dot = 0;                                                                                          \
            if (b >= f->convolutions)                                                                              \
                dot = g[centre(f, c)];                                                                             \
            else                                                                                                   \
                _Pragma("omp simd reduction(+ : dot)") for (int64_t i = 0; i < patch; i++) dot +=                  \
                    g[i] * weight[k * patch + i];                                                                  \
            const double of_scale = dot - mean * grad_bias[c], of_gamma = of_scale * inverse;                      \
            grad_gamma[k] = of_gamma;                                                                              \
            grad_means[k] = -gamma[k] * inverse * grad_bias[c];                                                    \
            grad_vars[k] = -0.5 * of_gamma * gamma[k] * inverse * inverse;                                         \
        }                                                                                                          \
        return 0;                                                                                                  \
    }

MERGE_BACKWARD(stack_merge_backward, REAL)
MERGE_BACKWARD(stack_depthwise_merge_backward, double)
