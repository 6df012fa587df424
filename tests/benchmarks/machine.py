"""The machine and the software that were measured."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from actorstream import __version__

PACKAGES = {
    "AnyIO": "anyio",
    "trio": "trio",
    "uvloop": "uvloop",
    "attrs": "attrs",
}


def describe_machine() -> dict[str, str]:
    """Return the facts that a reader needs to interpret the figures."""
    facts = {
        "Date": datetime.now(UTC).date().isoformat(),
        "CPU": cpu_model(),
        "Cores": str(os.cpu_count()),
        "OS": operating_system(),
        "actorstream": __version__,
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    return facts | {title: package_version(name) for title, name in PACKAGES.items()}


def cpu_model() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def operating_system() -> str:
    """Return the system's name and version, without private details of the machine."""
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{name}, {platform.system()} {kernel}"


def package_version(name: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
