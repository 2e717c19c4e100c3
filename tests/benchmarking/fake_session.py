"""Sessions that workers open in tests, by this file's path; they need nothing but NumPy."""

import os
import time

import numpy as np


class Fake:
    """Takes a known time, gives known logits, and fails when told to."""

    runtime = "fake 1.0"

    def __init__(self, *, seconds=0.0, precision="fp32", fail="", after=0):
        if fail == "open":
            raise ValueError("this runtime\nrefuses")
        self.seconds, self.precision, self.fail, self.after = seconds, precision, fail, after
        self.runs = 0

    def run(self, batch):
        self.runs += 1
        if self.fail == "photos" and batch.any():
            os.abort()
        if self.fail not in ("", "photos", "resident") and self.runs > self.after:
            if self.fail == "abort":
                os.abort()
            if self.fail == "hang":
                time.sleep(60)
            raise RuntimeError("the kernel failed")
        time.sleep(self.seconds)
        # The class of an image is its first pixel.
        return np.eye(4, dtype=np.float32)[batch.reshape(len(batch), -1)[:, 0].astype(int) % 4]


class FakeOnGpu(Fake):
    """The same on a GPU, where without its copies it takes a tenth of the time."""

    def resident(self, batch):
        if self.fail == "resident":
            raise ValueError("the GPU has no room for the batch")
        return lambda: time.sleep(self.seconds / 10)


class Chatty(Fake):
    """Prints where answers go."""

    def run(self, batch):
        print("warning: something", flush=True)
        return super().run(batch)
