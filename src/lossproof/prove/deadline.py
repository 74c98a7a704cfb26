"""A limit on the time that a user's own function may take in this process."""

import contextlib
import ctypes
import signal
import threading
import time
from collections.abc import Iterator

_AGAIN = 0.2  # seconds: the function may have caught the first one


class Late(BaseException):
    """The time is up; not an ``Exception``, so that a function's own ``except Exception`` lets it pass."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise ``Late`` inside the block after so many seconds.

    In the main thread by a timer signal, whose former handler and timer are put back; elsewhere by an
    exception that is set from a second thread, which waits for the end of a call into C, such as a sleep.
    """
    own = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if own and signal.getsignal(signal.SIGALRM) is not None:  # None: a handler that cannot be put back
        with _by_signal(seconds):
            yield
    else:
        with _by_thread(seconds):
            yield


@contextlib.contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Late

    began = time.monotonic()
    before, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    handler = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if before:
            signal.setitimer(signal.ITIMER_REAL, max(before - (time.monotonic() - began), 1e-3), interval)


@contextlib.contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    here = ctypes.c_ulong(threading.get_ident())
    done, lock = threading.Event(), threading.Lock()

    def watch() -> None:
        wait = max(seconds, 0.0)
        while not done.wait(wait):
            with lock:
                if not done.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(here, ctypes.py_object(Late))
            wait = _AGAIN

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with lock:
            done.set()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(here, None)  # one that is still on its way
        watcher.join()
