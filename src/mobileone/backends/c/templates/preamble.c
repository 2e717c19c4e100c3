#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "$header"

#include <float.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Kernels beyond plain C need gcc or clang, and a processor that they are for. */
#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__) && !defined(PREFIX_UPPER_PLAIN)
#define HAS_X86_KERNELS 1
#include <cpuid.h>
#include <immintrin.h>
#else
#define HAS_X86_KERNELS 0
#endif
/* Linux lets a process use tiles once it has asked; gcc 11 and clang 12 are the first to know them. */
#if HAS_X86_KERNELS && defined(__linux__) && !defined(__ILP32__) && \
    (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAS_AMX_KERNELS 1
#else
#define HAS_AMX_KERNELS 0
#endif
#if (defined(__GNUC__) || defined(__clang__)) && defined(__aarch64__) && defined(__ARM_NEON) && \
    !defined(__AARCH64EB__) && !defined(PREFIX_UPPER_PLAIN)
#define HAS_ARM_KERNELS 1
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#else
#define HAS_ARM_KERNELS 0
#endif
#if defined(__wasm_simd128__) && !defined(PREFIX_UPPER_PLAIN)
#define HAS_WASM_KERNELS 1
#include <wasm_simd128.h>
#else
#define HAS_WASM_KERNELS 0
#endif
#if defined(__wasm_relaxed_simd__)
#define HAS_RELAXED_KERNELS HAS_WASM_KERNELS
#else
#define HAS_RELAXED_KERNELS 0
#endif
#ifdef PREFIX_UPPER_THREADS
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#elif !defined(__wasm__)
#include <pthread.h>
#include <sched.h>
#endif
#endif

#define ALIGNED _Alignas(64)
