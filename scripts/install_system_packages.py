"""Installs the Debian packages that tests want and this machine lacks, if it may.

It never fails a run: without root or apt, or when apt says no, it tells so in one line, and the
tests that need the package are skipped with their reason. No service of a package is started:
tests start servers of their own, on ports of their own.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.requirements import REQUIREMENTS

_APT_SECONDS = 900
_POLICY = Path("/usr/sbin/policy-rc.d")
_APT_OPTIONS = ("-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0")


def main() -> int:
    packages = sorted(
        {
            one.packages[program]
            for one in REQUIREMENTS.values()
            for program in one.missing_programs()
        }
    )
    if not packages:
        return 0
    wanted = ", ".join(packages)
    if obstacle := _obstacle():
        _say(f"{wanted} not installed: {obstacle}; the tests that need them are skipped")
        return 0
    _say(f"installing {wanted}")
    install = ("install", "--yes", "--no-install-recommends", *packages)
    with _no_services():
        if _apt(*install) is None:
            return 0
        _apt("update")  # a new machine has no package lists yet, an old one has stale ones
        if complaint := _apt(*install):
            _say(f"apt could not: {complaint}; the tests that need them are skipped")
    return 0


@contextmanager
def _no_services() -> Iterator[None]:
    """Have Debian's packages not start what they bring, where nobody has said so already.

    Source: /usr/share/doc/init-system-helpers/README.policy-rc.d.gz; 101 is "not allowed".
    """
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _obstacle() -> str | None:
    if shutil.which("apt-get") is None:
        return "there is no apt here"
    if os.geteuid() != 0:
        return "only root may install system packages"
    return None


def _apt(*arguments: str) -> str | None:
    """Run apt-get without questions and return its complaint, or None when it did as asked."""
    try:
        done = subprocess.run(
            [shutil.which("apt-get") or "apt-get", *_APT_OPTIONS, *arguments],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_APT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"apt-get {arguments[0]} took longer than {_APT_SECONDS} s"
    return None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def _say(sentence: str) -> None:
    print(f"system packages: {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
