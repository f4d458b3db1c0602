"""The processes of a dask cluster, in the place of those of this machine; the only module that imports distributed.

A cluster loses what it was given in more ways than it says. So nothing here waits for its word alone: a future that
does not call back is looked at, a result that does not come is asked for again, and what is said to have killed its
workers is tried once more with nothing beside it before it is blamed, as what only waited in such a worker is accused,
too.
"""

from __future__ import annotations

import ipaddress
import logging
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from renorm_cli import __version__
from renorm_cli.errors import EngineError, RenormError, UsageError
from renorm_cli.fleet.discover import Item, item_at
from renorm_cli.fleet.pool import Do, Job, Lost

if TYPE_CHECKING:
    from distributed import Client, Future

_Answer = TypeVar("_Answer")

_CONNECT, _LOOK, _GATHER, _NO_WORKER = 10.0, 5.0, 20.0, 60.0
"""Seconds to reach the scheduler, between looks at silent futures, for a result to come, and without any worker."""

_SILENT = 3.0
"""Seconds in which a worker that starts with the scheduler comes; nothing is said before."""

_AGAIN = 5
"""Times that one job is given out anew because the cluster lost it."""


def check_address(address: str, *, insecure: bool) -> None:
    """Raise UsageError for what is no address of a scheduler, and for one that others could reach and run code in.

    Whoever reaches the port of a scheduler can have it run anything: without TLS it is to be on this machine, unless
    `insecure` accepts that.
    """
    parts = _parts(address)
    if parts is None:
        raise UsageError(f"{address!r} is no address of a scheduler; tcp://HOST:PORT or tls://HOST:PORT was expected")
    scheme, host = parts
    if scheme == "tcp" and not insecure and not _is_here(host):
        raise UsageError(
            f"{address!r} is not encrypted, and who reaches it can run anything on the cluster; use tls://"
        )


def _parts(address: str) -> tuple[str, str] | None:
    """Scheme and host of an address; None where it is none."""
    with suppress(ValueError):  # such as a port that is no number
        parts = urlsplit(address)
        if parts.scheme in ("tcp", "tls") and parts.hostname and parts.port:
            return parts.scheme, parts.hostname
    return None


def _is_here(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def cluster(
    do: Do[_Answer],
    jobs: Sequence[Job],
    address: str,
    first: Item,
    timeout: float | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[Job, _Answer | Lost]]:
    """Do all jobs on the workers of the scheduler at `address`; each answer comes when it is there.

    Where there is no worker, `tell` is told that one is waited for.

    The scheduler and all workers must run this version, and see `first` as it is here. An error that `do` raises is
    raised here. Raises EngineError where the cluster is not like that, or is gone: its scheduler, or all its workers
    for a minute.
    """
    try:
        import distributed
    except ImportError:
        raise EngineError(
            "distributed is not installed; pip install 'renorm-ckpt[dask]' to work on a cluster"
        ) from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it says there is said here as an error
    try:
        client = distributed.Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"the scheduler {address!r} did not answer in {_CONNECT:g} s ({type(error).__name__}); does a"
            " `dask scheduler` run there?"
        ) from None
    try:
        _probe(client, address, first, tell)
        yield from _Cluster(client, address, do, jobs, timeout, tell).answers()
    finally:
        with suppress(Exception):
            client.close(timeout=2)


def seen(path: str) -> tuple[str, str]:
    """The version that runs, and what it sees of a checkpoint."""
    return __version__, item_at(path).identity


def _probe(client: Client, address: str, first: Item, tell: Callable[[str], None]) -> None:
    """Raise EngineError where the scheduler or a worker runs another version, or sees other files."""
    mine = seen(first.path)
    try:
        _wait_for_workers(client, address, tell)
        versions = {client.run_on_scheduler(_version)}
        found: dict[str, Any] = client.run(seen, first.path)
    except EngineError:
        raise
    except Exception as error:  # noqa: BLE001  (whatever fails there, nothing can be done on this cluster)
        why = f"{type(error).__name__}; is renorm-ckpt installed on the scheduler and on all workers?"
        raise EngineError(f"the cluster at {address!r} cannot run this: {why}") from None
    versions |= {version for version, _ in found.values()}
    if versions != {__version__}:
        others = ", ".join(sorted(versions - {__version__}))
        raise EngineError(
            f"the cluster at {address!r} runs renorm-ckpt {others}, this is {__version__}; install the same"
        )
    blind = sorted(worker for worker, one in found.items() if one != mine)
    if blind:
        raise EngineError(
            f"{len(blind)} of {len(found)} workers, such as {blind[0]}, do not see {first.path!r} as it is here;"
            " give paths that all machines share"
        )


def _version() -> str:
    return __version__


