"""Many visitors at once: sessions that move α, over Streamlit's own protocol.

    python -m benchmarks.load [--sessions 16] [--minutes 5] [--pause 4]

Starts its own server and opens that many sessions by websocket, each in Explore with a layer of its
own; they move the slider of α to a place of their choice, wait until the page has settled (the
kernel has run, the script has ended), look at it for the pause on average, and go on. Every page
that has settled is held to what the command line's functions make of that α, so that a result of
another session would be seen. Prints times, what went wrong, and the server's memory minute by
minute; asserts nothing.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from benchmarks.page import served
from dashboard.analysis.report import report_scale, report_slice
from dashboard.calibration import Calibration, calibrate, read_text
from dashboard.checkpoints import load_backbone, load_checkpoint
from dashboard.rules.observers import ScaleRule
from dashboard.text import captions
from dashboard.text.language import ENGLISH

CHECKPOINTS = ("mamba-tiny", "mamba2-tiny")
LARGEST_MESSAGE = 2**26
SETTLED_WITHIN_S = 60.0


@dataclass
class Tally:
    """What all sessions saw."""

    begun: float = field(default_factory=time.monotonic)
    settled_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)
    opened_cpu_s: float = 0.0  # the server's, when the last session had opened its page
    before: int = 0  # moves until then

    def note(self, seconds: float) -> None:
        self.settled_s[int((time.monotonic() - self.begun) / 60)].append(seconds)


class Session:
    """One visitor's page: what the server has sent of it."""

    def __init__(self, address: str, checkpoint: str, layer: int) -> None:
        self.address = address.replace("http", "ws") + "/_stcore/stream"
        self.query = urlencode({"checkpoint": checkpoint, "layer": layer})
        self.checkpoint, self.layer = checkpoint, layer
        self.known: dict[str, ForwardMsg] = {}  # what a browser keeps, and is not sent again
        self.metrics: dict[str, str] = {}
        self.exceptions: list[str] = []
        self.slider = None
        self.page = ""

    async def run(self, socket: websockets.ClientConnection, place: int | None = None) -> None:
        """Ask for a run, with the slider at a place, and read what comes of it until it ends."""
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_script_hash = self.query, self.page
        state.cached_message_hashes.extend(self.known)
        if place is not None:
            widget = state.widget_states.widgets.add()
            widget.id = self.slider.id
            widget.string_array_value.data.append(self.slider.options[place])
        await socket.send(message.SerializeToString())
        while True:
            received = ForwardMsg()
            received.ParseFromString(await asyncio.wait_for(socket.recv(), SETTLED_WITHIN_S))
            if received.WhichOneof("type") == "ref_hash":
                received = self.known[received.ref_hash]
            elif received.metadata.cacheable:
                self.known[received.hash] = received
            kind = received.WhichOneof("type")
            if kind == "new_session":
                self.page = received.new_session.page_script_hash
            elif kind == "page_info_changed":
                self.query = received.page_info_changed.query_string
            elif kind == "delta":
                self._see(received.delta.new_element)
            elif kind == "script_finished":
                if received.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                    return
                if received.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                    self.exceptions.append(f"the run ended as {received.script_finished}")
                    return

    def _see(self, element) -> None:
        kind = element.WhichOneof("type")
        if kind == "slider" and element.slider.label == "Percentile α":
            self.slider = element.slider
        elif kind == "metric":
            self.metrics[element.metric.label] = element.metric.body
        elif kind == "exception":
            self.exceptions.append(element.exception.message or element.exception.type)
        elif kind == "alert" and element.alert.format == element.alert.ERROR:
            self.exceptions.append(element.alert.body)


async def visit(
    session: Session, calibration: Calibration, server: int, arguments, tally: Tally
) -> None:
    """One visitor, until the time is over."""
    chance = random.Random(f"{session.checkpoint} {session.layer} {id(session)}")
    until = tally.begun + 60 * arguments.minutes
    async with websockets.connect(
        session.address, subprotocols=["streamlit"], max_size=LARGEST_MESSAGE
    ) as socket:
        await session.run(socket)
        tally.opened_cpu_s = _cpu_seconds(server)
        tally.before = sum(map(len, tally.settled_s.values()))
        await asyncio.sleep(chance.uniform(0, 2 * arguments.pause))
        while time.monotonic() < until:
            place = chance.randrange(len(session.slider.options))
            alpha = float(session.slider.options[place])
            begun = time.monotonic()
            await session.run(socket, place)
            tally.note(time.monotonic() - begun)
            tally.faults += session.exceptions
            session.exceptions.clear()
            tally.faults += differences(session, calibration, alpha)
            await asyncio.sleep(chance.uniform(0, 2 * arguments.pause))


