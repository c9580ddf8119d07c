"""Images made from this machine's files, because tests reach no registry.

`python_image` holds a Python, its standard library and the programs beside this file. It is made
once per daemon and contents, under a tag that names the contents.
"""

import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker

REPOSITORY = "stateward-test/python"
PROGRAM: tuple[str, ...] = ("python3", "/program.py")  # `tests.support.program` in the image
APP = ("python3", "/app.py")  # `tests.support.sample_app` in the image, its default command
TOOLS = ("sh", "cat", "sleep", "true")
UNUSED = frozenset(
    {
        "test",
        "idlelib",
        "tkinter",
        "turtledemo",
        "ensurepip",
        "lib2to3",
        "pydoc_data",
        "__pycache__",
    }
    | {"site-packages", "dist-packages", "distutils", "sqlite3", "curses", "dbm", "unittest"}
)
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
_HERE = Path(__file__).parent
_STDLIB = "import sysconfig; print(sysconfig.get_path('stdlib'))"
_LIBRARY = re.compile(r"(/[^\s:]+)(?= \(0x)")


def python_image(client: docker.APIClient, changes: tuple[str, ...] = ()) -> str:
    """Make the image if it is missing, and return its tag.

    `changes` are lines of a Dockerfile on top, such as a HEALTHCHECK.
    """
    python = _interpreter()
    programs = {"program.py": _HERE / "program.py", "app.py": _HERE / "sample_app.py"}
    contents = [path.read_bytes() for path in programs.values()]
    contents += [str((python, python.stat().st_mtime_ns, changes)).encode()]
    digest = hashlib.sha256(b"\x00".join(contents)).hexdigest()[:12]
    tag = f"{REPOSITORY}:{digest}"
    if not client.images(tag):
        lines = [f'CMD ["{APP[0]}", "{APP[1]}"]', "ENV PATH=/usr/bin:/bin", *changes]
        client.import_image_from_data(
            _archive(python, programs), repository=REPOSITORY, tag=digest, changes=lines
        )
    return tag


def program_image(client: docker.APIClient, program: str) -> str:
    """An image of one program of this host and the libraries that it loads, in its path."""
    found = Path(shutil.which(program) or f"/usr/bin/{program}").resolve()
    tag = hashlib.sha256(f"{found} {found.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    repository = f"stateward-test/{program}"
    if not client.images(f"{repository}:{tag}"):
        output = io.BytesIO()
        with tarfile.open(fileobj=output, mode="w") as archive:
            for name, text in ACCOUNTS.items():
                file = tarfile.TarInfo(name)
                file.size = len(text)
                archive.addfile(file, io.BytesIO(text.encode()))
            archive.add(found, f"usr/bin/{program}")
            for library in sorted(set(_libraries([found]))):
                archive.add(library.resolve(), _inside(library))
        lines = ["ENV PATH=/usr/bin:/bin"]
        client.import_image_from_data(
            output.getvalue(), repository=repository, tag=tag, changes=lines
        )
    return f"{repository}:{tag}"


def _interpreter() -> Path:
    """The system's Python where there is one: it is small. Else the one that runs this."""
    system = Path("/usr/bin/python3")
    return (system if system.exists() else Path(sys.executable)).resolve()


def _archive(python: Path, programs: dict[str, Path]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for name in ("tmp", "root", "proc", "sys", "dev", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(folder)
        for name, text in ACCOUNTS.items():
            file = tarfile.TarInfo(name)
            file.size = len(text)
            archive.addfile(file, io.BytesIO(text.encode()))
        for name, source in programs.items():
            archive.add(source, name)
        _add_python(archive, python)
    return output.getvalue()


def _add_python(archive: tarfile.TarFile, python: Path) -> None:
    tools = {tool: Path(shutil.which(tool) or f"/bin/{tool}").resolve() for tool in TOOLS}
    stdlib = Path(subprocess.check_output([python, "-c", _STDLIB], text=True).strip())
    archive.add(stdlib, _inside(stdlib), filter=_used)
    archive.add(python, _inside(python))
    _link(archive, "usr/bin/python3", python)
    for tool, source in tools.items():
        archive.add(source, f"bin/{tool}")
    modules = sorted((stdlib / "lib-dynload").glob("*.so"))
    for library in sorted(set(_libraries([python, *tools.values(), *modules]))):
        archive.add(library.resolve(), _inside(library))


def _link(archive: tarfile.TarFile, name: str, target: Path) -> None:
    if name == _inside(target):
        return
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, str(target)
    archive.addfile(link)


def _inside(path: Path) -> str:
    return str(path).lstrip("/")


def _used(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(member.name).parts
    unused = UNUSED.intersection(parts) or any(part.startswith("config-3") for part in parts)
    return None if unused else member


def _libraries(programs: list[Path]) -> Iterator[Path]:
    """Every shared library that the programs load, and those that resolve names."""
    listed = subprocess.run(
        ["/usr/bin/ldd", *map(str, programs)], capture_output=True, text=True, check=False
    ).stdout
    found = {Path(name) for name in _LIBRARY.findall(listed) if Path(name).exists()}
    yield from found
    for folder in {library.parent for library in found if library.name.startswith("libc.so")}:
        yield from folder.glob("libnss_dns.so.2")
        yield from folder.glob("libnss_files.so.2")
        yield from folder.glob("libresolv.so.2")
