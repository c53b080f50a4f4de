"""Runs a command in which one fsync fails as on a broken disk: the kernel itself answers it with EIO.

    python tests/failing_sync.py 3 -- foodstream consumer --once

The third fsync or fdatasync of the command fails, all others are carried out; what it concerned is said in the last
line of standard error. Exits with the command's code. Needs neither root nor a library put before the C library's: a
seccomp filter sends these two calls to this process, which lets them through or answers them. Linux only.
"""

import array
import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

# Of linux/seccomp.h and linux/filter.h.
SET_MODE_FILTER, NEW_LISTENER = 1, 1 << 3
RET_ALLOW, RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
RECEIVE, SEND = 0xC0502100, 0xC0182101
CONTINUE = 1
NO_NEW_PRIVILEGES = 38
# A notification: its id, the process, flags, the call's number, architecture, instruction and arguments.
NOTIFICATION = struct.Struct("=QIIiIQ6Q")
ANSWER = struct.Struct("=QqiI")

# Numbers of seccomp, fsync and fdatasync.
CALLS = {"x86_64": (317, 74, 75), "aarch64": (277, 82, 83)}
USAGE = 2
# As a shell says it; here also where the kernel lets no process watch another's calls.
NOT_STARTED = 127


def _listener() -> int:
    """Sends this process's syncs to whoever holds the descriptor that is returned."""
    seccomp, *watched = CALLS[platform.machine()]
    program = [
        # Where the call's number stands in what a filter sees.
        (LOAD_WORD, 0, 0, 0),
        *((JUMP_IF_EQUAL, len(watched) - at, 0, number) for at, number in enumerate(watched)),
        (RETURN, 0, 0, RET_ALLOW),
        (RETURN, 0, 0, RET_USER_NOTIF),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    descriptor = int(libc.syscall(seccomp, SET_MODE_FILTER, NEW_LISTENER, filter_))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return descriptor


def run(number: int, command: Sequence[str]) -> tuple[int, str | None]:
    """The code of the command, and what its sync of this number, from 1 on, concerned; None if there were fewer."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        try:
            socket.send_fds(theirs, [b"."], [_listener()])
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error}", file=sys.stderr)
        finally:
            os._exit(NOT_STARTED)
    theirs.close()
    # Whoever is told to end is the command; its end is ours.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    with ours:
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    failed = _answer(descriptors[0], number) if descriptors else None
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), failed


def _answer(listener: int, number: int) -> str | None:
    """Answers all syncs until nobody is left to make one."""
    seen, failed = 0, None
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    while all(event & select.POLLIN for _, event in waiting.poll()):
        notification = array.array("B", bytes(NOTIFICATION.size))
        try:
            fcntl.ioctl(listener, RECEIVE, notification)
        except OSError as error:
            # Who made the call was killed before it was answered.
            if error.errno == errno.ENOENT:
                continue
            raise
        call, process, _, _, _, _, file, *_ = NOTIFICATION.unpack(notification)
        seen += 1
        if seen == number:
            failed = str(Path(f"/proc/{process}/fd/{file}").readlink())
            answer = ANSWER.pack(call, 0, -errno.EIO, 0)
        else:
            answer = ANSWER.pack(call, 0, 0, CONTINUE)
        try:
            fcntl.ioctl(listener, SEND, answer)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
    return failed


def main(words: Sequence[str]) -> int:
    if len(words) < 3 or not words[0].isdecimal() or words[1] != "--":
        print(__doc__, file=sys.stderr)
        return USAGE
    code, failed = run(int(words[0]), words[2:])
    print(f"failed: {failed}" if failed is not None else "nothing failed", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
