"""Commands that are stopped in the middle, at some moment or at some step of their writing.

A nursery is a process that has imported all that takes long, and has computed nothing: after a
fork, what OpenMP's threads of the parent did would be missing. It runs each command in a child.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

NURSERY = """
import json, os, signal, sys, time, traceback
import torch
torch.set_num_threads(1)
from dashboard import cli
import transformers.models.mamba2.modeling_mamba2
print("ready", flush=True)

def stop_at(step, place, by):
    # What Python is about to do to the files of a directory, it says beforehand.
    names = ("open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.scandir", "os.rmdir")
    passed = 0
    def look(event, arguments):
        nonlocal passed
        if event in names and any(place in str(argument) for argument in arguments[:2]):
            passed += 1
            if passed == step + 1:
                os.kill(os.getpid(), getattr(signal, by))
    sys.addaudithook(look)

for line in sys.stdin:
    asked = json.loads(line)
    begun = time.monotonic()
    read, write = os.pipe()
    # What comes while Python forks waits until the child is in its own code.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    if not child:
        status = 70
        try:
            os.close(read)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            if asked["most_bytes"] is not None:
                import resource
                resource.setrlimit(resource.RLIMIT_FSIZE, (asked["most_bytes"],) * 2)
            os.dup2(write, 1)  # read by nobody, but for its end
            if asked["by"] == "closed pipe":
                os.dup2(write, 2)
            elif asked["step"] is not None:
                stop_at(asked["step"], asked["place"], asked["by"])
            status = cli.main(asked["arguments"])
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    if asked["after_s"] is not None:
        time.sleep(asked["after_s"])
        if asked["by"] == "closed pipe":
            os.close(read)
        else:
            os.kill(child, getattr(signal, asked["by"]))
    _, status = os.waitpid(child, 0)
    if asked["by"] != "closed pipe" or asked["after_s"] is None:
        os.close(read)
    answer = {"status": os.waitstatus_to_exitcode(status), "s": time.monotonic() - begun}
    print(json.dumps(answer), flush=True)
"""


def run_cli(*options, environment=None, **popen):
    """A process of Python's own; ``environment`` is added to that of the tests."""
    return subprocess.Popen(
        [sys.executable, *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "SCALESCOPE_CALIBRATIONS": ""}
        | (environment or {}),
        text=True,
        **popen,
    )


class Nursery:
    """Runs commands of the command line, each in a process of its own."""

    def __init__(self, **environment):
        self.process = run_cli(
            "-c", NURSERY,
            environment={"CUDA_VISIBLE_DEVICES": "", **environment},  # it forks
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n"

    def run(self, *arguments, by="SIGKILL", after_s=None, step=None, place="", most_bytes=None):
        """Run one; its exit status and how long it took, in seconds.

        Args:
            by: what stops it: a signal's name, or "closed pipe".
            after_s: when.
            step: or at which step of what it does to the files of the directory ``place``.
            most_bytes: of a file that it may write; the system refuses more, as a full disk does.
        """
        asked = dict(
            arguments=arguments, by=by, after_s=after_s, step=step, place=str(place),
            most_bytes=most_bytes,
        )  # fmt: skip
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        """What the commands wrote to standard error. What Python itself says of an interruption
        that came while it took an object away is left out: nothing can be done about it."""
        written = self.process.communicate(timeout=60)[1]
        return re.sub(r"Exception ignored in:.*?KeyboardInterrupt: *\n", "", written, flags=re.S)
