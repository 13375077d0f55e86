"""Run a program that the kernel ends when its parent does, even if that gets SIGKILL (Linux).

    python -I -S die_with_parent.py PARENT_PID PROGRAM [ARGUMENT...]

`PR_SET_PDEATHSIG` (prctl(2)) survives `execv`. It is set here rather than in a ``preexec_fn``, which is unsafe in a
process with threads. "Parent" means the thread that started this one: start it from a thread that lives on, such as
the event loop's.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the signal, make sure that the parent is still there, become the program."""
    parent, program, *arguments = sys.argv[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):
        sys.exit("the parent is gone")
    os.execv(program, [program, *arguments])  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    main()
