"""What a step does: loss, mixing, optimizer, schedule, averaging, distillation."""
