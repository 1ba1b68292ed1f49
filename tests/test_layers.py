"""The floors of DESIGN 3.2, read from the imports: every import goes down, typing-only and in-function ones included.

What is wrong is said with the line at fault. The rules are tested too, on a planted package that breaks each of them.
"""

from __future__ import annotations

import ast
import itertools
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "taskrun")

FLOORS = {
    0: "model frames",
    1: "events config output worker",
    2: "host resolve record",
    3: "plan link",
    4: "workers report schedule jobqueue",
    5: "execute",
    6: "run",
    7: "cli",
    8: "__main__",
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms.split()}
FACE = "__init__"  # `taskrun` itself: its names resolve on first use, so it loads nothing with itself

ROOMS_OF = {
    "click": "cli",
    "rich": "report cli",
    "trio": "link workers schedule jobqueue execute run",  # and in MODULES_OF
    "tomli": "config",
    # Not in frames and host: a host is forked before anything is imported, and starts with the standard library alone.
    "msgspec": "model events config output worker resolve record plan workers report schedule jobqueue execute run cli",
    "cronsim": "config jobqueue",
    "numpy": "",  # in MODULES_OF
    "procrastinate": "jobqueue",
    "psycopg": "jobqueue",
    "distributed": "execute",
    "uvloop": "",
}
# Single modules beside the rooms: only workers whose handlers ask for trio load these, and only messages with arrays numpy.
MODULES_OF = {"trio": ("taskrun.worker.async_serving",), "numpy": ("taskrun.worker.buffers",)}
NEW_IN_STDLIB = frozenset({"annotationlib"})  # 3.14
VALUES = frozenset({"Value", "Event", "model.Value"})
BANNED = ("manager", "handler", "helper", "util", "utils", "context")
ROOMS_OF_CALLS = {"print": "cli", "sys.exit": "cli __main__"}


@dataclass(frozen=True)
class Import:
    """One imported module, with the place and text of the line."""

    module: str  # that imports
    target: str  # dotted name of what is imported: a module, or a module and a name in it
    place: str
    is_late: bool  # in a function, or for type checkers only: not loaded with the module


def room(module: str) -> str:
    """`taskrun.plan.graph` is in `plan`; the package itself is the face."""
    return module.split(".")[1] if "." in module else FACE


