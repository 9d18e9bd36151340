"""What importing this project does to a process, and to whichever ``kernels`` is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What transformers 5.23 imports from Hugging Face's distribution.
NAMES = ["CUDAProperties", "Device", "KernelizeFallback", "LayerRepository", "LocalLayerRepository",
         "Mode", "ROCMProperties", "register_kernel_mapping", "replace_kernel_forward_from_hub",
         "use_kernel_mapping", "get_kernel", "kernelize", "use_kernel_forward_from_hub",
         "use_kernelized_func"]  # fmt: skip


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> Path:
    """A directory for the path, with a distribution of the name and version of Hugging Face's."""
    site = tmp_path_factory.mktemp("site")
    (site / "kernels").mkdir()
    names = "\n".join(f"def {name}(*_, **__):\n    raise AssertionError" for name in NAMES)
    (site / "kernels" / "__init__.py").write_text(names)
    installed = site / "kernels-0.18.2.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 0.18.2\n")
    (installed / "top_level.txt").write_text("kernels\n")
    (installed / "RECORD").write_text("kernels/__init__.py,,\n")
    return site


def run(path: list[Path], cwd: Path, *command: str) -> str:
    """A program's standard output, run with directories on its path."""
    environment = {name: v for name, v in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=environment | {"PYTHONPATH": os.pathsep.join(map(str, path))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


COMMAND_LINE = """
import gc, runpy, sys
sys.argv = ["dashboard", "analyze", "mamba2-tiny", "--batches", "1", "--seq-len", "64",
            "--format", "csv"]
try:
    runpy.run_module("dashboard", run_name="__main__")
except SystemExit as end:
    assert end.code == 0
print("set aside:", gc.get_freeze_count() > 100_000)
"""

MODEL = """
import importlib.metadata
version = importlib.metadata.version
from dashboard.calibration import calibrate, read_text
from dashboard.checkpoints import load_backbone, load_checkpoint
import kernels, transformers
assert importlib.metadata.version is version and version("kernels") == "0.18.2"
checkpoint = load_checkpoint("mamba-tiny")
text = read_text(checkpoint, batches=1, seq_len=8)
print(len(calibrate(checkpoint, load_backbone(checkpoint), text).layers), kernels.__file__)
import transformers.integrations.hub_kernels as hub
assert not hub.is_kernels_available()
assert importlib.metadata.version is version and version("kernels") == "0.18.2"
import kernels, kernels.reference
assert hasattr(kernels, "quant_causal_conv1d") and kernels.reference.__file__.startswith({root!r})
"""


def test_the_command_line_runs_behind_it_and_sets_its_imports_aside_from_collection(
    stand_in, tmp_path
):
    """The other distribution comes first on the path; models load afterwards, too."""
    code = COMMAND_LINE + MODEL.replace("{root!r}", repr(str(ROOT)))
    header, *rows, aside, loaded = run([stand_in, ROOT], tmp_path, "-c", code).splitlines()
    assert header.startswith("slice,layer,x_scale") and len(rows) == 3 * 4
    assert aside == "set aside: True"
    layers, kernels = loaded.split()
    assert layers == "4" and Path(kernels).parent == ROOT / "kernels"


APP = """
from streamlit.testing.v1 import AppTest
app = AppTest.from_file({app!r}, default_timeout=60)
app.query_params.update(batches="1", seq_len="64")
app.run()
print(len(app.exception), len(app.error), len(app.metric))
"""


def test_the_app_runs_beside_it(stand_in, tmp_path):
    output = run(
        [ROOT, stand_in], tmp_path, "-c", APP.replace("{app!r}", repr(str(ROOT / "app.py")))
    )
    assert output.split() == ["0", "0", "6"]


def test_the_tests_own_setting_up_hides_it(stand_in, tmp_path):
    code = "import conftest; from transformers import MambaModel; print(MambaModel.__name__)"
    assert run([ROOT, ROOT / "tests", stand_in], tmp_path, "-c", code) == "MambaModel\n"


def test_a_process_that_has_imported_the_other_kernels_is_told(stand_in, tmp_path):
    code = (
        "import kernels\ntry:\n    import dashboard\nexcept ImportError as error:\n    print(error)"
    )
    output = run([stand_in, ROOT], tmp_path, "-c", code)
    assert output.startswith(f"another package called kernels is imported already, from {stand_in}")


NEUTRAL = """
import atexit, gc, os, sys
before = gc.get_freeze_count(), dict(os.environ), gc.isenabled()
import dashboard
assert not any(name in sys.modules for name in ("torch", "triton", "transformers", "kernels"))
assert before == (gc.get_freeze_count(), dict(os.environ), gc.isenabled())
from dashboard.checkpoints import load_backbone, load_checkpoint
load_backbone(load_checkpoint("mamba-tiny"))
assert (gc.get_freeze_count(), gc.isenabled()) == (before[0], True)
gc.disable()  # whoever has switched collection off finds it so
load_backbone(load_checkpoint("mamba2-tiny"))  # of another family, which is imported now
assert (gc.get_freeze_count(), gc.isenabled()) == (before[0], False)
"""


def test_importing_the_project_changes_nothing_and_models_load_beside_the_other_kernels(
    stand_in, tmp_path
):
    code = NEUTRAL + MODEL.replace("{root!r}", repr(str(ROOT)))
    layers, kernels = run([ROOT, stand_in], tmp_path, "-c", code).split()
    assert layers == "4" and Path(kernels).parent == ROOT / "kernels"