def differences(session: Session, calibration: Calibration, alpha: float) -> list[str]:
    """Where what is on show is not what this session asked for."""
    counted = calibration.layer(session.layer).slices[0]
    beside = report_scale(counted, ScaleRule("minmax"))
    report = report_slice(counted, report_scale(counted, ScaleRule("percentile", alpha)))
    wanted = {metric.name: metric.value for metric in captions.metrics(report, beside, ENGLISH)}
    if session.metrics == wanted:
        return []
    return [
        f"{session.checkpoint} {session.layer} at {alpha}: shows {session.metrics}, not {wanted}"
    ]


async def watch_memory(server: int, minutes: float, sizes: list[float]) -> None:
    """The server's resident memory in MB, once a minute."""
    for _ in range(int(minutes) + 1):
        sizes.append(_resident_mb(server))
        await asyncio.sleep(60)


def _resident_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def _cpu_seconds(process: int) -> float:
    """What the server has taken of all cores so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _child() -> int:
    """The number of the one process that this one has started."""
    return int(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[0])


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def load(address: str, server: int, arguments) -> None:
    calibrations = {}
    for name in CHECKPOINTS:
        checkpoint = load_checkpoint(name)
        calibrations[name] = calibrate(
            checkpoint, load_backbone(checkpoint, "cpu"), read_text(checkpoint)
        )
    tally, sizes, visits = Tally(), [], []
    for number in range(arguments.sessions):
        name = CHECKPOINTS[number % len(CHECKPOINTS)]
        layers = [layer.layer for layer in calibrations[name].layers]
        session = Session(address, name, layers[number // len(CHECKPOINTS) % len(layers)])
        visits.append(visit(session, calibrations[name], server, arguments, tally))
    memory = asyncio.create_task(watch_memory(server, arguments.minutes, sizes))
    for result in await asyncio.gather(*visits, return_exceptions=True):
        if isinstance(result, BaseException):
            tally.faults.append(f"{type(result).__name__}: {result}")
    memory.cancel()
    sizes.append(_resident_mb(server))
    every = [seconds for times in tally.settled_s.values() for seconds in times]
    print(
        f"{arguments.sessions} sessions, {arguments.minutes:g} minutes, a move every "
        f"{arguments.pause:g} s after the page has settled: {len(every)} moves"
    )
    for minute, times in sorted(tally.settled_s.items()):
        print(
            f"  minute {minute + 1}: {len(times)} settled, median {_percentile(times, 0.5):.2f} s, "
            f"p95 {_percentile(times, 0.95):.2f} s, longest {max(times):.2f} s"
        )
    print(f"  all: median {_percentile(every, 0.5):.2f} s, p95 {_percentile(every, 0.95):.2f} s")
    cost = (_cpu_seconds(server) - tally.opened_cpu_s) / max(len(every) - tally.before, 1)
    print(f"  a move takes the server {cost:.2f} s of one core")
    print("  server, MB at each minute: " + ", ".join(f"{size:.0f}" for size in sizes))
    print(f"  faults: {len(tally.faults)}", *tally.faults[:5], sep="\n    ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--pause", type=float, default=4, help="seconds, on average")
    arguments = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as files, tempfile.TemporaryFile("w+") as log:
        os.environ["TMPDIR"] = files  # the server's
        with served(log) as address:
            server = _child()
            asyncio.run(load(address, server, arguments))
            time.sleep(5)
            left = sorted(path.name for path in Path(files).iterdir())
            print(f"  temporary files left: {len(left)}", *left)
        log.seek(0)
        bad = [line for line in log if "Error" in line or "Traceback" in line]
        print(f"  errors in the server's log: {len(bad)}", *bad[:5], sep="\n    ")


if __name__ == "__main__":
    main()
