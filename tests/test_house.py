"""The rules of the house that no other tool checks.

They read the files as they are: syntax trees, docstrings, READMEs, the wheel. A rule that ruff,
mypy or import-linter can check stands there, not here.
"""

import ast
import pkgutil
import random
import re
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = [str(name) for name in SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
FOLDERS = [*SHIPPED, "tests", "scripts", "docs", "deploy"]
OWNERS = packages_distributions()  # which distributions install a top-level module
GENERATED = {"__pycache__", ".venv"}


def files_of(*folders: str, suffix: str = "") -> list[Path]:
    """Return the files below `folders` of the project, without what tools generate."""
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob(f"*{suffix}")
        if path.is_file() and GENERATED.isdisjoint(path.parts)
    )


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def broken[Broken](files: Sequence[Path], rule: Callable[[Path], Broken]) -> dict[str, Broken]:
    """What each file does against a rule, by its name; files that keep it are left out."""
    return {named(path): found for path in files if (found := rule(path))}


SHIPPED_CODE = files_of(*SHIPPED, "scripts", suffix=".py")
CODE = [*SHIPPED_CODE, *files_of("tests", suffix=".py")]
PROSE = sorted([*ROOT.glob("*.md"), *files_of(*FOLDERS, suffix=".md")])


# --- no shell ---------------------------------------------------------------------------------

SHELL_CALLS = {
    "create_subprocess_shell",
    "subprocess_shell",
    "getoutput",
    "getstatusoutput",
    "system",
    "popen",
}


def shell_uses(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        asks_for_one = any(
            keyword.arg == "shell"
            and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
            for keyword in node.keywords
        )
        if name in SHELL_CALLS or asks_for_one:
            yield node


def test_no_shell_is_ever_given_a_string() -> None:
    found = broken(SHIPPED_CODE, lambda path: [use.lineno for use in shell_uses(parsed(path))])
    assert not found, f"a shell is used on lines {found}; pass an argv list instead"


@pytest.mark.parametrize(
    "source",
    [
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=wanted)",
        "os.system('ls')",
        "asyncio.create_subprocess_shell('ls')",
        "from os import popen; popen('ls')",
    ],
)
def test_the_shell_guard_sees_every_way_to_start_one(source: str) -> None:
    assert list(shell_uses(ast.parse(source)))


# --- one seed, one world ----------------------------------------------------------------------

DETERMINISTIC = ("domain", "projections", "reconcilers", "bus", "simulation")
SUPERVISES = ROOT / "bus" / "nats" / "server.py"  # a real process, outside every simulated world
PORTS = {"threading", "_thread", "uuid", "secrets", "multiprocessing", "concurrent.futures", "time"}
CALLS = {
    "asyncio.to_thread",
    "os.urandom",
    "os.getrandom",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "random.SystemRandom",
}
THREADED = {"run_in_executor", "to_thread", "call_soon_threadsafe"}
OF_THE_PROCESS = {name for name in dir(random) if name.islower() and not name.startswith("_")}


def aliases(tree: ast.AST) -> dict[str, str]:
    """The names under which something is imported, and what it is called at home."""
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    return {n.asname: n.name for one in imports for n in one.names if n.asname}


