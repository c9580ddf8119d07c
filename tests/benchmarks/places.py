"""Where benchmarks work: directories on the disk of the working tree, gone afterwards."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def on_disk() -> Iterator[Path]:
    """A directory on a real disk, which a place for temporary files need not be."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as directory:
        yield Path(directory)