def _wait_for_workers(client: Client, address: str, tell: Callable[[str], None]) -> None:
    begun, silent = time.monotonic(), True
    while not client.nthreads():
        waited = time.monotonic() - begun
        if silent and waited > _SILENT:
            tell(_waits(address))
            silent = False
        if waited > _NO_WORKER:
            raise EngineError(f"the cluster at {address!r} has no worker; start one: `dask worker {address}`")
        time.sleep(0.2)


def _waits(address: str) -> str:
    return f"the cluster at {address!r} has no worker; one is waited for, for {_NO_WORKER:g} s"


class _Cluster(Generic[_Answer]):
    def __init__(
        self,
        client: Client,
        address: str,
        do: Do[_Answer],
        jobs: Sequence[Job],
        timeout: float | None,
        tell: Callable[[str], None],
    ) -> None:
        self._client, self._address, self._do, self._timeout, self._tell = client, address, do, timeout, tell
        self._todo = list(jobs)[::-1]
        self._suspects: list[Job] = []
        self._out: dict[Future, tuple[Job, float]] = {}
        self._came: queue.Queue[Future] = queue.Queue()
        self._lost: dict[int, int] = {}
        self._alone = False
        self._idle_since: float | None = None

    def answers(self) -> Iterator[tuple[Job, _Answer | Lost]]:
        while self._todo or self._out or self._suspects:
            self._give_out()
            for future in self._ready():
                job, _ = self._out.pop(future)
                found = self._answer(future, job)
                if found is not None:
                    yield job, found
            yield from self._late()

    def _give_out(self) -> None:
        """Two jobs for each thread of the cluster; one suspect at a time, once nothing else is out."""
        if self._alone or (self._suspects and not self._out and not self._todo):
            self._alone = bool(self._suspects) or bool(self._out)
            if self._suspects and not self._out:
                self._submit(self._suspects.pop())
            return
        window = (1 if self._timeout else 2) * max(1, self._threads())
        while self._todo and len(self._out) < window:
            self._submit(self._todo.pop())

    def _submit(self, job: Job) -> None:
        try:
            future = self._client.submit(self._do, job, pure=False)
        except Exception:  # noqa: BLE001  (a client that was closed)
            raise self._gone() from None
        self._out[future] = job, time.monotonic()
        future.add_done_callback(self._came.put)

    def _ready(self) -> set[Future]:
        """The futures that are done: those that called back, and where none did for a while, those that look so."""
        found: set[Future] = set()
        try:
            found.add(self._came.get(timeout=min(_LOOK, self._timeout or _LOOK)))
            while True:
                found.add(self._came.get_nowait())
        except queue.Empty:
            if not found:
                self._look_around()
                found = {future for future in self._out if future.status != "pending"}
        return found & self._out.keys()

    def _look_around(self) -> None:
        """Raise EngineError where the scheduler is gone, or all workers for a minute: futures would wait for ever."""
        if self._client.status in ("closing", "closed"):
            raise self._gone()
        if self._client.status != "running" or self._threads():
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = time.monotonic()
            self._tell(_waits(self._address))
        if time.monotonic() - self._idle_since > _NO_WORKER:
            raise EngineError(f"all workers of the cluster at {self._address!r} are gone")

    def _threads(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except Exception:  # noqa: BLE001  (it tried to reach the scheduler again, and gave up)
            raise self._gone() from None

    def _gone(self) -> EngineError:
        return EngineError(f"the scheduler {self._address!r} is gone")

    def _answer(self, future: Future, job: Job) -> _Answer | Lost | None:
        """The answer to a job; None where it is to be given out once more."""
        from distributed import KilledWorker

        try:
            found: _Answer = future.result(timeout=_GATHER)
            return found
        except RenormError:
            raise
        except KilledWorker as error:
            if self._alone:
                return Lost(
                    "died", f"{job.path!r}: the workers that read it died, {error.last_worker.address} the last"
                )
            self._suspects.append(job)
        except Exception as error:  # noqa: BLE001  (cancelled, late, lost on its way: whatever the cluster did to it)
            times = self._lost[job.number] = self._lost.get(job.number, 0) + 1
            if times > _AGAIN:
                raise EngineError(
                    f"the cluster at {self._address!r} lost {job.path!r} {times} times: {type(error).__name__}"
                ) from None
            self._todo.append(job)
        return None

    def _late(self) -> Iterator[tuple[Job, Lost]]:
        """Jobs that are not done in time are given up; a worker may go on with them."""
        if self._timeout is None:
            return
        for future, (job, since) in list(self._out.items()):
            if time.monotonic() - since > self._timeout:
                del self._out[future]
                future.cancel()
                yield job, Lost("timeout", f"{job.path!r} was not done after {self._timeout:g} s, and given up")
