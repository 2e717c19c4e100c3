/* ==== Which kernels this processor runs ================================================================= */

#if HAS_X86_KERNELS
/* A leaf's four registers; the system must save the wide ones too. */
static int has_x86(int leaf, int subleaf, int which, unsigned bits, unsigned saved) {
  unsigned r[4] = {0, 0, 0, 0};
  if (!__get_cpuid_count(1, 0, &r[0], &r[1], &r[2], &r[3]) || !(r[2] & bit_OSXSAVE)) return 0;
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  (void)high;
  if ((low & saved) != saved) return 0;
  if (!__get_cpuid_count((unsigned)leaf, (unsigned)subleaf, &r[0], &r[1], &r[2], &r[3])) return 0;
  return (r[which] & bits) == bits;
}

static int avx2_is_supported(void) { return has_x86(7, 0, 1, 1u << 5, 0x6); }
static int avxvnni_is_supported(void) { return avx2_is_supported() && has_x86(7, 1, 0, 1u << 4, 0x6); }
static int avx512vnni_is_supported(void) {
  /* F, DQ, BW, VL; then VNNI */
  return has_x86(7, 0, 1, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, 0xE6) && has_x86(7, 0, 2, 1u << 11, 0xE6);
}
#if HAS_AMX_KERNELS
/* Tiles, and products of their bytes; then Linux is asked for the 8 KB that tiles take of every thread's state. As an
   instruction: `syscall` is declared only where nothing was included before this file. */
static int amx_is_supported(void) {
  enum { ARCH_PRCTL = 158, ASK_FOR = 0x1023, TILES = 18 };
  if (!avx512vnni_is_supported() || !has_x86(7, 0, 3, 1u << 24 | 1u << 25, 0x600E6)) return 0;
  long result = ARCH_PRCTL;
  __asm__ volatile("syscall" : "+a"(result) : "D"((long)ASK_FOR), "S"((long)TILES) : "rcx", "r11", "memory");
  return result == 0;
}
#endif
#endif

#if HAS_ARM_KERNELS
#if defined(__linux__)
static int dotprod_is_supported(void) { return (getauxval(AT_HWCAP) >> 20 & 1) != 0; }
static int i8mm_is_supported(void) { return dotprod_is_supported() && (getauxval(AT_HWCAP2) >> 13 & 1) != 0; }
#elif defined(__APPLE__)
static int has_feature(const char *name) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value;
}
static int dotprod_is_supported(void) { return has_feature("hw.optional.arm.FEAT_DotProd"); }
static int i8mm_is_supported(void) { return dotprod_is_supported() && has_feature("hw.optional.arm.FEAT_I8MM"); }
#else
static int dotprod_is_supported(void) { return 0; }
static int i8mm_is_supported(void) { return 0; }
#endif
#endif
