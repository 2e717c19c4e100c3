"""Being told to stop."""

import os
import signal
import threading

from mobileone.training.run.stop_signal import SIGNALS, StopSignal


def test_a_signal_is_noted_once_and_the_next_one_kills() -> None:
    stop = StopSignal()
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop.noted():
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.received == "SIGUSR1"
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_in_another_thread_signals_keep_their_effect() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    seen: list[list[object]] = []

    def work() -> None:
        with StopSignal().noted():
            seen.append([signal.getsignal(number) for number in SIGNALS])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
