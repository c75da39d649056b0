"""Runs a program that a model wrote, in a process of its own with limits."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from prt_bench.errors import RequestError

__all__ = ["Outcome", "run_program"]

LONGEST_REPORT = 200

# What the process runs. It takes the token and the program from its input, puts the limits on, and writes the token
# only where the program came to its end: an exit, an error and a kill all leave it unwritten.
START = r"""
import os, sys

def limit(seconds, memory):
    import resource
    wanted = {"CPU": seconds, "AS": memory, "FSIZE": 1 << 24, "NPROC": 0, "NOFILE": 64, "CORE": 0}
    for name, most in wanted.items():
        kind = getattr(resource, "RLIMIT_" + name, None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):
            pass

def guard():
    home = os.path.realpath(os.getcwd())
    realpath, fsdecode, join, devnull = os.path.realpath, os.fsdecode, os.path.join, os.devnull
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    # Event of the interpreter -> where its paths stand, each with the place of the folder it may be relative to.
    paths = {
        "os.remove": ((0, 1),), "os.rmdir": ((0, 1),), "os.mkdir": ((0, 2),), "os.rename": ((0, 2), (1, 3)),
        "os.link": ((0, 2), (1, 3)), "os.symlink": ((1, 2),), "os.chmod": ((0, 2),), "os.chown": ((0, 3),),
        "os.utime": ((0, 3),), "os.truncate": ((0, None),), "os.setxattr": ((0, None),),
    }
    processes = ("os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system", "os.kill",
                 "os.killpg", "subprocess.Popen", "pty.spawn")
    network = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
    refused = frozenset(processes + network)

    def own(path, folder):
        if path is None or isinstance(path, int):
            return True
        path = fsdecode(path)
        if isinstance(folder, int) and folder >= 0:
            path = join(f"/proc/self/fd/{folder}", path)
        whole = realpath(path)
        return whole == devnull or whole == home or whole.startswith(home + os.sep)

    def hook(event, values):
        if event in refused:
            raise PermissionError(f"{event} is not allowed here")
        if event == "open":
            if values[2] & writing and not own(values[0], None):
                raise PermissionError("writing outside the working folder is not allowed here")
        elif event in paths:
            for place, relative in paths[event]:
                if not own(values[place], None if relative is None else values[relative]):
                    raise PermissionError(f"{event} outside the working folder is not allowed here")

    sys.addaudithook(hook)

def run(source):
    import types
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    exec(compile(source, "candidate", "exec"), module.__dict__)

def main():
    report, seconds, memory = map(int, sys.argv[1:])
    sys.argv = [""]
    token, _, source = open(0, "rb", closefd=False).read().partition(b"\n")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.set_inheritable(report, False)
    write, leave = os.write, os._exit
    limit(seconds, memory)
    guard()
    try:
        run(source)
    except BaseException as error:
        write(report, type(error).__name__.encode()[:80])
        leave(1)
    write(report, token)
    leave(0)

main()
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a program."""

    passed: bool
    reason: str
    """`passed`, the name of the error, or how it ended."""


def run_program(program: str, seconds: float = 3.0, memory_bytes: int = 1 << 30) -> Outcome:
    """Run a Python program; it passes where it comes to its last line without an error.

    The program has the standard library alone, an empty environment, no input, no visible output, and an empty
    working folder that is gone afterwards. The kernel bounds its processor time, address space, size of each file and
    open files; after `seconds` its whole process group is killed. It is kept from starting processes, from the network
    and from changing files elsewhere by the kernel's limit on processes (which does not bind root) and by the
    interpreter's audit hook.

    What this is not: a sandbox. It stops accidents, and programs that end early to look right. It does not stop a
    program that sets out to get around it, which can call the system past the interpreter (`ctypes`), reach the
    network, start processes that outlive it, find what success is reported by, or change the user's files; and *any*
    program may read every file that the user can read. Programs of models that are not trusted belong in a container
    or a virtual machine without a network.

    Raises:
        RequestError: this system has no process groups. Nothing that the program does raises here.
    """
    if os.name != "posix":
        raise RequestError("programs that models wrote can be run on Linux and macOS only")
    token = secrets.token_hex(16).encode()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="prt-bench-", ignore_cleanup_errors=True))
        given = stack.enter_context(tempfile.TemporaryFile())
        given.write(token + b"\n" + program.encode("utf-8", "replace"))
        given.seek(0)
        said, report = os.pipe()
        stack.callback(os.close, said)
        limits = [str(math.ceil(seconds) + 1), str(memory_bytes)]
        try:
            process = subprocess.Popen(
                # Isolated, without site-packages, and writing no byte code.
                [sys.executable, "-I", "-S", "-B", "-c", START, str(report), *limits],
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(report,),
                cwd=Path(folder),
                env={},
                start_new_session=True,
            )
        finally:
            os.close(report)
        return _outcome(process, said, token, seconds)


def _outcome(process: subprocess.Popen[bytes], said: int, token: bytes, seconds: float) -> Outcome:
    """Wait for the report, or for the end of all that could give one; then end the whole group."""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(said, selectors.EVENT_READ)
            ready = selector.select(seconds)
        text = os.read(said, LONGEST_REPORT) if ready else b""
    finally:
        # The leader is not reaped yet, so that its number cannot have become somebody else's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if text == token:
        return Outcome(True, "passed")
    if text:
        return Outcome(False, text.decode("utf-8", "replace"))
    if not ready:
        return Outcome(False, f"took longer than {seconds:g} s")
    ending = f"exit code {code}" if code >= 0 else f"signal {-code}"
    return Outcome(False, f"ended before its last line ({ending})")
