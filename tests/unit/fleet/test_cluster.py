"""Which addresses are taken; and who is waited for, by a client that stands in for that of dask."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from renorm_cli.errors import EngineError, UsageError
from renorm_cli.fleet import cluster as module
from renorm_cli.fleet.discover import Item
from renorm_cli.fleet.pool import Job

ADDRESS = "tcp://127.0.0.1:1"


def asked(monkeypatch: pytest.MonkeyPatch, client: Any) -> list[str]:
    """What is told meanwhile."""
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=client))
    told: list[str] = []
    list(module.cluster(str, [Job(0, "a")], ADDRESS, Item("a", 0, ""), tell=told.append))
    return told


def test_a_scheduler_that_does_not_answer_is_named_with_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    def client(*_: Any, **__: Any) -> None:
        raise OSError("Timed out")

    with pytest.raises(EngineError, match=f"the scheduler '{ADDRESS}' did not answer in 10 s .OSError.; does"):
        asked(monkeypatch, client)


def test_a_worker_is_waited_for_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NO_WORKER", 0.1)
    monkeypatch.setattr(module, "_SILENT", 0.05)
    told: list[str] = []
    with pytest.raises(EngineError, match="has no worker; start one: `dask worker"):
        module._wait_for_workers(SimpleNamespace(nthreads=dict), ADDRESS, told.append)
    assert told == [f"the cluster at '{ADDRESS}' has no worker; one is waited for, for 0.1 s"]
    module._wait_for_workers(SimpleNamespace(nthreads=lambda: {"one": 1}), ADDRESS, told.append)
    assert len(told) == 1


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:8786", "tcp://scheduler:8786", "tcp://localhost:1@scheduler:8786", " TCP://scheduler:1"]
)
def test_an_open_port_of_another_machine_is_refused_unless_it_is_accepted(address: str) -> None:
    with pytest.raises(UsageError, match="is not encrypted"):
        module.check_address(address, insecure=False)
    module.check_address(address, insecure=True)
    module.check_address(address.lower().replace("tcp", "tls"), insecure=False)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tcp://[::1]:1", "tcp://localhost:1"])
def test_an_open_port_of_this_machine_is_accepted(address: str) -> None:
    module.check_address(address, insecure=False)


@pytest.mark.parametrize(
    "address",
    [
        "http://a:1",
        "tcp://a",
        "a",
        "tcp://:1",
        "",
        "tcp://a:0",
        "tcp://a:65536",
        "tcp://a:b",
        "tls://a:1 ",
        "tcp://[::1",
    ],
)
def test_what_is_no_address_of_a_scheduler_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="no address of a scheduler"):
        module.check_address(address, insecure=True)
