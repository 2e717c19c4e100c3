/* ==== From logits to an answer ========================================================================== */

#if NUM_CLASSES
/* Value of a constant that is one for all classes, or one a class. */
#define OF_CLASS(values, c) (values)[sizeof(values) / sizeof *(values) == 1 ? 0 : (c)]

/* Whether the image is none of those that the network was calibrated on, by its logits. */
static int is_novel(const float *logits) {
#if NOVELTY_SCORE
  double largest = logits[0];
  for (int c = 1; c < NUM_CLASSES; c++) largest = logits[c] > largest ? logits[c] : largest;
#if NOVELTY_SCORE == 1 /* logsumexp(logits) >= limit, without a logarithm */
  const double above = NOVELTY_LIMIT - largest;
  double sum = 0.0;
  for (int c = 0; c < NUM_CLASSES; c++) sum += exponential(logits[c] - largest);
  return above > 0.0 ? sum * exponential(-above) < 1.0 : 0;
#else
  return largest < NOVELTY_LIMIT;
#endif
#else
  (void)logits;
  return 0;
#endif
}
#endif

int PREFIX_is_calibrated(void) { return IS_CALIBRATED; }

int PREFIX_decide(const float *logits, double *probabilities, int *likeliest, int *doubt) {
#if NUM_CLASSES
  if (logits == NULL || probabilities == NULL || likeliest == NULL || doubt == NULL) return PREFIX_UPPER_NULL;
  const int novel = is_novel(logits);
  int best = 0;
  for (int c = 0; c < NUM_CLASSES; c++) {
    probabilities[c] = logits[c] / OF_CLASS(temperatures, c) + OF_CLASS(biases, c);
    if (probabilities[c] > probabilities[best]) best = c;
  }
#if IS_MULTILABEL
  for (int c = 0; c < NUM_CLASSES; c++) {
    const int negative = probabilities[c] < 0.0;
    const double small = exponential(negative ? probabilities[c] : -probabilities[c]);
    probabilities[c] = (negative ? small : 1.0) / (1.0 + small);
  }
  *doubt = novel ? PREFIX_UPPER_NOVEL : PREFIX_UPPER_SURE;
#else
  const double top = probabilities[best];
  double sum = 0.0;
  for (int c = 0; c < NUM_CLASSES; c++) sum += probabilities[c] = exponential(probabilities[c] - top);
  for (int c = 0; c < NUM_CLASSES; c++) probabilities[c] /= sum;
  const int unlikely = probabilities[best] < OF_CLASS(thresholds, best);
  *doubt = novel ? PREFIX_UPPER_NOVEL : unlikely ? PREFIX_UPPER_UNLIKELY : PREFIX_UPPER_SURE;
#endif
  *likeliest = best;
  return PREFIX_UPPER_OK;
#else
  (void)logits, (void)probabilities, (void)likeliest, (void)doubt;
  return PREFIX_UPPER_NO_CLASS;
#endif
}

double PREFIX_threshold(int index) {
#if NUM_CLASSES
  return index >= 0 && index < NUM_CLASSES ? OF_CLASS(thresholds, index) : 0.0;
#else
  (void)index;
  return 0.0;
#endif
}