def luck_and_time(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Tell where a clock, luck or a thread is taken that no port hands in."""
    called = aliases(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, n.name) for n in names if n.name in PORTS)
            case ast.ImportFrom(module=str(module), names=names):
                taken = [module, *(f"{module}.{n.name}" for n in names)]
                yield from ((node.lineno, name) for name in taken if name in PORTS | CALLS)
                if module == "random":
                    lucky = [n.name for n in names if n.name in OF_THE_PROCESS]
                    yield from ((node.lineno, f"random.{name}") for name in lucky)
            case ast.Attribute(value=ast.Attribute(attr=owner) | ast.Name(id=owner), attr=name):
                owner = called.get(owner, owner)
                full = f"{owner}.{name}"
                if full in CALLS or (owner == "random" and name in OF_THE_PROCESS):
                    yield node.lineno, full
                elif name in THREADED:
                    yield node.lineno, name
            case ast.Call(func=ast.Attribute(attr=made) | ast.Name(id=made), args=[]):
                if called.get(made, made) == "Random":
                    yield node.lineno, "Random without a seed"
            case _:
                pass


def test_no_wall_clock_luck_or_thread_outside_the_ports() -> None:
    files = [path for path in files_of(*DETERMINISTIC, suffix=".py") if path != SUPERVISES]
    found = broken(files, lambda path: sorted(luck_and_time(parsed(path))))
    assert not found, f"taken on lines {found}; have it handed in, so that a seed decides it"


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from time import monotonic",
        "import threading",
        "from uuid import uuid4",
        "import secrets",
        "from concurrent.futures import ThreadPoolExecutor",
        "await asyncio.to_thread(work)",
        "loop.run_in_executor(None, work)",
        "os.urandom(8)",
        "datetime.now(UTC)",
        "datetime.datetime.utcnow()",
        "random.choice(names)",
        "from random import shuffle",
        "rng = random.Random()",
        "rng = Random()",
        "import _thread",
        "os.getrandom(8)",
        "import os as o; o.urandom(8)",
        "import random as luck; luck.choice(names)",
        "from random import Random as Luck; rng = Luck()",
        "import time as t",
        "from datetime import datetime as moment; moment.now(UTC)",
        "import datetime as dt; dt.datetime.now(UTC)",
        "from datetime import date as day; day.today()",
    ],
)
def test_the_guard_sees_every_way_to_time_luck_and_threads(source: str) -> None:
    assert list(luck_and_time(ast.parse(source)))


def test_the_guard_lets_pass_what_is_handed_in() -> None:
    source = "rng = random.Random(seed); rng.random(); self._secrets.get(ref); datetime(2030, 1, 1)"
    assert not list(luck_and_time(ast.parse(source)))


# --- names of packages ------------------------------------------------------------------------


@pytest.mark.parametrize("package", [*SHIPPED, "tests"])
def test_no_dependency_and_not_python_itself_owns_the_name_of_a_package(package: str) -> None:
    owners = set(OWNERS.get(package, ())) - {"stateward"}
    assert not owners, f"{package!r} is also installed by {owners}; imports would be ambiguous"
    assert package not in sys.stdlib_module_names


def test_every_package_has_a_layer() -> None:
    rules = SETTINGS["tool"]["importlinter"]
    layers = next(rule["layers"] for rule in rules["contracts"] if rule["type"] == "layers")
    layered = {name.strip() for layer in layers for name in layer.split("|")}
    assert set(rules["root_packages"]) == layered == set(SHIPPED)


@pytest.mark.parametrize("package", SHIPPED)
def test_every_folder_of_shipped_code_is_a_package(package: str) -> None:
    folders = {path.parent for path in files_of(package, suffix=".py")}
    missing = [named(folder) for folder in folders if not (folder / "__init__.py").is_file()]
    assert not missing, f"{missing} lack an __init__.py, so type checkers misname what is inside"


def test_no_folder_of_tests_is_a_package() -> None:
    found = [named(path) for path in files_of("tests", suffix="__init__.py")]
    assert not found, f"{found} would shadow the packages they are named after"


def relative_imports(path: Path) -> list[int]:
    imports = (node for node in ast.walk(parsed(path)) if isinstance(node, ast.ImportFrom))
    return [node.lineno for node in imports if node.level]


def test_imports_are_absolute() -> None:
    found = broken(CODE, relative_imports)
    assert not found, f"imported relatively on lines {found}"


VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "base", "core", "misc"}


def test_every_module_is_named_after_what_it_is() -> None:
    vague = [named(path) for path in CODE if path.stem in VAGUE or path.parent.name in VAGUE]
    assert not vague, f"{vague} say nothing about what they hold"


# --- what prose refers to ---------------------------------------------------------------------

DOTTED = re.compile(r"`([a-z_]+(?:\.\w+)+)(?:\(\))?`")
A_FILE = re.compile(r"\.(py|md|toml|ya?ml|db|json|sql|txt)$")
ON_THE_WIRE = re.compile(r"^stateward\..*\bv\d+\b")  # subjects and event types, not modules


def references(prose: str) -> list[str]:
    """Return the dotted names in backticks that claim to be something of ours in Python."""
    return [
        name
        for name in DOTTED.findall(prose)
        if name.split(".")[0] in {*SHIPPED, "tests"}
        and not A_FILE.search(name)
        and not ON_THE_WIRE.search(name)
    ]


def docstrings(path: Path) -> str:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for node in ast.walk(parsed(path)) if isinstance(node, documented))
    return "\n".join(ast.get_docstring(node) or "" for node in nodes)


@cache
def resolves(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def gone(prose: str) -> list[str]:
    return [name for name in references(prose) if not resolves(name)]


def test_what_a_docstring_names_exists() -> None:
    found = broken(CODE, lambda path: gone(docstrings(path)))
    assert not found, f"named, but cannot be imported: {found}"


def test_what_a_page_names_exists() -> None:
    found = broken(PROSE, lambda path: gone(path.read_text()))
    assert not found, f"named, but cannot be imported: {found}"


def test_the_reference_guard_tells_modules_from_files_and_subjects() -> None:
    prose = "`domain.names` `bus.nowhere` `domain.md` `stateward.v1.hint` `stateward.app.scaled.v1`"
    assert references(prose) == ["domain.names", "bus.nowhere"]
    assert [name for name in references(prose) if not resolves(name)] == ["bus.nowhere"]


# --- folders and files ------------------------------------------------------------------------


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_tells_in_a_few_lines_what_it_is_for(folder: str) -> None:
    readme = ROOT / folder / "README.md"
    assert readme.is_file(), f"{folder}/ has no README.md: what lives here, what must never?"
    length = len(readme.read_text().splitlines())
    assert length <= 25, f"{named(readme)} has {length} lines; more belongs in docs/"


def text_files() -> list[Path]:
    at_root = [path for path in ROOT.iterdir() if path.is_file()]
    return [*at_root, *files_of(".ci", *FOLDERS)]


def test_no_file_names_a_package_registry_or_a_path_of_one_machine() -> None:
    hosts = r"py[p]i\.org|python[h]osted|npm[j]s\.|de[b]\.debian\.org|crate[s]\.io"
    paths = r"/wor[k]/(main|shared|steering)|/tmp/ven[v]|/roo[t]/\.|/opt/py[p]i"
    foreign = re.compile(f"{hosts}|{paths}".encode())
    found = [named(path) for path in text_files() if foreign.search(path.read_bytes())]
    assert not found, f"{found} name a host or a path that only exists somewhere else"


# --- what is installed and shipped ------------------------------------------------------------

PIN = re.compile(r"^([a-z0-9-]+)==[\w.+!]+( ; [\w .'\"!=<>()]+)?$")


def normal(requirement: str) -> str:
    """Return the normalised name a requirement begins with."""
    name = re.match(r"[\w.-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_constraints_hold_names_and_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not PIN.match(line)] == []


def test_every_dependency_is_pinned() -> None:
    pinned = {normal(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    asked = [*SETTINGS["project"]["dependencies"], *SETTINGS["dependency-groups"]["dev"]]
    missing = {normal(requirement) for requirement in asked} - pinned
    assert not missing, f"{missing} are not in constraints.txt; run 'make constraints'"


def test_shipped_code_imports_nothing_that_only_developers_install() -> None:
    tools = {normal(requirement) for requirement in SETTINGS["dependency-groups"]["dev"]}
    modules = {module for module, owners in OWNERS.items() if tools.issuperset(map(normal, owners))}
    assert "hypothesis" in modules
    found = {named(path): imported(path) & modules for path in files_of(*SHIPPED, suffix=".py")}
    assert not {path: names for path, names in found.items() if names}


def imported(path: Path) -> set[str]:
    """Return the top-level names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_the_wheel_holds_our_packages_and_nothing_else(tmp_path: Path) -> None:
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        contents = set(archive.namelist())
    tops = {name.split("/")[0] for name in contents if ".dist-info/" not in name}
    assert tops == set(SHIPPED)
    assert tops.isdisjoint({"tests", "scripts", "docs"})
    for suffix in (".py", ".sql", ".lua"):
        needed = {named(path) for path in files_of(*SHIPPED, suffix=suffix)}
        assert needed
        assert needed <= contents


# --- make -------------------------------------------------------------------------------------


def test_every_make_target_says_what_it_does() -> None:
    targets = re.findall(r"^([a-z-]+):(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    silent = [name for name, rest in targets if "## " not in rest]
    assert not silent, f"{silent} are missing from 'make help'"
