"""Run a program that the kernel ends when its parent does, even if that gets SIGKILL (Linux).

    python -I -S die_with_parent.py SIGNAL PARENT_PID PROGRAM [ARGUMENT...]

SIGNAL is the number of what the kernel sends: SIGTERM to a program that has something to finish, SIGKILL to any other.
`PR_SET_PDEATHSIG` (prctl(2)) survives `execv`. It is set here rather than in a ``preexec_fn``, which is unsafe in a
process with threads. "Parent" means the thread that started this one: start it from a thread that lives on, such as
the event loop's.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the signal, make sure that the parent is still there, become the program."""
    signal, parent, program, *arguments = sys.argv[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal)) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):
        sys.exit("the parent is gone")
    os.execv(program, [program, *arguments])  # noqa: S606 (no shell is wanted)


def command(signal: int) -> tuple[str, ...]:
    """What to put before a program and its arguments so that it gets ``signal`` when this process ends."""
    return sys.executable, "-I", "-S", __file__, str(int(signal)), str(os.getpid())


if __name__ == "__main__":
    main()
