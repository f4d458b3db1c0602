"""Which executor is chosen, and that TensorFlow is not even imported where it is not used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import ROOT

from renorm_cli.errors import EngineError
from renorm_cli.norms.engines import pick as pick_module
from renorm_cli.norms.engines.estimate import Load
from renorm_cli.norms.engines.pick import pick

LARGE = Load({("float16", 2.5): 1 << 40})

NOT_INSTALLED = """
import sys

class AllButTensorFlow:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition('.')[0] == 'tensorflow' else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(AllButTensorFlow, sys.meta_path)
"""
ASK = """
from renorm_cli.norms.engines.pick import pick
from renorm_cli.errors import EngineError
try:
    pick({engine!r}, {device!r})
except EngineError as error:
    print(error)
"""


def python(code: str, *first: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` beside this repository's package; modules in the folders `first` hide others of their name."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*first, ROOT)))}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def beside(nodes: tuple[str, ...], arguments: str, shown: str) -> subprocess.CompletedProcess[str]:
    """Pick, with these device nodes, in a process of its own, and print `shown`."""
    return python(
        "import sys\n"
        "from renorm_cli.norms.engines import pick\n"
        f"pick._GPU_NODES = {nodes!r}\n"
        f"found, notes = pick.pick({arguments})\n"
        f"print({shown})\n"
    )


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pick_module, "_GPU_NODES", ("/dev/no-such-device",))


@pytest.fixture
def some_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any device node stands for the driver's: only its presence is looked at."""
    monkeypatch.setattr(pick_module, "_GPU_NODES", ("/dev/null",))


@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize("engine", ["auto", "numpy"])
def test_without_a_gpu_the_engine_is_numpy_and_tensorflow_is_not_imported(engine: str, device: str) -> None:
    done = beside((), f"{engine!r}, {device!r}", "found.name, found.device, notes, 'tensorflow' in sys.modules")
    assert done.stdout == "numpy cpu () False\n", done.stderr


@pytest.mark.parametrize(("nbytes", "loaded"), [(1 << 30, False), pytest.param(1 << 40, True, marks=pytest.mark.slow)])
def test_a_gpu_is_worth_the_start_of_tensorflow_only_for_much_work(nbytes: int, loaded: bool) -> None:
    load = f"load=pick.Load({{('float16', 2.5): {nbytes}}})"
    done = beside(("/dev/null",), load, "'tensorflow' in sys.modules")
    assert done.stdout == f"{loaded}\n", done.stderr


@pytest.mark.slow
def test_the_look_at_modules_can_fail() -> None:
    done = python(
        "import sys\nfrom renorm_cli.norms.engines.pick import pick\nfound, _ = pick('tensorflow', 'cpu')\n"
        "print(found.name, found.device, 'tensorflow' in sys.modules)\n"
    )
    assert done.stdout == "tensorflow cpu True\n", done.stderr


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("engine", ["auto", "tensorflow"])
def test_asking_for_a_gpu_where_there_is_none_is_an_error(engine: str) -> None:
    with pytest.raises(EngineError, match=r"no GPU device was found .*; use what there is with device='auto'"):
        pick(engine, "gpu")


def test_numpy_on_a_gpu_is_an_error_that_names_the_engine_that_can() -> None:
    with pytest.raises(EngineError, match="use the GPU with engine='tensorflow'"):
        pick("numpy", "gpu")


@pytest.mark.slow
def test_a_driver_without_the_cuda_libraries_is_an_error_that_says_how_to_get_them() -> None:
    done = python(
        "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = ''\n"
        "from renorm_cli.norms.engines import pick\nfrom renorm_cli.errors import EngineError\n"
        "pick._GPU_NODES = ('/dev/null',)\n"
        "try:\n    pick.pick('tensorflow', 'gpu')\nexcept EngineError as error:\n    print(error)\n"
    )
    assert "pip install 'tensorflow[and-cuda]'" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.parametrize(("engine", "device"), [("tensorflow", "auto"), ("tensorflow", "cpu")])
def test_without_tensorflow_asking_for_it_is_an_error_that_says_what_to_install(engine: str, device: str) -> None:
    done = python(NOT_INSTALLED + ASK.format(engine=engine, device=device))
    assert done.stdout.startswith("TensorFlow is not installed; pip install "), done.stderr
    assert done.stderr == ""


def test_a_tensorflow_that_does_not_load_is_an_error_in_one_line_after_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(
        "import os\nos.write(2, b'libraries from two worlds\\n')\nraise ImportError('undefined symbol')\n"
    )
    done = python(ASK.format(engine="tensorflow", device="auto"), tmp_path)
    assert done.stdout.startswith("TensorFlow is not installed or does not load"), done.stderr
    assert done.stdout.count("\n") == 1
    assert done.stderr == "libraries from two worlds\n"


@pytest.mark.usefixtures("some_gpu")
def test_a_gpu_without_tensorflow_is_said_and_numpy_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found, notes = pick(load=LARGE)
    assert found.name == "numpy"
    assert [note.warning for note in notes] == [True]
    assert "pip install 'tensorflow[and-cuda]'" in notes[0].text