class Package:
    """The modules of a package, parsed."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.name = os.path.basename(folder)
        self.trees = {}
        self.lines = {}
        self.paths = {}
        for path in _python_files(folder):
            parts = os.path.relpath(path, os.path.dirname(folder)).removesuffix(".py").split(os.sep)
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            self.trees[module] = ast.parse(text, path)
            self.lines[module] = text.splitlines()
            self.paths[module] = path

    def imports(self) -> Iterator[Import]:
        for module, tree in self.trees.items():
            late = {id(node) for part in _late_parts(tree) for node in ast.walk(part)}
            for node in ast.walk(tree):
                for target in self._targets(module, node):
                    yield Import(module, target, self.place(module, node), id(node) in late)

    def calls(self) -> Iterator[tuple[str, str, str]]:
        """(module, what is called, place) of calls by a plain or dotted name."""
        for module, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    yield module, ast.unparse(node.func), self.place(module, node)

    def classes(self) -> Iterator[tuple[str, ast.ClassDef]]:
        """(module, class) of all classes."""
        for module, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    yield module, node

    def module_of(self, target: str) -> str | None:
        """The module of ours that an import of this name loads."""
        while target and target not in self.trees:
            target = target.rpartition(".")[0]
        return target or None

    def _targets(self, module: str, node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                is_package = os.path.basename(self.paths[module]) == "__init__.py"
                parents = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*parents, *([base] if base else [])])
            return [f"{base}.{alias.name}" for alias in node.names]
        return []

    def place(self, module: str, node: ast.AST) -> str:
        """File, number and text of a line."""
        path = os.path.relpath(self.paths[module], os.path.dirname(self.folder))
        return f"{path}:{node.lineno}: {self.lines[module][node.lineno - 1].strip()}"


def _python_files(folder: str) -> list[str]:
    return sorted(
        os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names if name.endswith(".py")
    )


def _late_parts(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from node.body


# --- the rules --------------------------------------------------------------------------------------------------------


def wrong_floors(package: Package) -> list[str]:
    """Imports between rooms that do not go strictly down."""
    wrong = []
    for each in package.imports():
        importer, imported = room(each.module), package.module_of(each.target)
        if imported is None or imported.split(".")[0] != package.name:
            continue
        other = room(imported)
        if importer == FACE:
            if not each.is_late:
                wrong.append(f"{package.name} imports {other} before it is asked for: {each.place}")
        elif other == FACE:
            if each.target not in {package.name, f"{package.name}.__version__"}:
                wrong.append(f"{importer} imports the face of the package, which is for users: {each.place}")
        elif importer not in FLOOR:
            wrong.append(f"{importer} is no room of the design: {each.place}")
        elif other != importer and FLOOR.get(other, 99) >= FLOOR[importer]:
            wrong.append(
                f"{importer} (floor {FLOOR[importer]}) imports {other} (floor {FLOOR.get(other)}): {each.place}"
            )
    return wrong


def rooms_without_floor(package: Package) -> list[str]:
    """Modules that stand nowhere."""
    return sorted(
        {f"{room(module)} has no floor" for module in package.trees}
        - {f"{name} has no floor" for name in [*FLOOR, FACE]}
    )


def strangers(package: Package) -> list[str]:
    """Third-party imports outside their rooms."""
    wrong = []
    for each in package.imports():
        library = each.target.split(".")[0]
        if library == package.name or library in sys.stdlib_module_names | NEW_IN_STDLIB:
            continue
        if library not in ROOMS_OF:
            wrong.append(f"{library} is no dependency: {each.place}")
        elif room(each.module) not in ROOMS_OF[library].split() and each.module not in MODULES_OF.get(library, ()):
            wrong.append(f"{room(each.module)} imports {library}, which lives in {ROOMS_OF[library]}: {each.place}")
    return wrong


def loud_calls(package: Package) -> list[str]:
    """Output and exits where they do not belong; a worker's own prints are the task's, and say so to ruff."""
    return [
        f"{room(module)} calls {name}, which is for {ROOMS_OF_CALLS[name]}: {place}"
        for module, name, place in package.calls()
        if name in ROOMS_OF_CALLS and room(module) not in ROOMS_OF_CALLS[name].split() and "noqa: T201 - " not in place
    ]


def circles(package: Package) -> list[str]:
    """Modules that import each other, each circle once; typing-only imports count, importing one's own package does not.

    A package's ``__init__`` that hands on names of its modules, and these modules, which import each other by
    ``from package import module``, are no circle: the edge goes to the module.
    """
    edges: dict[str, dict[str, str]] = {module: {} for module in package.trees}
    for each in package.imports():
        imported = package.module_of(each.target)
        if imported is not None and imported not in (each.module, package.name) and each.module != package.name:
            edges[each.module].setdefault(imported, each.place)
    found = []
    done: set[str] = set()
    for start in sorted(edges):
        path = [start]
        ways = [iter(sorted(edges[start]))]
        while ways:
            onward = next((other for other in ways[-1] if other not in done), None)
            if onward is None:
                done.add(path.pop())
                ways.pop()
            elif onward in path:
                around = [*path[path.index(onward) :], onward]
                places = [edges[one][other] for one, other in itertools.pairwise(around)]
                found.append(" -> ".join(around) + "\n    " + "\n    ".join(places))
            else:
                path.append(onward)
                ways.append(iter(sorted(edges[onward])))
    return found


def loose_values(package: Package) -> list[str]:
    """Values of a border that may be changed or filled by position: msgspec hands `kw_only` on to no subclass."""
    wrong = []
    for module, node in package.classes():
        said = {keyword.arg for keyword in node.keywords if getattr(keyword.value, "value", None) is True}
        if VALUES.intersection(ast.unparse(base) for base in node.bases) and not {"frozen", "kw_only"} <= said:
            wrong.append(f"{node.name} does not say frozen=True, kw_only=True: {package.place(module, node)}")
    return wrong


def banned_names(package: Package) -> list[str]:
    """Classes by names that say nothing (DESIGN, section 2)."""
    return [
        f"{node.name} is no name for a class: {package.place(module, node)}"
        for module, node in package.classes()
        if node.name.lower().endswith(BANNED)
    ]


RULES = [wrong_floors, rooms_without_floor, strangers, loud_calls, circles, loose_values, banned_names]


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule):
    wrong = rule(Package(PACKAGE))

    assert not wrong, "\n" + "\n".join(wrong)


# --- the rules, tested ------------------------------------------------------------------------------------------------

TIDY = {
    "__init__.py": "if TYPE_CHECKING:\n    from taskrun.worker.calls import x\n__version__ = '1'\ndef __getattr__(name):\n    from taskrun.worker import calls\n    return calls\n",
    "model.py": "import msgspec\n",
    "frames.py": "import struct\n",
    "worker/__init__.py": "",
    "worker/calls.py": "from taskrun import model, __version__\nfrom taskrun.worker import wire\n",
    "worker/wire.py": "import msgspec\nprint(1)  # noqa: T201 - the task's\n",
    "plan/__init__.py": "from taskrun.plan.graph import Graph\n",
    "plan/graph.py": "from taskrun.model import x\n",
    "schedule.py": "import trio\nfrom taskrun.plan import Graph\n",
    "cli/__init__.py": "import click, sys\ndef f():\n    print(1)\n    sys.exit(2)\n",
}
TYPING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


def planted(folder, files) -> Package:
    for name, text in files.items():
        path = os.path.join(folder, "taskrun", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return Package(os.path.join(folder, "taskrun"))


def test_a_tidy_package_breaks_no_rule(tmp_path):
    package = planted(str(tmp_path), TIDY)

    assert [wrong for rule in RULES for wrong in rule(package)] == []


@pytest.mark.parametrize(
    ("rule", "path", "text", "message"),
    [
        (wrong_floors, "plan/graph.py", "import os\nfrom taskrun.schedule import S",
         "plan (floor 3) imports schedule (floor 4): taskrun/plan/graph.py:2: from taskrun.schedule import S"),
        (wrong_floors, "plan/graph.py", TYPING + "from taskrun.schedule import S",
         "plan (floor 3) imports schedule (floor 4): taskrun/plan/graph.py:3: from taskrun.schedule import S"),
        (wrong_floors, "plan/graph.py", "def f():\n    import taskrun.schedule",
         "plan (floor 3) imports schedule (floor 4): taskrun/plan/graph.py:2: import taskrun.schedule"),
        (wrong_floors, "plan/graph.py", "from .. import schedule",
         "plan (floor 3) imports schedule (floor 4): taskrun/plan/graph.py:1: from .. import schedule"),
        (wrong_floors, "plan/__init__.py", "from ..schedule import S",
         "plan (floor 3) imports schedule (floor 4): taskrun/plan/__init__.py:1: from ..schedule import S"),
        (wrong_floors, "frames.py", "from taskrun import model",
         "frames (floor 0) imports model (floor 0): taskrun/frames.py:1: from taskrun import model"),
        (wrong_floors, "plan/graph.py", "from taskrun import progress",
         "plan imports the face of the package, which is for users: taskrun/plan/graph.py:1: from taskrun import progress"),
        (wrong_floors, "__init__.py", "from taskrun import model",
         "taskrun imports model before it is asked for: taskrun/__init__.py:1: from taskrun import model"),
        (rooms_without_floor, "helpers.py", "", "helpers has no floor"),
        (strangers, "plan/graph.py", "import trio",
         "plan imports trio, which lives in link workers schedule jobqueue execute run: taskrun/plan/graph.py:1: import trio"),
        (strangers, "worker/wire.py", TYPING + "from rich.text import Text",
         "worker imports rich, which lives in report cli: taskrun/worker/wire.py:3: from rich.text import Text"),
        (strangers, "frames.py", "import msgspec.json", "frames imports msgspec, which lives in "),
        (strangers, "cli/__init__.py", "import yaml", "yaml is no dependency: taskrun/cli/__init__.py:1: import yaml"),
        (loud_calls, "worker/wire.py", "print(1)", "worker calls print, which is for cli: taskrun/worker/wire.py:1: print(1)"),
        (loud_calls, "schedule.py", "x = 1\nprint(x)", "schedule calls print, which is for cli: taskrun/schedule.py:2: print(x)"),
        (loud_calls, "schedule.py", "import sys\nsys.exit(1)",
         "schedule calls sys.exit, which is for cli __main__: taskrun/schedule.py:2: sys.exit(1)"),
        (loose_values, "model.py", "class A(Value, frozen=True):\n    x: int",
         "A does not say frozen=True, kw_only=True: taskrun/model.py:1: class A(Value, frozen=True):"),
        (loose_values, "model.py", "class A(Value, frozen=True, kw_only=False):\n    x: int", "A does not say "),
        (banned_names, "model.py", "class RunContext:\n    x: int",
         "RunContext is no name for a class: taskrun/model.py:1: class RunContext:"),
        (circles, "worker/wire.py", TYPING + "from taskrun.worker.calls import x",
         ("taskrun.worker.calls -> taskrun.worker.wire -> taskrun.worker.calls\n"
         "    taskrun/worker/calls.py:2: from taskrun.worker import wire\n"
         "    taskrun/worker/wire.py:3: from taskrun.worker.calls import x")),
    ],
)  # fmt: skip
def test_a_planted_violation_is_found_with_its_line(tmp_path, rule, path, text, message):
    package = planted(str(tmp_path), TIDY | {path: text + "\n"})

    (wrong,) = rule(package)

    assert wrong.startswith(message)
