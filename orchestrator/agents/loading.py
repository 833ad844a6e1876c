"""From names of modules, files and folders to the agents they define."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from orchestrator.agents.agent import Agent, AgentTask
from orchestrator.errors import AgentsNotLoadable, UnknownAgent, UnknownTask
from orchestrator.workflow.catalog import Catalog
from orchestrator.workflow.nearby import did_you_mean, listed


class AgentRegistry:
    """The agents of this process, by name."""

    def __init__(self, agents: Iterable[Agent] = ()) -> None:
        self._agents: dict[str, Agent] = {}
        for agent in agents:
            known = self._agents.setdefault(agent.name, agent)
            if known is not agent:
                raise AgentsNotLoadable(f"two agents are named {agent.name!r}; give one of them another name")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._agents)

    def get(self, name: str) -> Agent:
        """Raises UnknownAgent, with near names."""
        try:
            return self._agents[name]
        except KeyError:
            raise UnknownAgent(f"no agent {name!r}{_near(name, self._agents)}", agent=name) from None

    def task(self, agent: str, task: str) -> AgentTask:
        """Raises UnknownAgent or UnknownTask, with near names."""
        tasks = self.get(agent).tasks
        try:
            return tasks[task]
        except KeyError:
            raise UnknownTask(f"agent {agent!r} has no task {task!r}{_near(task, tasks)}") from None

    def catalog(self) -> Catalog:
        return Catalog(tuple(agent.info for agent in self._agents.values()))


def load_agents(sources: Sequence[str]) -> AgentRegistry:
    """Import every source and collect the agents it defines.

    Args:
        sources: names of modules or packages, `.py` files, folders of `.py` files, or YAML files that declare agents.
    Raises:
        AgentsNotLoadable: which source, and why.
    """
    found: list[Agent] = []
    for source in sources:
        agents = _agents_of(source)
        if not agents:
            raise AgentsNotLoadable(f"{source}: defines no agent")
        found.extend(agents)
    return AgentRegistry(found)


def _agents_of(source: str) -> list[Agent]:
    if Path(source).suffix in (".yaml", ".yml"):
        from orchestrator.agents.declared import load_declared  # with the reader of YAML, which Python needs not

        return load_declared(source)
    return [agent for module in _modules(source) for agent in _agents_in(module)]


def _near(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    return did_you_mean(name, known) or f"; there is {listed(known) or 'none'}"


def _modules(source: str) -> Iterator[ModuleType]:
    path = Path(source)
    if path.is_dir() and not (path / "__init__.py").exists():
        for file in sorted(path.glob("[!_.]*.py")):
            yield _import_file(file)
    elif path.is_dir():
        yield from _import_package(path.resolve())
    elif path.suffix == ".py":
        if not path.is_file():
            raise AgentsNotLoadable(f"{source}: no such file")
        yield _import_file(path)
    else:
        yield from _import_module(source)


def _import_package(folder: Path) -> Iterator[ModuleType]:
    _on_path(folder.parent)
    _load(folder.name, folder / "__init__.py", folder)  # it was named by its path, so no other of its name is meant
    yield from _import_module(folder.name)


def _import_module(name: str) -> Iterator[ModuleType]:
    _on_path(Path.cwd())
    with _explained(name):
        module = importlib.import_module(name)
    yield module
    prefix = f"{module.__name__}."
    meant = getattr(module, "__all__", None)  # a module that somebody else imported is not one of the package's agents
    for _, child, _ in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if prefix + child in sys.modules and (meant is None or child in meant):
            yield sys.modules[prefix + child]


def _import_file(file: Path) -> ModuleType:
    file = file.resolve()
    _on_path(file.parent)
    return _load(f"agents_of_{abs(hash(str(file))):x}_{file.stem}", file)


def _load(name: str, file: Path, folder: Path | None = None) -> ModuleType:
    """The module of a file under a name, imported once; with `folder`, the package of that folder."""
    if name in sys.modules:
        return sys.modules[name]
    within = None if folder is None else [str(folder)]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=within)
    assert spec is not None, file
    assert spec.loader is not None, file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _explained(str(file)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _agents_in(module: ModuleType) -> Iterator[Agent]:
    return (value for value in vars(module).values() if isinstance(value, Agent))


def _on_path(folder: Path) -> None:
    # Last: a file that happens to be called `redis.py` must not stand for the library.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


class _explained:
    """Turn whatever an import raises into one line that names the source and the place."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, (KeyboardInterrupt, AgentsNotLoadable)):
            return
        place = ""
        if isinstance(error, SyntaxError):
            place = f" ({error.filename}:{error.lineno})"
        elif error.__traceback__ is not None:
            last = error.__traceback__
            while last.tb_next is not None:
                last = last.tb_next
            file = last.tb_frame.f_code.co_filename
            place = "" if file.startswith("<frozen") else f" ({file}:{last.tb_lineno})"
        raise AgentsNotLoadable(f"{self.source}: {type(error).__name__}: {error}{place}") from error
