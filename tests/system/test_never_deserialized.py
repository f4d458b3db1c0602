"""Nothing in the package runs what a checkpoint holds; hostile/ looks for the same at run time."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import renorm_cli

PACKAGE = Path(renorm_cli.__file__).parent

MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "torch",
    "runpy",
}
MODULES |= {
    "importlib.machinery",
    "code",
    "codeop",
    "zipimport",
    "subprocess",
    "multiprocessing",
    "webbrowser",
    "urllib.request",
}
MODULES |= {"http", "ftplib", "tarfile", "shutil.unpack_archive"}
"""Modules that turn bytes into code or objects, start programs, or fetch what a file names."""

CALLS = {"eval", "exec", "compile", "__import__", "execfile", "load_model", "from_config", "deserialize", "from_json"}
CALLS |= {"model_from_json", "model_from_config", "deserialize_keras_object", "import_meta_graph", "import_graph_def"}
CALLS |= {"unpack_archive", "extractall", "extract", "system", "popen", "Popen", "enable_unsafe_deserialization"}
CALLS |= {"load_weights", "TFSMLayer", "fromfile_pickle", "read_pickle", "fromstring_pickle"}

DOTTED = {"np.load", "numpy.load", "tf.saved_model.load", "saved_model.load", "np.fromregex", "tf.io.read_file"}

ALLOWED = {
    "cli/completion.py": ["get_completion_script(shell=...)", "install(shell=...)"],
    "fleet/pool.py": ["multiprocessing", "multiprocessing.connection.Connection", "multiprocessing.connection.wait"],
    "fleet/drive.py": ["pickle"],
    "fleet/spool.py": ["pickle"],
}
"""Names of shells, for typer; pipes between our own processes, and files without names, which nobody else can write
to."""


def offences(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if _is_named(name.name)]
            case ast.ImportFrom(module=str(module), names=names):
                found += [f"{module}.{name.name}" for name in names if _is_named(f"{module}.{name.name}")]
            case ast.Call(func=function):
                called = ast.unparse(function)
                dotted = any(called == name or called.endswith(f".{name}") for name in DOTTED)
                if dotted or (called.rpartition(".")[2] in CALLS and called != "re.compile"):
                    found.append(called)
                found += [
                    f"{called}({keyword.arg}=...)"
                    for keyword in node.keywords
                    if keyword.arg in ("allow_pickle", "shell") and not _is_false(keyword.value)
                ]
    return found


def _is_named(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in MODULES)


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def test_no_module_of_the_package_can_run_or_unpickle_what_a_file_holds() -> None:
    found = {str(path.relative_to(PACKAGE)): offences(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    assert len(found) > 50
    assert {name: what for name, what in found.items() if what} == ALLOWED


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "eval(text)",
        "builtins.exec(text)",
        "keras.models.load_model(path)",
        "Layer.from_config(config)",
        "tf.saved_model.load(path)",
        "tensorflow.saved_model.load(path)",
        "np.load(path)",
        "np.lib.format.read_array(file, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
        "from subprocess import run",
        "os.system(command)",
        "archive.extractall()",
        "from urllib.request import urlopen",
    ],
)
def test_each_way_to_run_code_would_be_found(source: str) -> None:
    assert offences(source)


@pytest.mark.parametrize("source", ["re.compile(x)", "json.loads(x)", "f(allow_pickle=False)", "np.frombuffer(x)"])
def test_harmless_calls_are_not_mistaken(source: str) -> None:
    assert not offences(source)
