"""Distributed checkpoints, exported programs and constants of TorchScript: what PyTorch reads of an output."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builders, tensor_files, torch_files
from support.files import agrees, bound, look

from renorm_cli.errors import FormatError
from renorm_cli.formats.registry import find, open_checkpoint

KERNEL = builders.kernel((6, 4), (0,))


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def loaded(folder: Path, like: dict[str, Any]) -> dict[str, Any]:
    """The tensors of a folder, as PyTorch loads them into others."""
    import torch.distributed.checkpoint as dcp
    from torch import zeros_like

    state = {name: zeros_like(array) for name, array in like.items()}
    dcp.load(state, checkpoint_id=folder)
    return state


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pytorch_loads_a_distributed_output_as_the_oracle_makes_it(tmp_path: Path, torch: Any) -> None:
    import torch.distributed.checkpoint as dcp

    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ConvTranspose2d(3, 4, 2))
    optimizer = torch.optim.Adam(made.parameters())
    sum((weight**2).sum() for weight in made.parameters()).backward()
    optimizer.step()
    state = {f"model.{name}": array.detach() for name, array in made.state_dict().items()}
    dcp.save({**state, "optimizer": optimizer.state_dict(), "epoch": 3}, checkpoint_id=tmp_path / "step")
    report = bound(tmp_path / "step", tmp_path / "out", limit=0.5)
    assert {row.step.variable.name: row.step.unit_axes for row in report.rows} == {
        "model.0.weight": (0,),
        "model.1.weight": (1,),
    }
    assert {skip.role for skip in report.skips if skip.variable.name.startswith("optimizer")} == {"optimizer"}
    after = loaded(tmp_path / "out", state)
    for name, array in state.items():
        if array.dim() > 1:
            agrees(array.numpy(), after[name].numpy(), (1,) if array.dim() == 4 else (0,), 0.5)
        else:
            assert torch.equal(array, after[name])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pytorch_puts_the_parts_of_an_output_together_as_the_oracle_makes_them(tmp_path: Path, torch: Any) -> None:
    arrays = {name: array for name, array in tensor_files.torch_arrays().items() if array.dtype.kind in "fi"}
    torch_files.write_distributed(tmp_path / "step", arrays)
    bound(tmp_path / "step", tmp_path / "out")
    after = loaded(tmp_path / "out", {name: torch.from_numpy(array) for name, array in arrays.items()})
    for name, array in arrays.items():
        if name in tensor_files.TORCH_KERNELS:
            agrees(array, after[name].numpy(), (0,), 1.0)
        else:
            np.testing.assert_array_equal(array, after[name].numpy())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pytorch_loads_an_exported_output_as_the_oracle_makes_it(tmp_path: Path, torch: Any) -> None:
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    made[2].weight = torch.nn.Parameter(torch.randn(5, 3).t())
    torch.export.save(torch.export.export(made, (torch.randn(2, 4),)), tmp_path / "m.pt2")
    report = bound(tmp_path / "m.pt2", tmp_path / "out.pt2", limit=0.5)
    assert {row.step.variable.name for row in report.rows} == {"0.weight", "2.weight"}
    after = torch.export.load(tmp_path / "out.pt2").state_dict
    for name, array in made.state_dict().items():
        if array.dim() > 1:
            agrees(array.numpy(), after[name].detach().numpy(), (0,), 0.5)
        else:
            assert torch.equal(array, after[name])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_constants_of_a_frozen_script_are_listed_and_bounded_where_asked(tmp_path: Path, torch: Any) -> None:
    from renorm_cli.api.verbs import apply

    script = torch.jit.freeze(torch.jit.script(torch.nn.Linear(4, 5)).eval())
    script.save(tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as source:
        (kernel,) = (variable for variable in source.variables if len(variable.shape) == 2)
    assert kernel.name.startswith("constants.")
    apply(tmp_path / "m.pt", tmp_path / "out.pt", include=[kernel.name], units={kernel.name: "0"}, max_norm=0.5)
    before, after = (_constant(torch.jit.load(tmp_path / name)) for name in ("m.pt", "out.pt"))
    agrees(before, after, (0,), 0.5)


def _constant(script: Any) -> np.ndarray:
    nodes = script.graph.findAllNodes("prim::Constant")
    tensors = (node.t("value") for node in nodes if "value" in node.attributeNames() and node.kindOf("value") == "t")
    return np.array(next(one for one in tensors if one.dim() == 2))


# --- without PyTorch


def test_a_file_in_the_folder_leads_to_it_and_is_told_from_the_whole(tmp_path: Path) -> None:
    torch_files.write_distributed(tmp_path / "step", {"a.weight": KERNEL})
    with find(tmp_path / "step" / ".metadata") as found:
        assert found.location.path == tmp_path / "step"
    with pytest.raises(FormatError, match=r"is a part of the checkpoint '.*/step'; give that"):
        look(tmp_path / "step" / "__0_0.distcp")


def test_items_that_are_no_archives_of_pytorch_are_told_as_that(tmp_path: Path) -> None:
    """As `SerializationFormat.SAFETENSORS` writes them, all of which begin at byte 0."""
    step, content = tmp_path / "step", tensor_files.safetensors({"a": tensor_files.ENTRY}, bytes(8))
    step.mkdir()
    tensors = {name: torch_files.told_of(KERNEL, [(0, 6)]) for name in ("a.weight", "b.weight")}
    places = [torch_files.place_of(name, (0, 0), "__0_0.distcp", 0, len(content)) for name in tensors]
    (step / "__0_0.distcp").write_bytes(content)
    (step / ".metadata").write_bytes(torch_files.metadata_of(tensors, places))
    with pytest.raises(
        FormatError, match=r"is in no archive of torch.save; save it with SerializationFormat.TORCH_SAVE"
    ):
        look(step)


@pytest.mark.parametrize("orders", [("big", "big"), ("little", "big")])
def test_parts_are_read_in_one_byte_order_and_those_of_two_are_refused(orders: tuple[str, str], tmp_path: Path) -> None:
    step, places = tmp_path / "step", []
    step.mkdir()
    for number, order in enumerate(orders):
        content = torch_files.item_of(KERNEL[3 * number :][:3], order=order)
        (step / f"__{number}_0.distcp").write_bytes(content)
        places.append(torch_files.place_of("a.weight", (3 * number, 0), f"__{number}_0.distcp", 0, len(content)))
    tensors = {"a.weight": torch_files.told_of(KERNEL, [(0, 3), (3, 6)])}
    (step / ".metadata").write_bytes(torch_files.metadata_of(tensors, places))
    if orders == ("little", "big"):
        with pytest.raises(FormatError, match=r"'a\.weight' at byte 0 has another byte order than its first part"):
            look(step)
        return
    with open_checkpoint(step) as source:
        np.testing.assert_array_equal(source.read(source.variables[0]), KERNEL)


def test_other_files_in_the_folder_are_carried_over(tmp_path: Path) -> None:
    torch_files.write_distributed(tmp_path / "step", {"a.weight": KERNEL})
    (tmp_path / "step" / "extra").mkdir()
    (tmp_path / "step" / "extra" / "config.json").write_text("{}")
    bound(tmp_path / "step", tmp_path / "out")
    assert (tmp_path / "out" / "extra" / "config.json").read_text() == "{}"
    agrees(KERNEL, torch_files.read_distributed(tmp_path / "out")["a.weight"], (0,), 1.0)


def test_weights_of_several_exported_models_begin_with_the_name_of_theirs(tmp_path: Path) -> None:
    meta = {"dtype": 7, "sizes": [{"as_int": 6}, {"as_int": 4}], "strides": [{"as_int": 4}, {"as_int": 1}]}
    meta["storage_offset"] = {"as_int": 0}  # type: ignore[assignment]
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        for number, model in enumerate(("big", "small")):
            config = {"config": {"fc.weight": {"path_name": f"weight_{number}", "tensor_meta": meta}}}
            archive.writestr(f"m/data/weights/{model}_weights_config.json", json.dumps(config))
            archive.writestr(f"m/data/weights/weight_{number}", KERNEL.tobytes())
        archive.writestr("m/archive_format", "pt2")
    report = look(tmp_path / "m.pt2")
    assert [row.step.variable.name for row in report.rows] == ["big.fc.weight", "small.fc.weight"]


def test_a_tar_of_the_first_versions_of_pytorch_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "sys_info").write_bytes(b"x")
    with tarfile.open(tmp_path / "m.pt", "w") as archive:
        archive.add(tmp_path / "sys_info", "sys_info")
    with pytest.raises(FormatError, match=r"a tar archive of PyTorch before 0\.1\.10; load it with torch.load"):
        look(tmp_path / "m.pt")
